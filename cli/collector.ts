/** `plasmawatch collector`: the service that takes the agents' reports and tells people. */
import { hostname } from 'node:os';
import type { ArgumentsCamelCase } from 'yargs';
import { dirname } from 'node:path';
import { LOCAL_CALLER } from '../collector/api/access.ts';
import { createCollector } from '../collector/collector.ts';
import { collectorConfigSchema, type CollectorConfig } from '../collector/config.ts';
import { systemSockets } from '../collector/notify/sockets.ts';
import { loadCollectorSecrets, type CollectorSecrets } from '../collector/secrets.ts';
import { isLoopbackHost } from '../common/address.ts';
import { systemClock } from '../common/clock.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadConfig } from './config-file.ts';
import { createServiceLogger, logOptions, type LogCommandOptions } from './log-options.ts';
import { makeToken, publishApiToken, sharedAgentToken, withdrawApiToken } from './local-tokens.ts';
import { warnOfOpenSecrets } from './open-secrets.ts';
import { stateDirectory, untilStopped } from './system.ts';

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
  const given = await loadCollectorSecrets(config, terminal.env);
  const folders = tokenFolders(config, terminal);
  const logger = createServiceLogger(options, terminal);
  await warnOfOpenSecrets(config, logger);
  const local = await localSecrets(config, given, folders);
  let opened = 0;
  const collector = await createCollector({
    config,
    secrets: { ...given, ...local },
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
  const apiToken = local.apiTokens?.[0]?.token;
  let tokenFile: string | undefined;
  try {
    const { url } = await collector.start();
    if (apiToken !== undefined) tokenFile = await publishApiToken(apiToken, { url, folders });
    logger.info({ component: 'collector', url, tokenFile }, `listening on ${url}`);
    await untilStopped(terminal);
  } finally {
    await collector.stop();
    if (tokenFile !== undefined && apiToken !== undefined) await withdrawApiToken(tokenFile, apiToken);
  }
  return opened === 0 ? 0 : 1;
}

/** Tokens of our own where a collector on loopback has none: the machine's other users are no agents and no admins. */
async function localSecrets(
  { listen, tls, fleet }: CollectorConfig,
  given: CollectorSecrets,
  folders: readonly string[],
): Promise<Pick<CollectorSecrets, 'apiTokens' | 'agentToken'>> {
  if (!isLoopbackHost(listen.host)) return {};
  const isOpenToAgents = given.agentToken === undefined && !fleet.enrolledOnly && tls?.clientCa === undefined;
  return {
    ...((given.apiTokens ?? []).length > 0 ? {} : { apiTokens: [{ ...LOCAL_CALLER, token: makeToken() }] }),
    ...(isOpenToAgents ? { agentToken: await sharedAgentToken(folders) } : {}),
  };
}

/** A service may have no home: then its tokens are beside its store. */
function tokenFolders({ store }: CollectorConfig, { env }: Terminal): string[] {
  return [stateDirectory(env), ...(store.path === ':memory:' ? [] : [dirname(store.path)])];
}
