/**
 * How old rows are that were stamped by the wall clock. A clock that was set forward makes no row older than it is: the clock
 * counts as set only when everything that was stamped before has been kept for its whole time. So a machine that boots
 * with a clock that is years behind removes old rows all the same, some time after its clock was set.
 */
import type { Clock } from '../../common/clock.ts';

/** A smaller step is not noted: rows are removed by the minute. */
const TOLERANCE_MS = 60_000;

interface Offset {
  /** The wall clock minus the time that passes. */
  readonly aheadMs: number;
  /** From when on the wall clock was no less ahead than that. */
  readonly sinceMs: number;
}

export class RowAge {
  readonly #clock: Pick<Clock, 'now' | 'monotonic' | 'pausedMs'>;
  /** The longest time for which rows are kept, in ms. */
  readonly #longestKeepMs: number;
  /** Ascending by both. Each differs by more than the tolerance, so that there are few, however often the clock is set. */
  readonly #offsets: Offset[] = [];

  constructor(clock: Pick<Clock, 'now' | 'monotonic' | 'pausedMs'>, longestKeepMs: number) {
    this.#clock = clock;
    this.#longestKeepMs = longestKeepMs;
  }

  /** Reads the clocks; to be called now and then. */
  note(): void {
    const passedMs = this.#passedMs();
    const aheadMs = Math.round(this.#clock.now() - passedMs);
    let sinceMs = passedMs;
    for (;;) {
      const last = this.#offsets.at(-1);
      if (last !== undefined && aheadMs >= last.aheadMs && aheadMs - last.aheadMs < TOLERANCE_MS) break;
      if (last === undefined || aheadMs > last.aheadMs) {
        this.#offsets.push({ aheadMs, sinceMs });
        break;
      }
      ({ sinceMs } = last);
      this.#offsets.pop();
    }
    while ((this.#offsets[1]?.sinceMs ?? Infinity) <= passedMs - this.#longestKeepMs) this.#offsets.shift();
  }

  /** The stamp before which a row has been kept for so many milliseconds. */
  stampBefore(keepMs: number): number {
    const passedMs = this.#passedMs();
    const next = this.#offsets.findIndex(({ sinceMs }) => sinceMs > passedMs - keepMs);
    const inForce = this.#offsets[next === -1 ? this.#offsets.length - 1 : Math.max(0, next - 1)];
    return Math.round(passedMs + (inForce?.aheadMs ?? 0) - keepMs);
  }

  #passedMs(): number {
    return this.#clock.monotonic() + this.#clock.pausedMs();
  }
}
