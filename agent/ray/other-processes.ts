/**
 * The processes that are no raylets, so that looking for raylets again and again costs what is new, and not what a Ray
 * node has: a thousand processes, of which each takes some 160 µs of CPU time to be asked for its name.
 */
import type { Clock } from '../../common/clock.ts';

/** Between fork and exec a process has the name of its parent, so it is asked a second time. */
const LOOKS = 2;
/** A process may become another one, or its number another process's: all are asked again after this time. */
const FORGET_AFTER_MS = 60_000;

export class OtherProcesses {
  readonly #clock: Pick<Clock, 'monotonic'>;
  /** How often each was seen to be no raylet. */
  readonly #looks = new Map<number, number>();
  #begunAtMs: number;

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock;
    this.#begunAtMs = clock.monotonic();
  }

  /** Which of all processes there are have to be asked. */
  toAsk(pids: readonly number[]): number[] {
    if (this.#clock.monotonic() - this.#begunAtMs >= FORGET_AFTER_MS) {
      this.#looks.clear();
      this.#begunAtMs = this.#clock.monotonic();
    }
    const present = new Set(pids);
    for (const pid of this.#looks.keys()) if (!present.has(pid)) this.#looks.delete(pid);
    return pids.filter((pid) => (this.#looks.get(pid) ?? 0) < LOOKS);
  }

  /** Says that a process was seen to be no raylet. */
  note(pid: number): void {
    this.#looks.set(pid, (this.#looks.get(pid) ?? 0) + 1);
  }
}
