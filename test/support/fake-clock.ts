/** A clock that stands still until a test moves it. */
import type { Clock, Timer } from '../../common/clock.ts';

interface PendingTimer {
  dueMs: number;
  readonly everyMs: number | undefined;
  readonly work: () => void;
}

export class FakeClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<PendingTimer>();

  /** @param startMs milliseconds since the epoch */
  constructor(startMs = Date.UTC(2026, 10, 23, 9, 0, 0)) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  after(delayMs: number, work: () => void): Timer {
    return this.#add({ dueMs: this.#nowMs + delayMs, everyMs: undefined, work });
  }

  every(intervalMs: number, work: () => void): Timer {
    return this.#add({ dueMs: this.#nowMs + intervalMs, everyMs: intervalMs, work });
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time on, and runs what becomes due on the way, in order. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const next = [...this.#timers].toSorted((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.dueMs += next.everyMs;
      next.work();
    }
    this.#nowMs = endMs;
  }

  #add(timer: PendingTimer): Timer {
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
}
