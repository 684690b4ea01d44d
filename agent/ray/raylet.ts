/**
 * The raylets of this node, found in /proc without a question to the network or to Ray.
 *
 * A raylet says most on its command line. Its object manager's port stands there only when it was given to `ray start`;
 * a random one is in its log (`Raylet of id, … object_manager address: 10.77.0.11:36875`, see raylet-log.ts). A log is a hint: the
 * ports at which the process listens decide. Where no log tells which of them is the object manager's, each may be it.
 *
 * A raylet that is not proven is a hint: its ports are watched as well. It says nothing else that is believed.
 */
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { readForeignStart } from '../process/foreign-files.ts';
import {
  areOthersHidden,
  listProcesses,
  readCommandLine,
  shareNetwork,
  type ProcessSearch,
} from '../process/proc-files.ts';
import {
  isStill,
  readDescriptorCount,
  readProcessIdentity,
  readRealGroup,
  readUsers,
  type ProcessIdentity,
} from '../process/process-facts.ts';
import { socketInodesOf } from '../process/socket-holder.ts';
import { readListeners, type TableEntry } from '../process/socket-table.ts';
import { OVERDUE, processReads, trustedReads } from '../process/timed-reads.ts';
import { isLoopback } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import type { OtherProcesses } from './other-processes.ts';
import { readRayletLogs } from './raylet-log.ts';
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
  /** Undefined where neither the command line, the log nor the other port at which it listens tells it. */
  readonly objectManagerPort: number | undefined;
  readonly nodeManagerPort: number | undefined;
  /** Where the object manager's port was found; `argv` where it was not. */
  readonly how: 'argv' | 'log' | 'listening';
  /** Where its port is not known: the ports at which it listens, of which one is the object manager's. */
  readonly listeningPorts?: readonly number[];
}

/** `user`: not one who is trusted with a raylet; `hidden`: its file or its sockets may not be seen; `file`: others may change it. */
export type Doubt = 'user' | 'hidden' | 'file';

/** Enough of a command line to see whose it is. */
const MAX_PROGRAM_BYTES = 4096;
const MAX_LOG_LINE_LENGTH = 4096;
/** A file that holds a number. */
const MAX_NUMBER_BYTES = 32;
/** Descriptors of unproven raylets that are looked at in one search, and of those of one user. */
const MAX_UNPROVEN_DESCRIPTORS = 16_384;
const MAX_DESCRIPTORS_OF_USER = 8192;
/** A port that was left to chance, on the command line. */
const LEFT_TO_CHANCE = '0';
/** Ports of a raylet that are reported where its own is not known: it listens at two. */
const MAX_LISTENING_PORTS = 8;
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
  readonly descriptors: DescriptorAllowance;
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
  const descriptors = new DescriptorAllowance();
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
    const raylet = await examine(pid, { ...search, listeners, descriptors });
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
      ? await examine(pid, {
          ...search,
          listeners: rememberListeners(proc),
          descriptors: new DescriptorAllowance(),
        })
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
  search: Examination,
): Promise<Raylet | undefined> {
  const { trust = TRUST_ROOT } = search;
  const isOther = identity.executable !== '' && !isRayletPath(identity.executable, trust);
  return isOther ? undefined : describeUnproven(search, identity, options, 'user');
}

