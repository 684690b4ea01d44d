/**
 * The raylets of this node, found in /proc without a question to the network or to Ray.
 *
 * A raylet says most on its command line. Its object manager's port stands there only when it was given to `ray start`;
 * a random one is in its log (`Raylet of id, … object_manager address: 10.77.0.11:36875`), which is read through
 * /proc/PID/root, so that it is found from another mount namespace too.
 *
 * A raylet that is not proven is a hint: its ports are watched as well. It says nothing else that is believed.
 */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { readForeignEnds, readForeignStart } from '../process/foreign-files.ts';
import {
  areOthersHidden,
  listProcesses,
  readCommandLine,
  readLink,
  shareNetwork,
  type ProcessSearch,
} from '../process/proc-files.ts';
import {
  isStill,
  readProcessIdentity,
  readRealGroup,
  readUsers,
  type ProcessIdentity,
} from '../process/process-facts.ts';
import { socketInodesOf } from '../process/socket-holder.ts';
import { readListeners, type TableEntry } from '../process/socket-table.ts';
import { OVERDUE, processReads, trustedReads } from '../process/timed-reads.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import type { OtherProcesses } from './other-processes.ts';
import {
  isCalledRaylet,
  MAX_COMMAND_LINE_BYTES,
  nodeAddressOf,
  parseRayletOptions,
  sessionOf,
  textOption,
  type RayletOptions,
} from './raylet-options.ts';
import { isRayletPath, proveFile, TRUST_ROOT, type RayletTrust } from './raylet-proof.ts';
import { findServicePorts, parsePort, type ServicePortsOfNode } from './service-ports.ts';

/** A raylet in the network namespace of this process. */
export interface Raylet extends ServicePortsOfNode {
  readonly pid: number;
  /** When it started, in ticks since the boot. */
  readonly startTicks: number;
  readonly userId: number;
  /** The file that it runs; empty where it may not be seen. */
  readonly executable: string;
  /**
   * Whether the kernel says that it is Ray's: by its user, its file and its socket (raylet-proof.ts). Nothing that an unproven
   * one says is believed; of its ports only those are here where its user does listen.
   */
  readonly isProven: boolean;
  /** Why it is not proven. */
  readonly doubt?: Doubt;
  /** 56 hex digits; empty where the command line has none. */
  readonly nodeId: string;
  /** The address by which the other nodes know it. */
  readonly nodeAddress: string;
  /** `host:port` of the GCS; empty where it is not proven. */
  readonly gcsAddress: string;
  /** Ray's id of the cluster; left out where the command line has none. */
  readonly clusterId?: string;
  /** Undefined where neither the command line nor the log tells it. */
  readonly objectManagerPort: number | undefined;
  readonly nodeManagerPort: number | undefined;
  /** Where the object manager's port was found; `argv` where it was not. */
  readonly how: 'argv' | 'log';
}

/** `user`: not one who is trusted with a raylet; `hidden`: its file or its sockets may not be seen; `file`: others may change it. */
export type Doubt = 'user' | 'hidden' | 'file';

/** Enough of a command line to see whose it is. */
const MAX_PROGRAM_BYTES = 4096;
/** The log's line is written at the start; the file grows and is rotated, so its end is looked at too. */
const LOG_WINDOW_BYTES = 256 * 1024;
const MAX_LOG_LINE_LENGTH = 4096;
/** A file that holds a number. */
const MAX_NUMBER_BYTES = 32;
/** Programs of users who are not trusted that are looked at, at a time. More are hints that nobody needs. */
const MAX_UNTRUSTED = 64;
/** Processes that are looked at between two pauses in which packets are handled: some 2 ms. */
const PROCESSES_BETWEEN_PAUSES = 50;

interface RayletSearch extends ProcessSearch {
  /** For who looks again and again: what is noted there is not asked. */
  readonly others?: OtherProcesses;
  /** Whose raylets are believed; those of root when left out. */
  readonly trust?: RayletTrust;
}

interface Examination extends RayletSearch {
  readonly listeners: Listeners;
}

/** The listening sockets of our network namespace, read once for all programs that are no more than a hint. */
type Listeners = (pid: number) => Promise<readonly TableEntry[]>;

