/**
 * Whose socket is it: from a connection's end at this node to the socket, to the process that holds it, to what is
 * known of that process. A bounded number of times a second, for a flood of connections must not cost a flood of looks.
 *
 * Nothing is guessed: a connection that has ended meanwhile has no owner, and of one whose process may not be looked
 * into only the user is told, which the kernel tells everybody.
 */
import { sameAddress } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import type { SocketOwner } from '../../common/event.ts';
import type { Logger } from '../../common/log.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { readProcessFacts, startTimeMs, type ProcessFacts } from './process-facts.ts';
import { SockDiag, type SocketEnds, type SocketFacts } from './sock-diag.ts';
import { SocketHolders, stillHolds } from './socket-holder.ts';
import { readSocketTable } from './socket-table.ts';
import { processReads, trustedReads } from './timed-reads.ts';
import { UserNames } from './user-names.ts';

/** Looks in a second, and at a time. */
const MAX_LOOKS_A_SECOND = 20;
const MAX_LOOKS_AT_A_TIME = 20;

/** Who holds a socket. */
export interface Owner {
  /** Undefined where the process could not be found, or not be looked into. */
  readonly process: ProcessFacts | undefined;
  /** Who made the socket. */
  readonly userId: number;
  /** The same as reports have it. */
  readonly description: SocketOwner;
}

export interface SocketOwnerCounters {
  /** Looks for a process. */
  readonly looks: number;
  /** Looks that found none: the connection had ended, or the process may not be looked into. */
  readonly unattributed: number;
  /** Looks that ended because processes have too many descriptors open; they are among `unattributed`. */
  readonly givenUp: number;
  /** Connections of which only the user was looked for, because there were too many. */
  readonly turnedAway: number;
  /** Reads of processes that did not let themselves be read in time, or were not begun for that. */
  readonly overdueReads: number;
}

interface SocketOwnersDependencies {
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Undefined where the kernel does not offer it: then the table of all sockets is read. */
  readonly sockDiag: Pick<SockDiag, 'find' | 'listensAt' | 'close'> | undefined;
  /** For tests: another root than /proc. */
  readonly proc?: string;
  readonly userNames?: UserNames;
}

export class SocketOwners {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #proc: string;
  readonly #sockDiag: Pick<SockDiag, 'find' | 'listensAt' | 'close'> | undefined;
  readonly #userNames: UserNames;
  readonly #holders: SocketHolders;
  readonly #counters = { looks: 0, unattributed: 0, givenUp: 0, turnedAway: 0 };
  #running = 0;
  /** The second that is counted, and the looks that have begun in it. */
  #second = 0;
  #begunInSecond = 0;

  constructor({ clock, sockDiag, proc = '/proc', userNames }: SocketOwnersDependencies) {
    this.#clock = clock;
    this.#proc = proc;
    this.#sockDiag = sockDiag;
    this.#userNames = userNames ?? new UserNames(clock);
    this.#holders = new SocketHolders(clock, proc);
  }

  /** Those of this machine; says in the log where the slower way has to do. */
  static async open(clock: Pick<Clock, 'monotonic'>, logger: Logger): Promise<SocketOwners> {
    try {
      return new SocketOwners({ clock, sockDiag: await SockDiag.open() });
    } catch (error) {
      if (!(error instanceof PlasmawatchError)) throw error;
      logger.info({ reason: messageOf(error) }, 'sockets are looked up in /proc/net/tcp');
      return new SocketOwners({ clock, sockDiag: undefined });
    }
  }

  /** The kernel's list of sockets, undefined where it offers none. It ends with `close`. */
  get sockDiag(): Pick<SockDiag, 'find' | 'listensAt'> | undefined {
    return this.#sockDiag;
  }

