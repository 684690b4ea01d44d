/**
 * The raylets of this node, found in /proc without a question to the network or to Ray.
 *
 * A raylet says most on its command line. Its object manager's port stands there only when it was given to `ray start`;
 * a random one is in its log (`Raylet of id, … object_manager address: 10.77.0.11:36875`), which is read through
 * /proc/PID/root, so that it is found from another mount namespace too.
 */
import { basename, join } from 'node:path';
import { parseAddress } from '../../common/address.ts';
import { readProcessFacts, type ProcessFacts } from '../process/process-facts.ts';
import { listProcesses, readEnds, readLink, readStart, type ProcessSearch } from '../process/proc-files.ts';
import { socketInodesOf } from '../process/socket-holder.ts';
import { readSocketTable } from '../process/socket-table.ts';
import type { OtherProcesses } from './other-processes.ts';
import { findServicePorts, parsePort, type ServicePortsOfNode } from './service-ports.ts';

/** A raylet in the network namespace of this process. */
export interface Raylet extends ServicePortsOfNode {
  readonly pid: number;
  readonly userId: number;
  /**
   * Whether it was seen to be one: it runs Ray's file, and listens where its command line says. False where this
   * process may not look (CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH): then the command line is believed.
   */
  readonly isProven: boolean;
  /** 56 hex digits; empty where the command line has none. */
  readonly nodeId: string;
  /** The address by which the other nodes know it. */
  readonly nodeAddress: string;
  /** `host:port` of the GCS. */
  readonly gcsAddress: string;
  /** Ray's id of the cluster; left out where the command line has none. */
  readonly clusterId?: string;
  /** Undefined where neither the command line nor the log tells it. */
  readonly objectManagerPort: number | undefined;
  readonly nodeManagerPort: number | undefined;
  /** Where the object manager's port was found; `argv` where it was not. */
  readonly how: 'argv' | 'log';
}

/** Enough of a command line to see whose it is. */
const MAX_PROGRAM_BYTES = 4096;
/** Ray's command lines are about 8 KiB long. */
const MAX_COMMAND_LINE_BYTES = 256 * 1024;
/** The log's line is written at the start; the file grows and is rotated, so its end is looked at too. */
const LOG_WINDOW_BYTES = 256 * 1024;
const MAX_NAME_LENGTH = 256;
/** A file that holds a number. */
const MAX_NUMBER_BYTES = 32;
/** Where Ray's packages have it, under whatever folder they are installed in. */
const RAYLET_FILE = '/ray/core/src/ray/raylet/raylet';

interface RayletSearch extends ProcessSearch {
  /** For who looks again and again: what is noted there is not asked. */
  readonly others?: OtherProcesses;
}

/**
 * All raylets that share our network namespace, those that are proven first, by rising process id. Processes that vanish
 * meanwhile are left out.
 */
export async function findRaylets({ proc = '/proc', others }: RayletSearch = {}): Promise<Raylet[]> {
  const raylets: Raylet[] = [];
  const pids = await listProcesses(proc);
  for (const pid of others?.toAsk(pids) ?? pids) {
    const options = await readRayletOptions(proc, pid);
    if (options === undefined) others?.note(pid);
    const raylet = options === undefined ? undefined : await rayletOf(proc, pid, options);
    if (raylet !== undefined) raylets.push(raylet);
  }
  return raylets.toSorted((a, b) => Number(b.isProven) - Number(a.isProven));
}

/**
 * The raylet that this process is; undefined where it is none, or one of another network namespace. A command line is
 * the process's own word: where its file and its sockets can be seen, they decide.
 */
export async function rayletAt(
  pid: number,
  { proc = '/proc' }: ProcessSearch = {},
): Promise<Raylet | undefined> {
  const options = await readRayletOptions(proc, pid);
  return options === undefined ? undefined : rayletOf(proc, pid, options);
}

/** The raylet of which the command line is known. */
async function rayletOf(
  proc: string,
  pid: number,
  options: ReadonlyMap<string, string>,
): Promise<Raylet | undefined> {
  const namespace = await readLink(join(proc, 'self/ns/net'));
  // Where either namespace cannot be read (another user's process), the raylet counts as ours.
  const rayletNamespace = await readLink(join(proc, `${pid}/ns/net`));
  if (namespace !== undefined && rayletNamespace !== undefined && namespace !== rayletNamespace)
    return undefined;
  const facts = await readProcessFacts(proc, pid);
  if (facts === undefined) return undefined;
  const raylet = await describeRaylet(proc, facts, options);
  const isProven = await isRays(proc, facts, raylet);
  return isProven === false ? undefined : { ...raylet, isProven: isProven === true };
}

/** The raylet of this node, the first of `findRaylets` where there are several. */
export async function findRaylet(search: ProcessSearch = {}): Promise<Raylet | undefined> {
  const [raylet] = await findRaylets(search);
  return raylet;
}