async function examineTrusted(
  identity: ProcessIdentity,
  options: RayletOptions,
  search: Examination,
): Promise<Raylet | undefined> {
  const { proc = '/proc', trust = TRUST_ROOT } = search;
  const file = await proveFile(proc, identity, trust).catch(() => 'refuted' as const);
  if (file === 'refuted') return undefined;
  const isEnough =
    file === 'proven' || (file === 'hidden' && mayBeHidden(trust) && (await isOwnProgram(proc, identity)));
  if (!isEnough) return describeUnproven(search, identity, options, file === 'hidden' ? 'hidden' : 'file');
  const own = await portsListenedAt(proc, identity, mayBeHidden(trust));
  const raylet = await describeProven(proc, identity, options, { mayRead: file === 'proven', own });
  const listens = raylet.objectManagerPort === undefined ? undefined : own?.all.has(raylet.objectManagerPort);
  if (listens === false) return undefined;
  // Where its port is not known, the file has to do.
  const isProven = listens === true || (raylet.objectManagerPort === undefined && file === 'proven');
  return isProven ? { ...raylet, isProven } : describeUnproven(search, identity, options, 'hidden');
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

interface OwnPorts {
  /** Everywhere. */
  readonly all: ReadonlySet<number>;
  /** Those of the process itself that other machines reach; none where only its user is known. */
  readonly reachable: readonly number[];
}

/**
 * The ports at which the process itself listens; undefined where that may not be seen.
 * @param byUser whether it is enough that its user does
 */
async function portsListenedAt(
  proc: string,
  { pid, userId }: ProcessIdentity,
  byUser: boolean,
): Promise<OwnPorts | undefined> {
  const inodes = await socketInodesOf(proc, pid);
  if (inodes === undefined && !byUser) return undefined;
  const listeners = await readListeners(proc, pid, (socket) =>
    inodes === undefined ? socket.userId === userId : inodes.has(socket.inode),
  );
  const reachable = inodes === undefined ? [] : listeners.filter(({ local }) => !isLoopback(local));
  return { all: portsOf(listeners), reachable: [...portsOf(reachable)] };
}

function portsOf(listeners: readonly TableEntry[]): Set<number> {
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

/** A hint: the ports of its command line where its user does listen, or those at which it does, and nothing from any file. */
async function describeUnproven(
  { proc = '/proc', listeners, descriptors }: Examination,
  { pid, startTicks, userId, executable }: ProcessIdentity,
  options: RayletOptions,
  doubt: Doubt,
): Promise<Raylet> {
  const claimed = ['object_manager_port', 'node_manager_port'].map((name) => parsePort(options.get(name)));
  const own = (await listeners(pid)).filter((socket) => socket.userId === userId);
  const [objectManagerPort, nodeManagerPort] = claimed.map((port) =>
    own.some(({ localPort }) => localPort === port) ? port : undefined,
  );
  const isRandom = options.get('object_manager_port') === LEFT_TO_CHANCE;
  const inodes =
    isRandom && (await descriptors.mayBeRead(proc, pid, userId))
      ? await socketInodesOf(proc, pid)
      : undefined;
  const reachable = own.filter(({ local, inode }) => inodes?.has(inode) === true && !isLoopback(local));
  const candidates = [...portsOf(reachable)].filter((port) => port !== nodeManagerPort);
  const hints = describeCandidates(candidates);
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
    ...hints,
  };
}

/** A random port of a raylet that is not proven: the one at which it listens, or each where there are several. */
function describeCandidates(
  ports: readonly number[],
): Partial<Pick<Raylet, 'objectManagerPort' | 'how' | 'listeningPorts'>> {
  if (ports.length === 0) return {};
  if (ports.length === 1) return { objectManagerPort: ports[0], how: 'listening' };
  return { listeningPorts: ports.slice(0, MAX_LISTENING_PORTS) };
}

/**
 * Which processes without proof may be looked into, as to where they listen: reading a descriptor takes 9 µs, and anybody can start
 * programs that are called raylet and have thousands. Whoever uses up what there is hides the random port of another unproven raylet,
 * and that is said to be a guess then.
 */
class DescriptorAllowance {
  readonly #spent = new Map<number, number>();
  #left = MAX_UNPROVEN_DESCRIPTORS;

  /** Whether there is room for the process's descriptors; takes it. */
  async mayBeRead(proc: string, pid: number, userId: number): Promise<boolean> {
    const count = await readDescriptorCount(proc, pid);
    const spent = (this.#spent.get(userId) ?? 0) + count;
    if (count > this.#left || spent > MAX_DESCRIPTORS_OF_USER) return false;
    this.#left -= count;
    this.#spent.set(userId, spent);
    return true;
  }
}

interface Sight {
  /** Whether its files may be read: those of a process whose executable was seen to be Ray's. */
  readonly mayRead: boolean;
  /** The ports at which it listens, where they may be seen. */
  readonly own: OwnPorts | undefined;
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
  const reachable = own?.reachable ?? [];
  const told = completePorts({ objectManager: fromArgv, nodeManager: nodeManagerFromArgv }, reachable);
  const isLogNeeded = fromArgv === undefined || told.nodeManager === undefined;
  const logged =
    isLogNeeded && mayRead
      ? await readPorts(readRayletLogs({ processFolder, userId, options }), nodeId, own?.all)
      : undefined;
  const { objectManager, nodeManager = logged?.nodeManagerPort } = completePorts(
    { objectManager: fromArgv ?? logged?.objectManagerPort, nodeManager: nodeManagerFromArgv },
    reachable,
  );
  const isUnknown = objectManager === undefined && options.get('object_manager_port') === LEFT_TO_CHANCE;
  const listeningPorts = isUnknown
    ? reachable.filter((port) => port !== nodeManager).slice(0, MAX_LISTENING_PORTS)
    : [];
  return {
    pid,
    startTicks,
    userId,
    executable,
    nodeId,
    nodeAddress: nodeAddressOf(options),
    gcsAddress: textOption(options, 'gcs-address', /^[\w.:[\]-]+$/),
    ...(clusterId === '' ? {} : { clusterId }),
    objectManagerPort: objectManager,
    nodeManagerPort: nodeManager,
    how:
      fromArgv !== undefined || objectManager === undefined
        ? 'argv'
        : logged === undefined
          ? 'listening'
          : 'log',
    ...(listeningPorts.length === 0 ? {} : { listeningPorts }),
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

/** The ports of the first log that tells those of this process. */
async function readPorts(
  logs: AsyncIterable<string>,
  nodeId: string,
  own: ReadonlySet<number> | undefined,
): Promise<ReturnType<typeof parseRayletLog>> {
  for await (const text of logs) {
    const ports = parseRayletLog(text, nodeId, own);
    if (ports !== undefined) return ports;
  }
  return undefined;
}

interface PortsOfRaylet {
  readonly objectManager: number | undefined;
  readonly nodeManager: number | undefined;
}

/** A raylet listens at two ports: where one of them is known, the other port is the other one. */
function completePorts(
  { objectManager, nodeManager }: PortsOfRaylet,
  listening: readonly number[],
): PortsOfRaylet {
  const others = listening.filter((port) => port !== objectManager && port !== nodeManager);
  const [other] = others;
  const isOneKnown = (objectManager === undefined) !== (nodeManager === undefined);
  // A port at which it does not listen says nothing of the other one.
  const isKnownRight = listening.length === others.length + 1;
  if (others.length !== 1 || !isOneKnown || !isKnownRight) return { objectManager, nodeManager };
  return { objectManager: objectManager ?? other, nodeManager: nodeManager ?? other };
}
