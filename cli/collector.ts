/** `plasmawatch collector`: the service that takes the agents' reports and tells people. */
import { hostname } from 'node:os';
import type { ArgumentsCamelCase } from 'yargs';
import { createCollector } from '../collector/collector.ts';
import { collectorConfigSchema } from '../collector/config.ts';
import { systemSockets } from '../collector/notify/sockets.ts';
import { loadCollectorSecrets } from '../collector/secrets.ts';
import { systemClock } from '../common/clock.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadConfig } from './config-file.ts';
import { createServiceLogger, logOptions, type LogCommandOptions } from './log-options.ts';
import { untilStopped } from './system.ts';

interface CollectorCommandOptions extends LogCommandOptions {
  readonly config: string;
}

export const collectorCommand: Command<CollectorCommandOptions> = {
  usage: 'collector',
  description: 'take the reports of agents and tell people (a service)',
  options: (yargs) =>
    yargs
      .option('config', {
        type: 'string',
        default: '/etc/plasmawatch/collector.yaml',
        requiresArg: true,
        description: 'settings, see docs/config.md',
      })
      .options(logOptions),
  run: runCollector,
};

async function runCollector(
  options: ArgumentsCamelCase<CollectorCommandOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const config = await loadConfig(collectorConfigSchema, options.config, terminal);
  if (config === undefined) return 2;
  const secrets = await loadCollectorSecrets(config, terminal.env);
  const logger = createServiceLogger(options, terminal);
  let opened = 0;
  const collector = await createCollector({
    config,
    secrets,
    logger,
    clock: systemClock,
    fetch: globalThis.fetch,
    sockets: systemSockets,
    stdout: terminal.stdout,
    hostname: hostname(),
    random: Math.random,
    onIncident: ({ type, incident }) => {
      if (type === 'opened') opened++;
      logger.warn(
        { component: 'incident', id: incident.id, severity: incident.severity },
        `${type}: ${incident.title}`,
      );
    },
  });
  try {
    const { url } = await collector.start();
    logger.info({ component: 'collector', url }, `listening on ${url}`);
    await untilStopped(terminal);
  } finally {
    await collector.stop();
  }
  return opened === 0 ? 0 : 1;
}