/** The ports that a raylet wrote to its log when it started. */
export function parseRayletLog(
  text: string,
  nodeId: string,
): { objectManagerPort: number; nodeManagerPort: number | undefined } | undefined {
  for (const line of text.split('\n')) {
    if (!line.includes('Raylet of id, ')) continue;
    if (nodeId !== '' && !line.includes(`Raylet of id, ${nodeId} `)) continue;
    const objectManagerPort = parsePort(/\bobject_manager address: \S*:(\d+)/.exec(line)?.[1]);
    if (objectManagerPort === undefined) continue;
    const nodeManagerPort = parsePort(/\bnode_manager address: \S*:(\d+)/.exec(line)?.[1]);
    return { objectManagerPort, nodeManagerPort };
  }
  return undefined;
}

/** Whether the process is what its command line says; undefined where that may not be seen. */
async function isRays(
  proc: string,
  { pid, executable }: ProcessFacts,
  { objectManagerPort }: Pick<Raylet, 'objectManagerPort'>,
): Promise<boolean | undefined> {
  if (executable === '') return undefined;
  if (!executable.endsWith(RAYLET_FILE)) return false;
  // Where its port is not known, the file has to do.
  if (objectManagerPort === undefined) return true;
  const inodes = socketInodesOf(proc, pid);
  if (inodes === undefined) return undefined;
  const listeners = await readSocketTable(
    proc,
    pid,
    ({ state, localPort, inode }) =>
      state === 'listen' && localPort === objectManagerPort && inodes.has(inode),
  );
  return listeners.length > 0;
}

async function describeRaylet(
  proc: string,
  { pid, userId }: ProcessFacts,
  options: ReadonlyMap<string, string>,
): Promise<Omit<Raylet, 'isProven'>> {
  const nodeId = textOption(options, 'node_id', /^[0-9a-f]{1,128}$/);
  const clusterId = textOption(options, 'cluster-id', /^[0-9a-f]{1,128}$/);
  const fromArgv = parsePort(options.get('object_manager_port'));
  const nodeManagerFromArgv = parsePort(options.get('node_manager_port'));
  const logged =
    fromArgv === undefined || nodeManagerFromArgv === undefined
      ? await readLoggedPorts(proc, pid, options, nodeId)
      : undefined;
  return {
    pid,
    userId,
    nodeId,
    nodeAddress: nodeAddressOf(options),
    gcsAddress: textOption(options, 'gcs-address', /^[\w.:[\]-]+$/),
    ...(clusterId === '' ? {} : { clusterId }),
    objectManagerPort: fromArgv ?? logged?.objectManagerPort,
    nodeManagerPort: nodeManagerFromArgv ?? logged?.nodeManagerPort,
    how: fromArgv === undefined && logged !== undefined ? 'log' : 'argv',
    ...(await findServicePorts({
      options,
      nodeId,
      sessionFolder: join(proc, `${pid}/root`, sessionOf(options)),
      readText: (path) => readStart(path, MAX_NUMBER_BYTES),
    })),
  };
}

async function readLoggedPorts(
  proc: string,
  pid: number,
  options: ReadonlyMap<string, string>,
  nodeId: string,
): Promise<{ objectManagerPort: number; nodeManagerPort: number | undefined } | undefined> {
  const folder = options.get('log_dir') ?? join(sessionOf(options), 'logs');
  const path = options.get('stdout_filepath') ?? join(folder, 'raylet.out');
  const text = await readEnds(join(proc, `${pid}/root`, path), LOG_WINDOW_BYTES);
  return text === undefined ? undefined : parseRayletLog(text, nodeId);
}

/** The options of a process that is a raylet, else undefined. */
async function readRayletOptions(
  proc: string,
  pid: number,
): Promise<ReadonlyMap<string, string> | undefined> {
  const path = join(proc, `${pid}/cmdline`);
  const [program = ''] = (await readStart(path, MAX_PROGRAM_BYTES))?.split('\0') ?? [];
  if (basename(program) !== 'raylet') return undefined;
  const values = (await readStart(path, MAX_COMMAND_LINE_BYTES))?.split('\0') ?? [];
  const options = new Map<string, string>();
  for (const value of values) {
    const match = /^--([\w-]+)=(.*)$/s.exec(value);
    if (match?.[1] !== undefined && match[2] !== undefined) options.set(match[1], match[2]);
  }
  // The name alone is anybody's; a raylet always has these.
  return options.has('object_manager_port') && options.has('node_ip_address') ? options : undefined;
}

function sessionOf(options: ReadonlyMap<string, string>): string {
  return options.get('session_dir') ?? '/tmp/ray/session_latest';
}

function nodeAddressOf(options: ReadonlyMap<string, string>): string {
  const text = options.get('node_ip_address') ?? '';
  return parseAddress(text) === undefined ? '' : text;
}

/** An option's text where it has the expected form; empty otherwise. */
function textOption(options: ReadonlyMap<string, string>, name: string, form: RegExp): string {
  const text = options.get(name) ?? '';
  return text.length <= MAX_NAME_LENGTH && form.test(text) ? text : '';
}