  get counters(): SocketOwnerCounters {
    return { ...this.#counters, overdueReads: processReads.overdue + trustedReads.overdue };
  }

  /**
   * Undefined where nobody has the socket any more, or where it was not looked for. Where there is no room for a look, the user
   * is told all the same: that takes one question to the kernel, and who makes many connections hides nobody's.
   */
  async find(ends: SocketEnds): Promise<Owner | undefined> {
    if (!this.#hasRoom()) {
      this.#counters.turnedAway++;
      return this.#lookForUser(ends);
    }
    this.#counters.looks++;
    this.#running++;
    try {
      const owner = await this.#look(ends);
      if (owner?.process === undefined) this.#counters.unattributed++;
      return owner;
    } finally {
      this.#running--;
    }
  }

  close(): void {
    this.#sockDiag?.close();
  }

  #hasRoom(): boolean {
    const second = Math.floor(this.#clock.monotonic() / 1000);
    if (second !== this.#second) this.#begunInSecond = 0;
    this.#second = second;
    if (this.#running >= MAX_LOOKS_AT_A_TIME || this.#begunInSecond >= MAX_LOOKS_A_SECOND) return false;
    this.#begunInSecond++;
    return true;
  }

  async #look(ends: SocketEnds): Promise<Owner | undefined> {
    const socket = await this.#findSocket(ends);
    // A socket that no process has any more has no user either: the kernel says 0.
    if (socket === undefined || socket.inode === 0) return undefined;
    const process = await this.#findProcess(socket, ends);
    return { process, userId: socket.userId, description: await this.#describe(process, socket.userId) };
  }

  async #lookForUser(ends: SocketEnds): Promise<Owner | undefined> {
    if (this.#sockDiag === undefined) return undefined;
    const socket = this.#ask(this.#sockDiag, ends);
    if (socket === undefined || socket.inode === 0) return undefined;
    const { userId } = socket;
    return { process: undefined, userId, description: await this.#describe(undefined, userId) };
  }

  async #findSocket(ends: SocketEnds): Promise<SocketFacts | undefined> {
    if (this.#sockDiag !== undefined) return this.#ask(this.#sockDiag, ends);
    const [entry] = await readSocketTable(
      this.#proc,
      'self',
      ({ local, localPort, remote, remotePort }) =>
        localPort === ends.localPort &&
        remotePort === ends.remotePort &&
        sameAddress(local, ends.local) &&
        sameAddress(remote, ends.remote),
    );
    return entry;
  }

  #ask(sockDiag: Pick<SockDiag, 'find'>, ends: SocketEnds): SocketFacts | undefined {
    try {
      return sockDiag.find(ends);
    } catch (error) {
      // No memory for the answer: the look has found nothing, and is counted so.
      if (error instanceof PlasmawatchError) return undefined;
      throw error;
    }
  }

  async #findProcess({ inode, userId }: SocketFacts, ends: SocketEnds): Promise<ProcessFacts | undefined> {
    const sockDiag = this.#sockDiag;
    const isStillThere = (): boolean => sockDiag === undefined || this.#ask(sockDiag, ends)?.inode === inode;
    const holder = await this.#holders.find(inode, userId, isStillThere);
    if (holder === 'too-many') this.#counters.givenUp++;
    if (typeof holder === 'string') return undefined;
    const facts = await readProcessFacts(this.#proc, holder.pid);
    // What was read is the holder's if it still has the socket: its id may have gone to another process.
    return stillHolds(holder, inode) ? facts : undefined;
  }

  async #describe(process: ProcessFacts | undefined, socketUserId: number): Promise<SocketOwner> {
    const userId = process?.userId ?? socketUserId;
    const name = await this.#userNames.of(userId);
    return {
      ...(process === undefined ? {} : await this.#describeProcess(process)),
      user: { id: String(userId), ...(name === undefined ? {} : { name }) },
    };
  }

  async #describeProcess(facts: ProcessFacts): Promise<SocketOwner> {
    const { pid, name, executable, commandLine, containment } = facts;
    const startMs = await startTimeMs(this.#proc, facts);
    const { containerId, podUid } = containment;
    return {
      process: {
        pid,
        ...(startMs === undefined ? {} : { start: formatMilliseconds(startMs) }),
        name,
        ...(executable === '' ? {} : { executable }),
        ...(commandLine === '' ? {} : { command_line: commandLine }),
      },
      ...(containerId === undefined ? {} : { container: { id: containerId } }),
      ...(podUid === undefined
        ? {}
        : { orchestrator: { type: 'kubernetes', resource: { type: 'pod', id: podUid } } }),
    };
  }
}

/** An owner in a sentence: `process 812 of user ray (python3 client.py)`. */
export function ownerInWords({ process, user }: SocketOwner): string {
  const who = user === undefined ? '' : ` of user ${user.name ?? user.id}`;
  if (process === undefined) return `a process${who}`;
  return `process ${process.pid}${who} (${process.command_line ?? process.name})`;
}