/**
 * All raylets that share our network namespace, those that are proven first, and of them the one that started first.
 * Processes that vanish meanwhile are left out.
 * @throws PlasmawatchError PW_SYSTEM_CALL where a process of a trusted user does not let itself be looked at, or where none is
 *   seen and the processes of others are hidden
 */
export async function findRaylets(search: RayletSearch = {}): Promise<Raylet[]> {
  const { proc = '/proc', others, trust = TRUST_ROOT } = search;
  const pids = await listProcesses(proc);
  const raylets: Raylet[] = [];
  const listeners = rememberListeners(proc);
  let untrusted = 0;
  for (const [index, pid] of (others?.toAsk(pids) ?? pids).entries()) {
    if (index % PROCESSES_BETWEEN_PAUSES === PROCESSES_BETWEEN_PAUSES - 1) await setImmediate();
    const isTrusted = isTrustedWith(trust, await readUsers(proc, pid));
    const isOneTooMany = !isTrusted && untrusted >= MAX_UNTRUSTED;
    if (isOneTooMany || !(await isCandidate(proc, pid, isTrusted))) {
      others?.note(pid);
      continue;
    }
    if (!isTrusted) untrusted++;
    const raylet = await examine(pid, { ...search, listeners });
    if (raylet !== undefined) raylets.push(raylet);
  }
  if (raylets.length === 0 && (await areOthersHidden(proc))) {
    throw new PlasmawatchError(
      'PW_SYSTEM_CALL',
      'the processes of other users are hidden (hidepid of /proc): CAP_SYS_PTRACE or its gid lets the agent see a raylet',
      { operation: 'read', subject: 'raylets' },
    );
  }
  return raylets.toSorted(
    (a, b) => Number(b.isProven) - Number(a.isProven) || a.startTicks - b.startTicks || a.pid - b.pid,
  );
}

/** The raylet that this process is; undefined where it is none of a user who is trusted, or one of another network namespace. */
export async function rayletAt(
  pid: number,
  search: Omit<RayletSearch, 'others'> = {},
): Promise<Raylet | undefined> {
  const { proc = '/proc', trust = TRUST_ROOT } = search;
  if (!isTrustedWith(trust, await readUsers(proc, pid))) return undefined;
  try {
    return (await isCandidate(proc, pid, true))
      ? await examine(pid, { ...search, listeners: rememberListeners(proc) })
      : undefined;
  } catch (error) {
    // Whoever does not let itself be looked at is not proven.
    if (error instanceof PlasmawatchError) return undefined;
    throw error;
  }
}

/** The raylet of this node, the first of `findRaylets` where there are several. */
export async function findRaylet(search: RayletSearch = {}): Promise<Raylet | undefined> {
  const [raylet] = await findRaylets(search);
  return raylet;
}

/**
 * The ports that a raylet wrote to its log when it started.
 * @param own ports at which it listens: lines about other ports are of a raylet before it
 */
export function parseRayletLog(
  text: string,
  nodeId: string,
  own?: ReadonlySet<number>,
): { objectManagerPort: number; nodeManagerPort: number | undefined } | undefined {
  for (const line of text.split('\n')) {
    if (line.length > MAX_LOG_LINE_LENGTH || !line.includes('Raylet of id, ')) continue;
    if (nodeId !== '' && !line.includes(`Raylet of id, ${nodeId} `)) continue;
    const objectManagerPort = parsePort(/\bobject_manager address: \S*:(\d+)/.exec(line)?.[1]);
    if (objectManagerPort === undefined || own?.has(objectManagerPort) === false) continue;
    const nodeManagerPort = parsePort(/\bnode_manager address: \S*:(\d+)/.exec(line)?.[1]);
    return { objectManagerPort, nodeManagerPort };
  }
  return undefined;
}

/** Both users count: of a program that lends its owner's rights the command line is that of whoever started it. */
function isTrustedWith(
  { users }: RayletTrust,
  process: Pick<ProcessIdentity, 'userId' | 'realUserId'> | undefined,
): boolean {
  return process !== undefined && users.has(process.userId) && users.has(process.realUserId);
}

/** Whether the process calls itself raylet, and is seen to be of this network namespace. */
async function isCandidate(proc: string, pid: number, isTrusted: boolean): Promise<boolean> {
  if (!(await shareNetwork(proc, 'self', pid))) return false;
  return isCalledRaylet(await readCommand(proc, pid, MAX_PROGRAM_BYTES, isTrusted));
}

