/**
 * Which process holds a socket: the links in /proc/PID/fd tell the inodes of a process's sockets.
 *
 * Looking into the descriptors of another user's process takes CAP_SYS_PTRACE (proc_pid_fd(5)).
 */
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../common/clock.ts';
import { systemCodeOf } from '../../common/errors.ts';
import { listProcesses } from './proc-files.ts';

/** Descriptors that are looked at in a row, and in a second over time: a fifth of a processor (9 µs each). */
const MAX_LINKS = 200_000;
const LINKS_A_SECOND = 20_000;
/** Descriptors of one process that are looked at. */
const MAX_DESCRIPTORS = 65_536;
/**
 * Descriptors of a process that are looked at before the rest of any: most programs have fewer, and one with thousands must
 * not use up what there is for the others.
 */
const FIRST_DESCRIPTORS = 512;
/** Links between two pauses in which packets are handled: about 2 ms. */
const LINKS_BETWEEN_PAUSES = 1000;
/** Processes that are looked at first next time. */
const MAX_RECENT = 16;

export interface SocketHolder {
  readonly pid: number;
  /** The path of the link: while it leads to the socket, the process is the same. */
  readonly link: string;
}

/** Why no process was found: none has it any more; some may not be looked into; there were too many descriptors. */
export type NotFound = 'gone' | 'hidden' | 'too-many';

export class SocketHolders {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #proc: string;
  /** Processes that held a socket lately; most questions are about a few programs. */
  #recent: readonly number[] = [];
  /** Descriptors that may be looked at now. */
  #allowance = MAX_LINKS;
  #allowanceMs = 0;

  constructor(clock: Pick<Clock, 'monotonic'>, proc = '/proc') {
    this.#clock = clock;
    this.#proc = proc;
  }

  /**
   * @param userId who made the socket: his processes are looked at before those of others, the youngest first
   * @param isStillThere whether the socket is still held by a process; asked before all processes are looked at
   */
  async find(
    inode: number,
    userId: number,
    isStillThere: () => boolean = () => true,
  ): Promise<SocketHolder | NotFound> {
    this.#renewAllowance();
    const search = new Search(this.#proc, `socket:[${inode}]`, this.#allowance);
    try {
      const recent = this.#recent;
      const atFirst = await this.#findAmong(recent, search, 0, FIRST_DESCRIPTORS);
      if (atFirst !== undefined) return atFirst;
      // A short connection is often over by now: no process of thousands has it.
      if (!isStillThere()) return 'gone';
      const all = [...recent, ...(await this.#others(userId))];
      return (
        (await this.#findAmong(all.slice(recent.length), search, 0, FIRST_DESCRIPTORS)) ??
        (await this.#findAmong(all, search, FIRST_DESCRIPTORS, MAX_DESCRIPTORS)) ??
        search.failure
      );
    } finally {
      this.#allowance = Math.max(0, this.#allowance - search.links);
    }
  }

  async #findAmong(
    pids: readonly number[],
    search: Search,
    begin: number,
    end: number,
  ): Promise<SocketHolder | undefined> {
    for (const pid of pids) {
      if (search.isExhausted) return undefined;
      if (begin > 0 && !search.hasMore.has(pid)) continue;
      const link = await search.lookInto(pid, begin, end);
      if (link !== undefined) {
        this.#recent = [pid, ...this.#recent.filter((other) => other !== pid)].slice(0, MAX_RECENT);
        return { pid, link };
      }
    }
    return undefined;
  }

  async #others(userId: number): Promise<number[]> {
    const recent = new Set(this.#recent);
    const processes = (await listProcesses(this.#proc)).toReversed().filter((pid) => !recent.has(pid));
    const his = new Set(processes.filter((pid) => ownerOf(join(this.#proc, String(pid))) === userId));
    return [...his, ...processes.filter((pid) => !his.has(pid))];
  }

  #renewAllowance(): void {
    const nowMs = this.#clock.monotonic();
    const gained = (Math.max(0, nowMs - this.#allowanceMs) / 1000) * LINKS_A_SECOND;
    this.#allowance = Math.min(MAX_LINKS, this.#allowance + gained);
    this.#allowanceMs = nowMs;
  }
}

/** Whether the process still has the socket: then it is the one that had it before. */
export function stillHolds({ link }: SocketHolder, inode: number): boolean {
  return readTarget(link) === `socket:[${inode}]`;
}

/** The inodes of a process's sockets; none where it is gone, undefined where it may not be looked into. */
export async function socketInodesOf(proc: string, pid: number): Promise<ReadonlySet<number> | undefined> {
  const folder = join(proc, `${pid}/fd`);
  let wasRefused = false;
  const names = listDescriptors(folder, () => {
    wasRefused = true;
  });
  if (wasRefused) return undefined;
  const inodes = new Set<number>();
  for (const [index, name] of names.entries()) {
    const inode = /^socket:\[(\d+)\]$/.exec(readTarget(join(folder, name)))?.[1];
    if (inode !== undefined) inodes.add(Number(inode));
    if (index % LINKS_BETWEEN_PAUSES === LINKS_BETWEEN_PAUSES - 1) await setImmediate();
  }
  return inodes;
}

/** One search. Synchronous calls take a tenth of the time here: /proc answers from memory, and no thread is woken. */
class Search {
  readonly #proc: string;
  readonly #target: string;
  readonly #maxLinks: number;
  #linksAtPause = 0;
  #wasRefused = false;
  /** Descriptors that were looked at. */
  links = 0;
  /** Processes with more descriptors than were looked at. */
  readonly hasMore = new Set<number>();

  constructor(proc: string, target: string, maxLinks: number) {
    this.#proc = proc;
    this.#target = target;
    this.#maxLinks = maxLinks;
  }

  get isExhausted(): boolean {
    return this.links >= this.#maxLinks;
  }

  /** Why nothing was found. */
  get failure(): NotFound {
    if (this.isExhausted) return 'too-many';
    return this.#wasRefused ? 'hidden' : 'gone';
  }

  /** The path of the process's link to the socket, if it is one of these. */
  async lookInto(pid: number, begin: number, end: number): Promise<string | undefined> {
    const folder = join(this.#proc, `${pid}/fd`);
    const names = listDescriptors(folder, () => {
      this.#wasRefused = true;
    });
    if (names.length > end) this.hasMore.add(pid);
    for (const name of names.slice(begin, end)) {
      if (this.isExhausted) return undefined;
      this.links++;
      const link = join(folder, name);
      if (readTarget(link) === this.#target) return link;
      await this.#pause();
    }
    return undefined;
  }

  /** Gives others a turn now and then. */
  async #pause(): Promise<void> {
    if (this.links - this.#linksAtPause < LINKS_BETWEEN_PAUSES) return;
    this.#linksAtPause = this.links;
    await setImmediate();
  }
}

function listDescriptors(folder: string, refused: () => void): string[] {
  try {
    return readdirSync(folder).slice(0, MAX_DESCRIPTORS);
  } catch (error) {
    if (REFUSALS.has(systemCodeOf(error) ?? '')) refused();
    return [];
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['EACCES', 'EPERM']);

function readTarget(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}

function ownerOf(folder: string): number | undefined {
  try {
    return statSync(folder).uid;
  } catch {
    return undefined;
  }
}
