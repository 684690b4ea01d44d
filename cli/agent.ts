/** `plasmawatch agent`: the service that watches one node. */
import type { ArgumentsCamelCase } from 'yargs';
import { agentConfigSchema } from '../agent/config.ts';
import { PATHS } from '../common/paths.ts';
import { openLiveAgent } from './agent-process.ts';
import { loadAgentSecrets, oneTimeToken } from './agent-secrets.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadConfig } from './config-file.ts';
import { createServiceLogger, logOptions, type LogCommandOptions } from './log-options.ts';
import { warnOfOpenSecrets } from './open-secrets.ts';
import { writeJson } from './output.ts';
import { serve } from './service.ts';

/** Settings that a reload takes over. All others need a restart; rules are taken over by themselves. */
const RELOADABLE = [
  'collector.caFile',
  'collector.certificateFile',
  'collector.keyFile',
  'collector.tokenFile',
  'ray.tokenFile',
];

interface AgentCommandOptions extends LogCommandOptions {
  readonly config: string;
  readonly json: boolean;
}

export const agentCommand: Command<AgentCommandOptions> = {
  usage: '$0',
  description: 'watch this node and report to a collector (a service)',
  options: (yargs) =>
    yargs
      .option('config', {
        type: 'string',
        default: PATHS.agentConfig,
        requiresArg: true,
        description: 'settings, see docs/config.md',
      })
      .option('json', {
        type: 'boolean',
        default: false,
        description: 'print each anomaly as a line of JSON once it is on disk',
      })
      .options(logOptions),
  run: runAgent,
};

async function runAgent(
  options: ArgumentsCamelCase<AgentCommandOptions>,
  terminal: Terminal,
): Promise<ExitStatus> {
  const config = await loadConfig(agentConfigSchema, options.config, terminal);
  if (config === undefined) return 2;
  const logger = createServiceLogger(options, terminal);
  await warnOfOpenSecrets(config, logger);
  const running = await openLiveAgent({
    config,
    secrets: await loadAgentSecrets(config, terminal),
    enrolToken: await oneTimeToken(config, terminal),
    logger: logger.child({ component: 'agent' }),
    terminal,
    onAnomaly: (anomaly) => {
      if (options.json) writeJson(terminal, anomaly);
    },
  });
  if (running === undefined) return 2;
  const { agent } = running;
  await serve(terminal, {
    logger,
    state: () => agent.state(),
    reload: {
      schema: agentConfigSchema,
      path: options.config,
      config,
      reloadable: RELOADABLE,
      apply: async (changed) => {
        running.replaceSecrets(await loadAgentSecrets(changed, terminal));
        await warnOfOpenSecrets(changed, logger);
      },
    },
  });
  const { anomalies } = agent.counters();
  await running.stop();
  return anomalies === 0 ? 0 : 1;
}
