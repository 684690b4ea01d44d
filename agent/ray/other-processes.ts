/**
 * The processes that are no raylets, so that looking for raylets again and again costs what is new, and not what a Ray
 * node has: thousands of processes, of which each takes some 200 µs of CPU time to be asked for its name.
 *
 * A process may become another program (execve(2)), or its number another process's. Both show in /proc/PID/stat, which
 * takes a tenth of that: there is the time of its start, the name of its program, and where its arguments are in memory,
 * which is another place after each execve. A twelfth of all is compared at each search.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** Between fork and exec a process has the name of its parent, so it is asked a second time. */
const LOOKS = 2;
/** All are compared with what they were once in so many searches: one begins every five seconds. */
const SEARCHES_A_ROUND = 12;
/** What a program wrote over its own arguments shows nowhere else: after so many rounds it is asked again. */
const ROUNDS = 60;

const MAX_STAT_BYTES = 1024;
/** Fields of /proc/PID/stat behind the name, counted from `state` (proc_pid_stat(5)). */
const START_TIME = 19;
const ARGUMENTS_START = 45;

/** What is known of a process that is no raylet. */
interface Other {
  /** How often it was seen to be none. */
  looks: number;
  /** What it was then. */
  mark: string;
  /** Rounds that are left until it is asked again. */
  rounds: number;
}

export class OtherProcesses {
  readonly #proc: string;
  /** Those compared longest ago first. */
  readonly #others = new Map<number, Other>();
  #noted = 0;
  readonly #bytes = Buffer.alloc(MAX_STAT_BYTES);

  /** @param proc for tests: another root than /proc */
  constructor(proc = '/proc') {
    this.#proc = proc;
  }

  /** Which of all processes there are have to be asked. To be called once a search. */
  toAsk(pids: readonly number[]): number[] {
    const present = new Set(pids);
    for (const pid of this.#others.keys()) if (!present.has(pid)) this.#others.delete(pid);
    this.#compareSome();
    return pids.filter((pid) => (this.#others.get(pid)?.looks ?? 0) < LOOKS);
  }

  /** Says that a process was seen to be no raylet. */
  note(pid: number): void {
    const known = this.#others.get(pid);
    if (known !== undefined) {
      known.looks++;
      return;
    }
    // Those that are noted together are not all asked again together.
    const rounds = ROUNDS + (this.#noted++ % ROUNDS);
    this.#others.set(pid, { looks: 1, mark: this.#markOf(pid), rounds });
  }

  #compareSome(): void {
    let left = Math.ceil(this.#others.size / SEARCHES_A_ROUND);
    for (const [pid, other] of this.#others) {
      if (left-- === 0) return;
      this.#others.delete(pid);
      other.rounds--;
      if (other.rounds > 0 && this.#markOf(pid) === other.mark) this.#others.set(pid, other);
    }
  }

  /** The same as long as the process is the same and runs the same program. Nothing that it does delays this read. */
  #markOf(pid: number): string {
    let text: string;
    try {
      const file = openSync(`${this.#proc}/${pid}/stat`, 'r');
      try {
        text = this.#bytes.toString('latin1', 0, readSync(file, this.#bytes, 0, MAX_STAT_BYTES, 0));
      } finally {
        closeSync(file);
      }
    } catch {
      return '';
    }
    // The name may hold anything, parentheses too; it ends at the last one.
    const end = text.lastIndexOf(')');
    const fields = text.slice(end + 2).split(' ');
    return `${text.slice(0, end)} ${fields[START_TIME] ?? ''} ${fields[ARGUMENTS_START] ?? ''}`;
  }
}
