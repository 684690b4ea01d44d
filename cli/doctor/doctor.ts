/**
 * `plasmawatch doctor`: what this machine can capture with, who belongs to the cluster as seen from here, how the agent
 * does that runs here, and what is missing.
 */
import { networkInterfaces, platform, release } from 'node:os';
import { probeCapture } from '../../agent/capture/live.ts';
import { readCapabilities, type Capabilities } from '../../agent/process/capabilities.ts';
import { findRaylets, type Raylet } from '../../agent/ray/raylet.ts';
import { systemClock } from '../../common/clock.ts';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import { silentLogger } from '../../common/log.ts';
import { openDatabase } from '../../common/sqlite.ts';
import { packagePath } from '../../common/package.ts';
import { CollectorClient } from '../collector-client.ts';
import { collectorOptions, isCollectorNamed, type CollectorCommandOptions } from '../connection/settings.ts';
import type { Command, ExitStatus, Terminal } from '../command.ts';
import { loadRayToken, sourcesHere } from '../membership-here.ts';
import { writeLine } from '../output.ts';
import { rayletTrust } from '../raylet-trust.ts';
import { readRules } from '../rules-file.ts';
import { defaultNodeName } from '../system.ts';
import { examineAgent } from './agent.ts';
import { check, MEMBERSHIP_CHECK, PORT_CHECK, writeFinding, type Check, type Finding } from './check.ts';
import { examineDisk } from './disk.ts';
import { examineMembership } from './membership.ts';
import { examineSharedViews } from './shared-views.ts';
import { loadSettings, USUAL_CONFIG } from './settings.ts';

/** What the checks ask of the machine; tests give other answers. */
export interface DoctorDependencies {
  readonly nodeVersion: string;
  readonly probeCapture: typeof probeCapture;
  readonly readCapabilities: () => Promise<Capabilities>;
  readonly openDatabase: typeof openDatabase;
  readonly findRaylets: () => Promise<readonly Raylet[]>;
  readonly networkInterfaces: typeof networkInterfaces;
  /** Who belongs to the cluster, as the sources of the rules tell it. */
  readonly examineMembership: (raylets: readonly Raylet[]) => Promise<Finding[]>;
  /** Whether the agent's spool has room. */
  readonly examineDisk: () => Promise<Check>;
  /** How the agent of this node is, where a collector is asked. */
  readonly examineAgent: () => Promise<Check[]>;
}

interface DoctorOptions extends CollectorCommandOptions {
  readonly json: boolean;
  readonly config: string | undefined;
  readonly rules: string | undefined;
  readonly node: string | undefined;
}

/** The oldest Node that is supported, as in package.json. */
const OLDEST_NODE = [20, 19] as const;

export const doctorCommand: Command<DoctorOptions> = {
  usage: 'doctor',
  description: 'what this machine can capture with, who belongs to the cluster, and what is missing',
  options: (yargs) =>
    yargs
      .option('json', { type: 'boolean', default: false, description: 'one JSON object a line' })
      .option('config', {
        type: 'string',
        requiresArg: true,
        description: `the agent's settings: its rules, its name, its spool; ${USUAL_CONFIG} when left out`,
      })
      .option('rules', {
        type: 'string',
        requiresArg: true,
        description:
          "the allowlist whose sources are asked; the agent's when left out, or the one that ships",
      })
      .option('node', {
        type: 'string',
        requiresArg: true,
        description:
          'name of the agent that the collector is asked about; that of the settings, or the host name',
      })
      .options(collectorOptions),
  async run(options, terminal) {
    const settings = await loadSettings(options.config, terminal);
    if (settings === undefined) return 2;
    const rules = options.rules ?? settings.rules ?? packagePath('rules/object-manager.yaml');
    const ruleset = await readRules(rules, terminal);
    if (ruleset === undefined) return 2;
    const node = options.node ?? settings.node ?? defaultNodeName();
    const trust = await rayletTrust(settings.ray, terminal);
    const rayToken = await loadRayToken(terminal, settings.ray.tokenFile);
    const isAsked = await isCollectorNamed(options, terminal.env);
    const client = isAsked ? await CollectorClient.create(options, terminal) : undefined;
    return runDoctor(options, terminal, {
      nodeVersion: process.versions.node,
      probeCapture,
      readCapabilities,
      openDatabase,
      findRaylets: () => findRaylets({ trust }),
      networkInterfaces,
      examineDisk: () => examineDisk(settings.spool.path),
      examineMembership: (raylets) =>
        examineMembership(
          ruleset,
          (logger) => sourcesHere({ raylets, rayToken }, logger, terminal),
          settings.ray.expected,
        ),
      examineAgent: async () =>
        client === undefined
          ? []
          : [...(await examineAgent(client, node)), ...(await examineSharedViews(client))],
    });
  },
};

