/**
 * Which TCP connections a process has: proc_pid_net(5) tells the sockets of its network namespace with their inodes,
 * and the links in /proc/PID/fd tell which of those inodes are its own.
 *
 * Whoever may not look into another user's process (CAP_SYS_PTRACE, or the same user) gets no sockets.
 */
import type { Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { ProcessSearch } from '../process/proc-files.ts';
import { socketInodesOf } from '../process/socket-holder.ts';
import { readSocketTable, type SocketState } from '../process/socket-table.ts';
import type { Raylet } from './raylet.ts';

/** A TCP socket of a process. */
export interface ProcessSocket {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  /** 0 for a listening socket. */
  readonly remotePort: number;
  readonly state: SocketState;
  readonly listening: boolean;
  /** Whether the process opened the connection: its local port is none that it listens on. */
  readonly outgoing: boolean;
}

/** The TCP sockets of a process, listening ones included; empty where it is gone or may not be looked into. */
export async function connectionsOf(
  pid: number,
  { proc = '/proc' }: ProcessSearch = {},
): Promise<ProcessSocket[]> {
  const inodes = await socketInodesOf(proc, pid);
  if (inodes === undefined || inodes.size === 0) return [];
  const own = await readSocketTable(proc, pid, ({ inode }) => inodes.has(inode));
  const listeningPorts = new Set(
    own.filter(({ state }) => state === 'listen').map(({ localPort }) => localPort),
  );
  return own.map(({ local, localPort, remote, remotePort, state }) => ({
    local,
    localPort,
    remote,
    remotePort,
    state,
    listening: state === 'listen',
    outgoing: !listeningPorts.has(localPort),
  }));
}

/**
 * The connections that the proven ones of these raylets opened, except those to the GCS, through which no object moves. Any
 * user can start programs that call themselves raylet, with as many descriptors as it likes: those are not looked into.
 */
export async function openedByRaylets(
  raylets: readonly Pick<Raylet, 'pid' | 'gcsAddress' | 'isProven'>[],
  search: ProcessSearch = {},
): Promise<ProcessSocket[]> {
  const opened: ProcessSocket[] = [];
  for (const { pid, gcsAddress, isProven } of raylets) {
    if (!isProven) continue;
    const gcsPort = Number(gcsAddress.split(':').at(-1));
    const sockets = await connectionsOf(pid, search);
    opened.push(...sockets.filter(({ outgoing, remotePort }) => outgoing && remotePort !== gcsPort));
  }
  return opened;
}

/** A look takes a fifth of the time at most: after one that took long the next one waits four times as long. */
const PAUSE_FACTOR = 4;

/** A function that answers with the sockets of the last look where another one would take too much of the time. */
export function rememberSockets(
  clock: Pick<Clock, 'monotonic'>,
  look: () => Promise<readonly ProcessSocket[]>,
): () => Promise<readonly ProcessSocket[]> {
  let sockets: readonly ProcessSocket[] = [];
  let nextMs = -Infinity;
  return async () => {
    const beginMs = clock.monotonic();
    if (beginMs < nextMs) return sockets;
    sockets = await look();
    nextMs = clock.monotonic() + PAUSE_FACTOR * (clock.monotonic() - beginMs);
    return sockets;
  };
}
