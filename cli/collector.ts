/** `plasmawatch collector`: the service that takes the agents' reports and tells people. */
import { hostname } from 'node:os';
import type { ArgumentsCamelCase } from 'yargs';
import { dirname } from 'node:path';
import { LOCAL_CALLER } from '../collector/api/access.ts';
import { createCollector } from '../collector/collector.ts';
import { collectorConfigSchema, type CollectorConfig } from '../collector/config.ts';
import { RELOADABLE } from '../collector/live-settings.ts';
import { systemSockets } from '../collector/notify/sockets.ts';
import { loadCollectorSecrets, type CollectorSecrets } from '../collector/secrets.ts';
import { isLoopbackHost } from '../common/address.ts';
import { systemClock } from '../common/clock.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { PATHS } from '../common/paths.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadConfig } from './config-file.ts';
import { createServiceLogger, logOptions, type LogCommandOptions } from './log-options.ts';
import { makeToken, publishApiToken, sharedAgentToken, withdrawApiToken } from './local-tokens.ts';
import { warnOfOpenSecrets } from './open-secrets.ts';
import { serve } from './service.ts';
import { stateDirectory } from './system.ts';

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
        default: PATHS.collectorConfig,
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
    await serve(terminal, {
      logger,
      state: () => collector.state(),
      reload: {
        schema: collectorConfigSchema,
        path: options.config,
        config,
        reloadable: RELOADABLE,
        apply: async (changed) => {
          const changedSecrets = await loadCollectorSecrets(changed, terminal.env);
          await collector.reconfigure(
            changed,
            await withLocalSecrets(changed, changedSecrets, folders, local),
          );
          await warnOfOpenSecrets(changed, logger);
        },
      },
    });
  } finally {
    await collector.stop();
    if (tokenFile !== undefined && apiToken !== undefined) await withdrawApiToken(tokenFile, apiToken);
  }
  return opened === 0 ? 0 : 1;
}

/** The same after a reload: the token of our own that was published at the start stays what it is. */
async function withLocalSecrets(
  config: CollectorConfig,
  given: CollectorSecrets,
  folders: readonly string[],
  atStart: Pick<CollectorSecrets, 'apiTokens'>,
): Promise<CollectorSecrets> {
  const { apiTokens, ...local } = await localSecrets(config, given, folders);
  if (apiTokens === undefined) return { ...given, ...local };
  if (atStart.apiTokens !== undefined) return { ...given, ...local, apiTokens: atStart.apiTokens };
  throw new PlasmawatchError(
    'PW_CONFIG',
    'no API token is left: for one of its own the collector needs a restart',
  );
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