/** Empty where there is none, or where a process that is not trusted holds it back: it hides nothing but a hint. */
async function readCommand(
  proc: string,
  pid: number,
  limitBytes: number,
  isTrusted: boolean,
): Promise<string> {
  const text = await readCommandLine(proc, pid, limitBytes, isTrusted ? trustedReads : processReads);
  if (text !== OVERDUE) return text ?? '';
  if (!isTrusted) return '';
  // A raylet that was there is not gone because somebody does not answer.
  throw new PlasmawatchError(
    'PW_SYSTEM_CALL',
    `process ${pid} does not let its command line be read: raylets are not looked for`,
    { operation: 'read', subject: 'raylets' },
  );
}

/** The raylet that a candidate is; undefined where the kernel says that it is another program, or it is gone. */
async function examine(pid: number, search: Examination): Promise<Raylet | undefined> {
  const { proc = '/proc', trust = TRUST_ROOT } = search;
  const identity = await readProcessIdentity(proc, pid);
  if (identity === undefined) return undefined;
  const isTrusted = isTrustedWith(trust, identity);
  const options = parseRayletOptions(await readCommand(proc, pid, MAX_COMMAND_LINE_BYTES, isTrusted));
  if (options === undefined) return undefined;
  const raylet = isTrusted
    ? await examineTrusted(identity, options, search)
    : await describeUntrusted(identity, options, search);
  // Its number may have gone to another process, and a program of root may have become one of another user meanwhile.
  const isSame = await isStill(proc, identity);
  const isStillTrusted = isTrustedWith(trust, await readUsers(proc, pid));
  return isSame && isStillTrusted === isTrusted ? raylet : undefined;
}

async function describeUntrusted(
  identity: ProcessIdentity,
  options: RayletOptions,
  { trust = TRUST_ROOT, listeners }: Examination,
): Promise<Raylet | undefined> {
  const isOther = identity.executable !== '' && !isRayletPath(identity.executable, trust);
  return isOther ? undefined : describeUnproven(listeners, identity, options, 'user');
}

async function examineTrusted(
  identity: ProcessIdentity,
  options: RayletOptions,
  { proc = '/proc', trust = TRUST_ROOT, listeners }: Examination,
): Promise<Raylet | undefined> {
  const file = await proveFile(proc, identity, trust).catch(() => 'refuted' as const);
  if (file === 'refuted') return undefined;
  const isEnough =
    file === 'proven' || (file === 'hidden' && mayBeHidden(trust) && (await isOwnProgram(proc, identity)));
  if (!isEnough) return describeUnproven(listeners, identity, options, file === 'hidden' ? 'hidden' : 'file');
  const own = await listeningPorts(proc, identity, mayBeHidden(trust));
  const raylet = await describeProven(proc, identity, options, { mayRead: file === 'proven', own });
  const listens = raylet.objectManagerPort === undefined ? undefined : own?.has(raylet.objectManagerPort);
  if (listens === false) return undefined;
  // Where its port is not known, the file has to do.
  const isProven = listens === true || (raylet.objectManagerPort === undefined && file === 'proven');
  return isProven ? { ...raylet, isProven } : describeUnproven(listeners, identity, options, 'hidden');
}

function mayBeHidden({ isUserNamed, executable }: RayletTrust): boolean {
  return isUserNamed === true && executable === undefined;
}

/**
 * Of a file that cannot be seen: whether it is a program of the user's own, and not one that everybody may start as root and
 * that has become root altogether, as sudo does before it asks for a password. Such a one keeps the group of who started it.
 */
async function isOwnProgram(proc: string, { pid, userId }: ProcessIdentity): Promise<boolean> {
  return userId !== 0 || (await readRealGroup(proc, pid)) === 0;
}

/**
 * The ports at which the process itself listens; undefined where that may not be seen.
 * @param byUser whether it is enough that its user does
 */
async function listeningPorts(
  proc: string,
  { pid, userId }: ProcessIdentity,
  byUser: boolean,
): Promise<ReadonlySet<number> | undefined> {
  const inodes = await socketInodesOf(proc, pid);
  if (inodes === undefined && !byUser) return undefined;
  const listeners = await readListeners(proc, pid, (socket) =>
    inodes === undefined ? socket.userId === userId : inodes.has(socket.inode),
  );
  return new Set(listeners.map(({ localPort }) => localPort));
}

