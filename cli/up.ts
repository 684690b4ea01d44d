/** `plasmawatch up`: everything on this machine, for a first look. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ArgumentsCamelCase } from 'yargs';
import { openCaptureFile } from '../agent/capture/file/open.ts';
import { openLiveSource } from '../agent/capture/live.ts';
import { PortSet } from '../agent/capture/source.ts';
import { agentConfigSchema } from '../agent/config.ts';
import { isConfirmed, portInWords, type OwnPort } from '../agent/membership/own-port.ts';
import { LOCAL_CALLER } from '../collector/api/access.ts';
import { createCollector, type Collector } from '../collector/collector.ts';
import { collectorConfigSchema } from '../collector/config.ts';
import type { IncidentEvent } from '../collector/incident/tally.ts';
import { systemClock } from '../common/clock.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import type { Anomaly } from '../common/event.ts';
import type { Logger } from '../common/log.ts';
import { packagePath } from '../common/package.ts';
import { plainText } from '../common/plain-text.ts';
import { shortTime } from '../common/time.ts';
import { formatSize } from '../common/units.ts';
import { loadAgentSecrets } from './agent-secrets.ts';
import { openLiveAgent, type AgentProcess } from './agent-process.ts';
import { DEFAULT_COLLECTOR_URL } from './connection/settings.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { DEMO_RECORDING, DEMO_RULES } from './demo.ts';
import { makeToken, publishApiToken, withdrawApiToken } from './local-tokens.ts';
import { createServiceLogger, logOptions, type LogCommandOptions } from './log-options.ts';
import { countedConnections, writeJson, writeLine, writeProblem } from './output.ts';
import { stateDirectory, untilStopped } from './system.ts';

interface UpOptions extends LogCommandOptions {
  readonly demo: boolean;
  readonly rules: string | undefined;
  readonly interface: string | undefined;
  readonly 'api-port': number;
  readonly 'state-dir': string | undefined;
  readonly json: boolean;
}

export const upCommand: Command<UpOptions> = {
  usage: 'up',
  description: 'run everything on this machine: collector, agent on every interface, API on loopback',
  options: (yargs) =>
    yargs
      .option('demo', {
        type: 'boolean',
        default: false,
        description: 'play a recorded intrusion, capture nothing',
      })
      .option('rules', {
        type: 'string',
        requiresArg: true,
        description: 'an allowlist; default: members of the Ray cluster only',
      })
      .option('interface', {
        type: 'string',
        requiresArg: true,
        description: 'one network interface; default: all',
      })
      .option('api-port', {
        type: 'number',
        default: 9440,
        requiresArg: true,
        description: 'port of the API on loopback; 0 for any',
      })
      .option('state-dir', {
        type: 'string',
        requiresArg: true,
        description: 'where spool and store are kept',
      })
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' })
      .options({ ...logOptions, 'log-level': { ...logOptions['log-level'], default: 'warn' as const } }),
  run: runUp,
};

async function runUp(options: ArgumentsCamelCase<UpOptions>, terminal: Terminal): Promise<ExitStatus> {
  const logger = createServiceLogger(options, terminal);
  if (!options.demo) {
    const obstacle = await findCaptureObstacle(options, logger);
    if (obstacle === undefined) return await watchNetwork(options, terminal, logger);
    writeProblem(terminal, `plasmawatch: ${obstacle}; playing a recorded intrusion instead`);
  }
  return await playDemo(options, terminal, logger);
}

/** Why nothing can be captured here, in one line with the command that grants it; undefined where it can. */
async function findCaptureObstacle(
  options: ArgumentsCamelCase<UpOptions>,
  logger: Logger,
): Promise<string | undefined> {
  try {
    const { source } = await openLiveSource({
      ports: new PortSet(),
      interface: options.interface,
      clock: systemClock,
      logger,
    });
    source.stop();
    return undefined;
  } catch (error) {
    if (error instanceof PlasmawatchError && error.code === 'PW_CAPTURE_UNAVAILABLE') return messageOf(error);
    throw error;
  }
}

async function watchNetwork(
  options: ArgumentsCamelCase<UpOptions>,
  terminal: Terminal,
  logger: Logger,
): Promise<ExitStatus> {
  const folder = options.stateDir ?? stateDirectory(terminal.env);
  return await runMachine(
    { folder, rules: options.rules ?? packagePath('rules/object-manager.yaml') },
    options,
    terminal,
    logger,
  );
}

/** The demo keeps its incidents apart from real ones, and leaves nothing behind. */
async function playDemo(
  options: ArgumentsCamelCase<UpOptions>,
  terminal: Terminal,
  logger: Logger,
): Promise<ExitStatus> {
  const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-demo-'));
  try {
    return await runMachine(
      { folder, rules: DEMO_RULES, recording: DEMO_RECORDING },
      options,
      terminal,
      logger,
    );
  } finally {
    await rm(folder, { recursive: true });
  }
}

interface Machine {
  /** Where spool and store are. */
  readonly folder: string;
  readonly rules: string;
  /** A capture file to play instead of the network. */
  readonly recording?: string;
}

async function runMachine(
  machine: Machine,
  options: ArgumentsCamelCase<UpOptions>,
  terminal: Terminal,
  logger: Logger,
): Promise<ExitStatus> {
  const screen = new Screen(terminal, options.json);
  const tokens = { agent: makeToken(), api: makeToken() };
  const collector = await openCollector(machine, options, tokens, logger, screen);
  const usualFolder = stateDirectory(terminal.env);
  let process: AgentProcess | undefined;
  let tokenFile: string | undefined;
  try {
    const { url } = await collector.start();
    const folders = [options.stateDir ?? usualFolder, machine.folder];
    tokenFile = await publishApiToken(tokens.api, { url, folders });
    process = await openAgent(machine, options, { url, token: tokens.agent }, terminal, logger, screen);
    if (process === undefined) return 2;
    screen.welcome(process, machine, { url, tokenFile, isFound: dirname(tokenFile) === usualFolder });
    await untilStopped(terminal);
  } finally {
    await process?.stop();
    await collector.stop();
    if (tokenFile !== undefined) await withdrawApiToken(tokenFile, tokens.api);
  }
  return screen.hasIncident ? 1 : 0;
}

