/** The machine's clock with shortened timers, for tests that wait for real sockets but not for real seconds. */
import { systemClock, type Clock } from '../../common/clock.ts';

/** @param factor how many of the code's milliseconds pass in one real millisecond */
export function createHastenedClock(factor: number): Clock {
  return {
    ...systemClock,
    after: (delayMs, work) => systemClock.after(delayMs / factor, work),
    every: (intervalMs, work) => systemClock.every(intervalMs / factor, work),
  };
}
