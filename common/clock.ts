/**
 * Time as a dependency: the services get the machine's clock, tests get one that they move by hand, and replay
 * takes the time from the packets.
 */

/** A timer that was set; `cancel` is safe to call at any time and more than once. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number;
  /** Calls `work` once after `delayMs`. A pending timer does not keep the process alive by itself. */
  after(delayMs: number, work: () => void): Timer;
  /** Calls `work` every `intervalMs` until cancelled. */
  every(intervalMs: number, work: () => void): Timer;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, work) {
    const handle = setTimeout(work, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  every(intervalMs, work) {
    const handle = setInterval(work, intervalMs);
    handle.unref();
    return { cancel: () => clearInterval(handle) };
  },
};
