import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClock, LONGEST_GAP_MS, type Clock } from '../../common/clock.ts';

const START_MS = Date.UTC(2026, 10, 23);
const HOUR_MS = 3_600_000;

/** A machine whose readings the test moves; the timers are those of Node, on a time of the test's making. */
class Machine {
  wallMs = START_MS;
  elapsedMs = 500;
  sinceBootMs = 90_000;

  readonly clock: Clock = createClock({
    wallMs: () => this.wallMs,
    elapsedMs: () => this.elapsedMs,
    sinceBootMs: () => this.sinceBootMs,
  });

  /** Time passes while the process runs. */
  run(forMs: number): void {
    for (let passedMs = 0; passedMs < forMs; passedMs += 100) {
      this.skip(100);
      vi.advanceTimersByTime(100);
    }
  }

  /** Time passes while it does not. */
  skip(forMs: number): void {
    this.wallMs += forMs;
    this.elapsedMs += forMs;
    this.sinceBootMs += forMs;
  }
}

let machine: Machine;
beforeEach(() => {
  vi.useFakeTimers();
  machine = new Machine();
  machine.clock.monotonic();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('the monotonic clock', () => {
  it.each([-24 * HOUR_MS, -HOUR_MS, HOUR_MS, 24 * HOUR_MS])(
    'is not affected by setting the wall clock by %i ms',
    (byMs) => {
      machine.run(10_000);
      machine.wallMs += byMs;
      machine.run(10_000);
      expect(machine.clock.monotonic()).toBe(START_MS + 20_000);
      expect(machine.clock.now()).toBe(START_MS + 20_000 + byMs);
      expect(machine.clock.pausedMs()).toBe(0);
    },
  );

  it('leaves out the time in which the process did not run', () => {
    machine.run(10_000);
    machine.skip(HOUR_MS);
    expect(machine.clock.monotonic()).toBe(START_MS + 10_000 + LONGEST_GAP_MS);
    expect(machine.clock.pausedMs()).toBe(HOUR_MS - LONGEST_GAP_MS);
  });

  it('stands still while the machine is suspended, which counts as a pause', () => {
    machine.run(10_000);
    machine.wallMs += HOUR_MS;
    machine.sinceBootMs += HOUR_MS;
    expect(machine.clock.monotonic()).toBe(START_MS + 10_000);
    expect(machine.clock.pausedMs()).toBe(HOUR_MS);
  });

  it('goes on though nobody reads it for long', () => {
    machine.run(60_000);
    expect(machine.clock.monotonic()).toBe(START_MS + 60_000);
  });
});

describe('a timer', () => {
  it('that is late for a pause of the process waits for the rest of its time', () => {
    const work = vi.fn<() => void>();
    machine.clock.after(60_000, work);
    machine.run(20_000);
    machine.skip(HOUR_MS);
    vi.advanceTimersByTime(60_000);
    expect(work).not.toHaveBeenCalled();
    machine.run(40_000);
    expect(work).toHaveBeenCalledTimes(1);
  });

  it('can be cancelled while it waits for the rest', () => {
    const work = vi.fn<() => void>();
    const timer = machine.clock.after(60_000, work);
    machine.skip(HOUR_MS);
    vi.advanceTimersByTime(60_000);
    timer.cancel();
    machine.run(120_000);
    expect(work).not.toHaveBeenCalled();
  });

  it('of more than 2^31 ms does not fire at once', () => {
    const work = vi.fn<() => void>();
    machine.clock.after(2 ** 31 + 1000, work);
    machine.run(1000);
    expect(work).not.toHaveBeenCalled();
  });
});