/**
 * Runs the checks and writes them. 0 when an agent can work here, 1 when something is missing that stops it, or when the port that
 * it watches is only a guess, or when it does not know the members yet. A source of members that does not answer, and losses, stop no agent.
 */
export async function runDoctor(
  { json }: Pick<DoctorOptions, 'json'>,
  terminal: Pick<Terminal, 'stdout' | 'columns'>,
  dependencies: DoctorDependencies,
): Promise<ExitStatus> {
  const captures = await checkCapture(dependencies);
  const { raylets, found } = await lookForRaylets(dependencies);
  const needed = [
    checkNode(dependencies.nodeVersion),
    await checkDatabase(dependencies),
    await dependencies.examineDisk(),
  ];
  const told = [
    checkPlatform(),
    await checkCapabilities(dependencies),
    ...captures,
    ...found,
    await checkProcesses(dependencies),
    checkInterfaces(dependencies),
    ...(await dependencies.examineMembership(raylets)),
    ...(await dependencies.examineAgent()),
  ];
  for (const finding of [...needed, ...told]) writeFinding(finding, json, terminal);
  const canWork = needed.every(({ ok }) => ok) && captures.some(({ ok }) => ok);
  const guesses = [
    ...(told.some((finding) => isFailed(finding, PORT_CHECK))
      ? ['its object-manager port is guessed, not confirmed']
      : []),
    ...(told.some((finding) => isFailed(finding, MEMBERSHIP_CHECK))
      ? ['it does not know the members of the cluster yet']
      : []),
  ];
  if (!json) writeLine(terminal, conclusionOf(canWork, guesses));
  return canWork && guesses.length === 0 ? 0 : 1;
}

function isFailed(finding: Finding, name: string): boolean {
  return finding.type === 'check' && finding.name === name && !finding.ok;
}

/** @param guesses what an agent does not know for certain */
function conclusionOf(canWork: boolean, guesses: readonly string[]): string {
  if (!canWork) return 'An agent cannot work here yet.';
  return guesses.length === 0
    ? 'An agent can work here.'
    : `An agent can work here, but ${guesses.join(', and ')}.`;
}

function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  const ok = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor);
  return check('node', ok, `Node ${version}`, `install Node ${OLDEST_NODE.join('.')} or later`);
}

function checkPlatform(): Check {
  return check('platform', platform() === 'linux', `${platform()} ${release()}`, 'run the agent on Linux');
}

async function checkCapabilities({ readCapabilities }: DoctorDependencies): Promise<Check> {
  const { netRaw, bpf } = await readCapabilities();
  if (netRaw === undefined) return check('capabilities', false, 'not to be read from /proc/self/status');
  return check('capabilities', netRaw, `CAP_NET_RAW ${yesOrNo(netRaw)}, CAP_BPF ${yesOrNo(bpf)}`);
}

function yesOrNo(has: boolean | undefined): string {
  return has === true ? 'yes' : 'no';
}

async function checkCapture({ probeCapture }: DoctorDependencies): Promise<Check[]> {
  const probes = await probeCapture({ clock: systemClock, logger: silentLogger });
  return probes.map(({ name, available, reason, fix }) => check(`capture ${name}`, available, reason, fix));
}

