/** `plasmawatch agent`: the service that watches one node. */
import type { ArgumentsCamelCase } from 'yargs';
import { agentConfigSchema, type AgentConfig } from '../agent/config.ts';
import { isLoopbackHost } from '../common/address.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { loadSecret } from '../common/secret.ts';
import { openLiveAgent } from './agent-process.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadConfig } from './config-file.ts';
import { sharedAgentToken } from './local-tokens.ts';
import { createServiceLogger, logOptions, type LogCommandOptions } from './log-options.ts';
import { writeJson } from './output.ts';
import { warnOfOpenSecrets } from './open-secrets.ts';
import { stateDirectory, untilStopped } from './system.ts';

interface AgentCommandOptions extends LogCommandOptions {
  readonly config: string;
  readonly json: boolean;
}

export const agentCommand: Command<AgentCommandOptions> = {
  usage: 'agent',
  description: 'watch this node and report to a collector (a service)',
  options: (yargs) =>
    yargs
      .option('config', {
        type: 'string',
        default: '/etc/plasmawatch/agent.yaml',
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
    token: await agentToken(config, terminal),
    enrolToken: await loadSecret('one-time token', {
      value: terminal.env['PLASMAWATCH_ENROL_TOKEN'],
      file: config.collector.enrolTokenFile,
    }),
    logger: logger.child({ component: 'agent' }),
    terminal,
    onAnomaly: (anomaly) => {
      if (options.json) writeJson(terminal, anomaly);
    },
  });
  if (running === undefined) return 2;
  await untilStopped(terminal);
  const { anomalies } = running.agent.counters();
  await running.stop();
  return anomalies === 0 ? 0 : 1;
}

async function agentToken({ collector }: AgentConfig, { env }: Terminal): Promise<string | undefined> {
  const source = { value: env['PLASMAWATCH_AGENT_TOKEN'], file: collector.tokenFile };
  return (await loadSecret('agent token', source)) ?? (await localToken(collector, env));
}

/** What a collector of this user takes where nobody configured a token. */
async function localToken(
  { url }: AgentConfig['collector'],
  env: Terminal['env'],
): Promise<string | undefined> {
  const host = URL.canParse(url) ? new URL(url).hostname.replaceAll(/^\[|\]$/g, '') : '';
  if (!isLoopbackHost(host)) return undefined;
  try {
    return await sharedAgentToken([stateDirectory(env)]);
  } catch (error) {
    // A service without a home: the collector says whether it wants a token.
    if (error instanceof PlasmawatchError && error.operation === 'write') return undefined;
    throw error;
  }
}