/** The table of a process is that of its namespace: where this process has none to show, that of the first who asks. */
function rememberListeners(proc: string): Listeners {
  let read: Promise<readonly TableEntry[]> | undefined;
  const listening = (pid: number | 'self'): Promise<TableEntry[]> => readListeners(proc, pid, () => true);
  return (pid) => {
    read ??= listening('self').then((own) => (own.length > 0 ? own : listening(pid)));
    return read;
  };
}

/** A hint: the ports of its command line where its user does listen, and nothing from any file. */
async function describeUnproven(
  listeners: Listeners,
  { pid, startTicks, userId, executable }: ProcessIdentity,
  options: RayletOptions,
  doubt: Doubt,
): Promise<Raylet> {
  const claimed = ['object_manager_port', 'node_manager_port'].map((name) => parsePort(options.get(name)));
  const own = (await listeners(pid)).filter((socket) => socket.userId === userId);
  const [objectManagerPort, nodeManagerPort] = claimed.map((port) =>
    own.some(({ localPort }) => localPort === port) ? port : undefined,
  );
  return {
    pid,
    startTicks,
    userId,
    executable,
    isProven: false,
    doubt,
    nodeId: '',
    nodeAddress: nodeAddressOf(options),
    gcsAddress: '',
    objectManagerPort,
    nodeManagerPort,
    how: 'argv',
  };
}

interface Sight {
  /** Whether its files may be read: those of a process whose executable was seen to be Ray's. */
  readonly mayRead: boolean;
  /** The ports at which it listens, where they may be seen. */
  readonly own: ReadonlySet<number> | undefined;
}

async function describeProven(
  proc: string,
  { pid, startTicks, userId, executable }: ProcessIdentity,
  options: RayletOptions,
  { mayRead, own }: Sight,
): Promise<Omit<Raylet, 'isProven'>> {
  const processFolder = join(proc, String(pid));
  const nodeId = textOption(options, 'node_id', /^[0-9a-f]{1,128}$/);
  const clusterId = textOption(options, 'cluster-id', /^[0-9a-f]{1,128}$/);
  const fromArgv = parsePort(options.get('object_manager_port'));
  const nodeManagerFromArgv = parsePort(options.get('node_manager_port'));
  const isLogNeeded = fromArgv === undefined || nodeManagerFromArgv === undefined;
  const logged =
    isLogNeeded && mayRead
      ? await readPorts({ processFolder, userId, paths: await logsOf(processFolder, options) }, nodeId, own)
      : undefined;
  return {
    pid,
    startTicks,
    userId,
    executable,
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
      sessionFolder: sessionOf(options),
      readText: (path) =>
        mayRead
          ? readForeignStart({ processFolder, path, userId }, MAX_NUMBER_BYTES)
          : Promise.resolve(undefined),
    })),
  };
}

interface Logs {
  readonly processFolder: string;
  readonly userId: number;
  readonly paths: readonly string[];
}

/** The ports of the first log that tells those of this process. */
async function readPorts(
  { paths, ...whose }: Logs,
  nodeId: string,
  own: ReadonlySet<number> | undefined,
): Promise<ReturnType<typeof parseRayletLog>> {
  for (const path of paths) {
    const text = await readForeignEnds({ ...whose, path }, LOG_WINDOW_BYTES);
    const ports = text === undefined ? undefined : parseRayletLog(text, nodeId, own);
    if (ports !== undefined) return ports;
  }
  return undefined;
}

/**
 * Where its log may be. A raylet that is started again in its session writes to `raylet.1.out`, and `raylet.out` keeps the start
 * before it; up to Ray 2.38 no option names the file, but its standard output is that file.
 */
async function logsOf(processFolder: string, options: RayletOptions): Promise<string[]> {
  const given = options.get('stdout_filepath');
  if (given !== undefined) return [given];
  const folder = options.get('log_dir') ?? `${sessionOf(options)}/logs`;
  const output = await readLink(join(processFolder, 'fd/1'));
  return [...(output === undefined ? [] : [output]), `${folder}/raylet.out`];
}