async function checkDatabase({ openDatabase }: DoctorDependencies): Promise<Check> {
  try {
    (await openDatabase(':memory:', [])).close();
    return check('sqlite', true, 'a SQLite engine is there');
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    return check('sqlite', false, messageOf(error), 'npm install better-sqlite3, or use Node 22.13 or later');
  }
}

/** Where they cannot be looked for, that is a finding like others. */
async function lookForRaylets({
  findRaylets,
}: DoctorDependencies): Promise<{ readonly raylets: readonly Raylet[]; readonly found: Check[] }> {
  try {
    const raylets = await findRaylets();
    return { raylets, found: checkRaylets(raylets) };
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    return { raylets: [], found: [check('raylet', false, messageOf(error), LOOK_FIX)] };
  }
}

function checkRaylets(raylets: readonly Raylet[]): Check[] {
  if (raylets.length === 0) {
    return [
      check(
        'raylet',
        false,
        'no raylet in this network namespace',
        'start Ray here, or the agent where Ray runs',
      ),
    ];
  }
  return raylets.map((raylet) => {
    const isKnown = raylet.objectManagerPort !== undefined || raylet.listeningPorts !== undefined;
    const fix = raylet.doubt === undefined ? UNKNOWN_PORT_FIX : DOUBT_FIXES[raylet.doubt];
    return check('raylet', isKnown && raylet.isProven, describeRaylet(raylet), fix);
  });
}

/** Whether the process at this node's end of a connection can be named (proc_pid_fd(5)). */
async function checkProcesses({ readCapabilities }: DoctorDependencies): Promise<Check> {
  const { sysPtrace, dacReadSearch } = await readCapabilities();
  const missing = [
    ...(sysPtrace === true ? [] : ['CAP_SYS_PTRACE']),
    ...(dacReadSearch === true ? [] : ['CAP_DAC_READ_SEARCH']),
  ];
  if (missing.length === 0)
    return check('processes', true, 'the process that has a connection can be named, whose ever it is');
  return check(
    'processes',
    false,
    `of connections of other users only the user can be named: ${missing.join(' and ')} missing`,
    LOOK_FIX,
  );
}

const LOOK_FIX = 'docs/install.md, "Let the agent look into processes"';
const DOUBT_FIXES: Readonly<Record<NonNullable<Raylet['doubt']>, string>> = {
  user: "if it is yours, name its user in the agent's settings (`ray.user`)",
  hidden: `name its user in the agent's settings (\`ray.user\`), or ${LOOK_FIX}`,
  file: "make its file and the folders above writable by root and Ray's user only, or name it (`ray.executable`)",
};
const UNKNOWN_PORT_FIX =
  "start Ray with --object-manager-port=N, or let the agent read the logs in Ray's session directory";

const DOUBTS: Readonly<Record<NonNullable<Raylet['doubt']>, string>> = {
  user: 'its user is not one who is trusted with a raylet',
  hidden: 'its file or its sockets cannot be seen',
  file: 'other users may change its file',
};

const PORT_SOURCES: Readonly<Record<Raylet['how'], string>> = {
  argv: 'from its command line',
  log: 'from its log',
  listening: 'the other port at which it listens',
};

function describeRaylet(raylet: Raylet): string {
  const { pid, nodeAddress, objectManagerPort, nodeManagerPort, how, isProven, doubt, userId } = raylet;
  const objectManager =
    objectManagerPort === undefined
      ? (raylet.listeningPorts?.join(' or ') ?? 'unknown')
      : `${objectManagerPort} (${PORT_SOURCES[how]})`;
  return `pid ${pid}, ${nodeAddress}, object manager ${objectManager}, node manager ${nodeManagerPort ?? 'unknown'}${isProven ? '' : `; user ${userId}; not proven, so it names no members: ${DOUBTS[doubt ?? 'hidden']}`}`;
}

function checkInterfaces({ networkInterfaces }: DoctorDependencies): Check {
  const described = Object.entries(networkInterfaces()).map(
    ([name, addresses = []]) => `${name} ${addresses.map(({ address }) => address).join(' ')}`,
  );
  return check(
    'interfaces',
    described.length > 0,
    described.length > 0 ? described.join(', ') : 'none is up',
  );
}
