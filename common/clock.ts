/**
 * Time as a dependency: the services get the machine's clock, tests get one that they move by hand, and replay
 * takes the time from the packets.
 *
 * There are two clocks. The wall clock can be set at any time, forward or back: it is for showing, and for comparing
 * with times that others stamped. Whatever waits, expires or ages is measured with the monotonic clock.
 */
import { uptime } from 'node:os';

/** A timer that was set; `cancel` is safe to call at any time and more than once. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** The wall clock, in milliseconds since the Unix epoch. Never for a wait, an interval or an age in memory. */
  now(): number;
  /**
   * Milliseconds that never go back and are not affected by setting the wall clock. They begin with the wall clock's
   * time at the start of the process, so that both agree until one of them is disturbed. Time in which the process
   * did not run (it was stopped, or its machine was suspended) is left out, but for `LONGEST_GAP_MS`: nobody was late
   * meanwhile, for nobody was listened to.
   */
  monotonic(): number;
  /** How much time `monotonic` has left out since the start of the process, in ms; to some hundredths of a second. */
  pausedMs(): number;
  /** Calls `work` once after `delayMs` of monotonic time. A pending timer does not keep the process alive by itself. */
  after(delayMs: number, work: () => void): Timer;
  /** Calls `work` every `intervalMs` until cancelled; calls that were missed are not made up for. */
  every(intervalMs: number, work: () => void): Timer;
}

/** A longer time between two readings of the monotonic clock counts as this much: the process did not run. */
export const LONGEST_GAP_MS = 5000;
/** The clock is read at least this often while the process runs. */
const BEAT_MS = 1000;
/** A timer that fires with more than this left of its delay waits for the rest. */
const TIMER_SLACK_MS = 50;
/** The longest delay of a timer of Node: 2^31 - 1 ms, some 25 days. A longer one would fire at once. */
const LONGEST_TIMEOUT_MS = 2_147_483_647;

/** What a clock is made of: the readings of the machine. */
export interface TimeSource {
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: () => number;
  /** Milliseconds of a clock that is never set, which may go on while the process is stopped. */
  readonly elapsedMs: () => number;
  /** Milliseconds since the machine was started, those in which it was suspended included. */
  readonly sinceBootMs: () => number;
}

/** A clock of these readings, with the timers of Node. */
export function createClock({ wallMs, elapsedMs, sinceBootMs }: TimeSource): Clock {
  let readAtMs: number | undefined;
  let monotonicMs = 0;
  /** The time since the boot minus the monotonic time, at the first reading. */
  let bootAheadMs = 0;

  function monotonic(): number {
    const elapsed = elapsedMs();
    if (readAtMs === undefined) {
      monotonicMs = wallMs();
      bootAheadMs = sinceBootMs() - monotonicMs;
      // Only while somebody reads the clock now and then can a gap be told from a quiet time.
      setInterval(monotonic, BEAT_MS).unref();
    } else monotonicMs += Math.min(Math.max(elapsed - readAtMs, 0), LONGEST_GAP_MS);
    readAtMs = elapsed;
    return monotonicMs;
  }

  return {
    now: wallMs,
    monotonic,
    pausedMs() {
      const runningMs = monotonic();
      return Math.max(0, sinceBootMs() - bootAheadMs - runningMs);
    },
    after(delayMs, work) {
      const dueMs = monotonic() + delayMs;
      let handle = start(delayMs);
      function start(waitMs: number): NodeJS.Timeout {
        return setTimeout(fire, Math.min(waitMs, LONGEST_TIMEOUT_MS)).unref();
      }
      function fire(): void {
        const restMs = dueMs - monotonic();
        if (restMs > TIMER_SLACK_MS) handle = start(restMs);
        else work();
      }
      return { cancel: () => clearTimeout(handle) };
    },
    every(intervalMs, work) {
      const handle = setInterval(work, Math.min(intervalMs, LONGEST_TIMEOUT_MS));
      handle.unref();
      return { cancel: () => clearInterval(handle) };
    },
  };
}

/** The machine's clock. */
export const systemClock: Clock = createClock({
  wallMs: () => Date.now(),
  elapsedMs: () => performance.now(),
  sinceBootMs: () => uptime() * 1000,
});
