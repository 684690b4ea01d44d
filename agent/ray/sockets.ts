/**
 * Which TCP connections this node's raylets opened: the links in /proc/PID/fd tell the inodes of a raylet's sockets, and the
 * kernel's list of sockets what they are. Whoever may not look into another user's process (CAP_SYS_PTRACE, or the same user)
 * gets no sockets.
 *
 * The list is asked for each second, and costs what all sockets of the node cost. So it is made only when there may be
 * something new in it: when a program of this network namespace has opened a connection since, and a raylet has a socket
 * that was not on the list before. A whole list is made every five seconds in any case, connections within the node included.
 */
import type { Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { socketInodesOf } from '../process/socket-holder.ts';
import type { SocketList } from '../process/socket-list.ts';
import type { SocketState, TableEntry } from '../process/socket-table.ts';
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

/** What is known of the raylets whose sockets are listed. */
type ListedRaylet = Pick<Raylet, 'pid' | 'startTicks' | 'gcsAddress' | 'isProven'>;

/** A whole list is made at least this often: connections end, and a socket may have been made long before it connects. */
const LONGEST_INTERVAL_MS = 5000;
/** What listing takes, in ms of CPU time: for each descriptor of a raylet, and for each socket of the node. */
const DESCRIPTOR_MS = 0.007;
const SOCKET_MS = 0.0012;
/**
 * While a raylet opens a connection every second, finding it takes a hundredth of a processor at most, over time: where the raylet has
 * a few hundred descriptors and the node 5,000 sockets it is found within a second.
 */
const TIMES_ITS_COST = 100;

interface RayletSocketsOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Any user can start programs that call themselves raylet, with as many descriptors as it likes: only proven ones are looked into. */
  readonly raylets: () => Promise<readonly ListedRaylet[]>;
  readonly list: SocketList;
  /** How many connections this network namespace has opened; undefined where that is not known. */
  readonly activeOpens: () => number | undefined;
  /** For tests: another root than /proc. */
  readonly proc?: string;
}

/** The sockets of a raylet by the descriptors that it has. */
interface Holder {
  readonly raylet: ListedRaylet;
  readonly inodes: ReadonlySet<number>;
}

export class RayletSockets {
  readonly #options: RayletSocketsOptions;
  #sockets: readonly ProcessSocket[] = [];
  #entries: readonly TableEntry[] = [];
  /** Of the last list: which raylets, when, and how many connections had been opened before. */
  #raylets = '';
  #listedAtMs = -Infinity;
  #opens: number | undefined;
  /** Inodes of which the last list has told what they are. */
  #settled: ReadonlySet<number> = new Set();
  /** All inodes of the last list. */
  #inodes: ReadonlySet<number> = new Set();
  #nextMs = -Infinity;

  constructor(options: RayletSocketsOptions) {
    this.#options = options;
  }

  /**
   * The connections that the proven raylets opened, except those to the GCS, through which no object moves: the same list as
   * before where none was made.
   * @throws what the search for raylets throws
   */
  async opened(): Promise<readonly ProcessSocket[]> {
    const { clock, raylets, activeOpens, proc = '/proc' } = this.#options;
    const nowMs = clock.monotonic();
    const proven = (await raylets()).filter(({ isProven }) => isProven);
    const names = proven.map(({ pid, startTicks }) => `${pid} ${startTicks}`).join(',');
    const isDue = names !== this.#raylets || nowMs - this.#listedAtMs >= LONGEST_INTERVAL_MS;
    if (!isDue && nowMs < this.#nextMs) return this.#sockets;
    // Before the sockets are looked at: what is opened from here on is another one.
    const opens = activeOpens();
    if (!isDue && opens !== undefined && opens === this.#opens) return this.#sockets;
    const holders: Holder[] = [];
    for (const raylet of proven) {
      const inodes = await socketInodesOf(proc, raylet.pid);
      if (inodes !== undefined && inodes.size > 0) holders.push({ raylet, inodes });
    }
    const inodes = new Set(holders.flatMap((holder) => [...holder.inodes]));
    const isNew = [...inodes].some((inode) => !this.#settled.has(inode));
    this.#opens = opens;
    if (isDue || isNew) await this.#list(holders, inodes, { nowMs, isWhole: isDue });
    else this.#nextMs = nowMs + TIMES_ITS_COST * DESCRIPTOR_MS * inodes.size;
    this.#raylets = names;
    return this.#sockets;
  }

  /** Between two whole lists it adds what is not of loopback, where nobody but this node is. */
  async #list(
    holders: readonly Holder[],
    inodes: ReadonlySet<number>,
    { nowMs, isWhole }: { readonly nowMs: number; readonly isWhole: boolean },
  ): Promise<void> {
    const { entries: listedEntries, listed } = await this.#options.list(
      inodes,
      isWhole ? 'all' : 'elsewhere',
    );
    const found = new Set(listedEntries.map(({ inode }) => inode));
    const before = isWhole ? [] : this.#entries.filter(({ inode }) => inodes.has(inode) && !found.has(inode));
    const entries = [...before, ...listedEntries];
    this.#entries = entries;
    // A socket that is not on the list is no TCP socket, or not connected yet: it is looked for twice.
    this.#settled = new Set([...inodes].filter((inode) => found.has(inode) || this.#inodes.has(inode)));
    this.#inodes = inodes;
    if (isWhole) this.#listedAtMs = nowMs;
    this.#nextMs = nowMs + TIMES_ITS_COST * (DESCRIPTOR_MS * inodes.size + SOCKET_MS * listed);
    this.#sockets = holders.flatMap((holder) => openedBy(holder, entries));
  }
}

function openedBy({ raylet, inodes }: Holder, entries: readonly TableEntry[]): ProcessSocket[] {
  const own = entries.filter(({ inode }) => inodes.has(inode));
  const listeningPorts = new Set(
    own.filter(({ state }) => state === 'listen').map(({ localPort }) => localPort),
  );
  const gcsPort = Number(raylet.gcsAddress.split(':').at(-1));
  return own
    .map(({ local, localPort, remote, remotePort, state }) => ({
      local,
      localPort,
      remote,
      remotePort,
      state,
      listening: state === 'listen',
      outgoing: !listeningPorts.has(localPort),
    }))
    .filter(({ outgoing, remotePort }) => outgoing && remotePort !== gcsPort);
}