async function openCollector(
  { folder }: Machine,
  { apiPort }: ArgumentsCamelCase<UpOptions>,
  tokens: { readonly agent: string; readonly api: string },
  logger: Logger,
  screen: Screen,
): Promise<Collector> {
  const config = collectorConfigSchema.parse({
    listen: { port: apiPort },
    store: { path: join(folder, 'collector.db') },
  });
  return await createCollector({
    config,
    secrets: {
      agentToken: tokens.agent,
      apiTokens: [{ ...LOCAL_CALLER, token: tokens.api }],
      receivers: new Map(),
    },
    logger,
    clock: systemClock,
    fetch: globalThis.fetch,
    random: Math.random,
    onIncident: (event) => screen.incident(event),
  });
}

async function openAgent(
  { folder, rules, recording }: Machine,
  options: ArgumentsCamelCase<UpOptions>,
  collector: { readonly url: string; readonly token: string },
  terminal: Terminal,
  logger: Logger,
  screen: Screen,
): Promise<AgentProcess | undefined> {
  const config = agentConfigSchema.parse({
    rules,
    collector: { url: collector.url.replace(/^http/, 'ws') },
    capture: options.interface === undefined ? {} : { interface: options.interface },
    spool: { path: join(folder, 'agent.db') },
    stateFolder: folder,
  });
  return await openLiveAgent({
    config,
    secrets: {
      ...(await loadAgentSecrets(config, terminal, { sharesToken: false })),
      token: collector.token,
    },
    logger: logger.child({ component: 'agent' }),
    terminal,
    onAnomaly: (anomaly) => screen.anomaly(anomaly),
    ...(recording === undefined
      ? {}
      : { openSource: () => Promise.resolve(openCaptureFile(recording, terminal)) }),
  });
}

/** How people ask the API. */
interface ApiAccess {
  readonly url: string;
  /** The file of its token. */
  readonly tokenFile: string;
  /** Whether commands find the file by themselves. */
  readonly isFound: boolean;
}

/** The command that lists incidents, to be copied. */
function incidentsCommand({ url, tokenFile, isFound }: ApiAccess): string {
  const isUsual = url === DEFAULT_COLLECTOR_URL;
  return [
    'plasmawatch incidents',
    ...(isUsual ? [] : [`--collector ${url}`]),
    ...(isFound ? [] : [`--token-file ${shellWord(tokenFile)}`]),
  ].join(' ');
}

/** Asks the API without the token in the arguments, which every user of the machine can read. */
function curlCommand({ url, tokenFile }: ApiAccess): string {
  return `sed 's/.*/header="Authorization: Bearer &"/' ${shellWord(tokenFile)} | curl -K - ${url}/api/incidents`;
}

/** What is said of a port that nobody confirms; nothing of one that is confirmed. */
function portLines(port: OwnPort | undefined): string[] {
  if (port === undefined || isConfirmed(port)) return [];
  return [`  WARNING  ${portInWords(port)}`];
}

/** A path as one word of a shell. */
function shellWord(path: string): string {
  return /^[\w./:@%+=-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}

/** What a person at the terminal is told. */
class Screen {
  readonly #terminal: Terminal;
  readonly #isJson: boolean;
  readonly #shownAnomalies = new Set<string>();
  hasIncident = false;

  constructor(terminal: Terminal, isJson: boolean) {
    this.#terminal = terminal;
    this.#isJson = isJson;
  }

  welcome({ agent }: AgentProcess, { rules, recording }: Machine, access: ApiAccess): void {
    if (this.#isJson) return;
    const ports = agent.ports
      .ranges()
      .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
    const members = agent.membership.nodeCount();
    const lines = [
      recording === undefined
        ? `plasmawatch watches TCP port ${ports.join(', ')} (${agent.captureName})`
        : 'plasmawatch plays a recorded intrusion into a Ray cluster',
      ...(recording === undefined ? portLines(agent.ownPort) : []),
      `  rules    ${rules}`,
      `  members  ${members} known${members === 1 ? ': this machine' : ''}`,
      `  list     ${incidentsCommand(access)}`,
      `  API      ${curlCommand(access)}`,
      'Ctrl-C ends.',
    ];
    for (const line of lines) writeLine(this.#terminal, line);
  }

  /** An anomaly is shown when it is new; its later reports only grow the counts. */
  anomaly(anomaly: Anomaly): void {
    if (this.#isJson) {
      writeJson(this.#terminal, anomaly);
      return;
    }
    if (this.#shownAnomalies.has(anomaly.id)) return;
    this.#shownAnomalies.add(anomaly.id);
    writeLine(this.#terminal, `${shortTime(anomaly.first)}  seen      ${plainText(anomaly.message)}`);
  }

  incident({ type, incident }: IncidentEvent): void {
    this.hasIncident ||= type === 'opened';
    if (this.#isJson) {
      writeJson(this.#terminal, { type: `incident.${type}`, incident });
      return;
    }
    const { id, severity, title, count, bytes, last } = incident;
    writeLine(
      this.#terminal,
      `${shortTime(last)}  INCIDENT  ${id} ${type}, ${severity}: ${plainText(title)} (${countedConnections(count)}, ${formatSize(bytes)})`,
    );
  }
}
