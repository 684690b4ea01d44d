/** A clock that stands still until a test moves it. */
import type { Clock, Timer } from '../../common/clock.ts';

interface PendingTimer {
  dueMs: number;
  readonly everyMs: number | undefined;
  readonly work: () => void;
}

export class FakeClock implements Clock {
  #monotonicMs: number;
  /** The wall clock minus the monotonic one. */
  #aheadMs = 0;
  #pausedMs = 0;
  readonly #timers = new Set<PendingTimer>();

  /** @param startMs milliseconds since the epoch */
  constructor(startMs = Date.UTC(2026, 10, 23, 9, 0, 0)) {
    this.#monotonicMs = startMs;
  }

  now(): number {
    return this.#monotonicMs + this.#aheadMs;
  }

  monotonic(): number {
    return this.#monotonicMs;
  }

  pausedMs(): number {
    return this.#pausedMs;
  }

  after(delayMs: number, work: () => void): Timer {
    return this.#add({ dueMs: this.#monotonicMs + delayMs, everyMs: undefined, work });
  }

  every(intervalMs: number, work: () => void): Timer {
    return this.#add({ dueMs: this.#monotonicMs + intervalMs, everyMs: intervalMs, work });
  }

  /** Timers that wait. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time on, and runs what becomes due on the way, in order. */
  advance(byMs: number): void {
    const endMs = this.#monotonicMs + byMs;
    for (;;) {
      const next = [...this.#timers].toSorted((a, b) => a.dueMs - b.dueMs)[0];
      if (next === undefined || next.dueMs > endMs) break;
      this.#monotonicMs = Math.max(this.#monotonicMs, next.dueMs);
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.dueMs += next.everyMs;
      next.work();
    }
    this.#monotonicMs = endMs;
  }

  /** Somebody sets the wall clock, forward or (below 0) back. */
  step(byMs: number): void {
    this.#aheadMs += byMs;
  }

  /**
   * The process is stopped for this long, and goes on: what is called at intervals shorter than that is called once, before anybody
   * has read a socket; other timers wait for the rest of their time.
   */
  pause(forMs: number): void {
    this.#aheadMs += forMs;
    this.#pausedMs += forMs;
    const late = [...this.#timers].filter(({ everyMs = Infinity }) => everyMs <= forMs);
    for (const timer of late.toSorted((a, b) => a.dueMs - b.dueMs)) {
      if (this.#timers.has(timer)) timer.work();
    }
  }

  #add(timer: PendingTimer): Timer {
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }
}
