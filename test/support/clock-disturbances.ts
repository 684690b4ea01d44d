/** What may happen to a clock: somebody sets it, by an hour up to ten years, or the process does not run for an hour. */
import type { FakeClock } from './fake-clock.ts';

const HOUR_MS = 3_600_000;

export interface Disturbance {
  /** For the title of a test. */
  readonly name: string;
  readonly isPause: boolean;
  /** What the wall clock is ahead by afterwards. */
  readonly byMs: number;
  readonly apply: (clock: FakeClock) => void;
}

const STEPS: readonly (readonly [name: string, byMs: number])[] = [
  ['put back by a day', -24 * HOUR_MS],
  ['put back by 6 h', -6 * HOUR_MS],
  ['put back by 1 h', -HOUR_MS],
  ['put forward by 1 h', HOUR_MS],
  ['put forward by 6 h', 6 * HOUR_MS],
  ['put forward by a day', 24 * HOUR_MS],
  ['put forward by ten years', 87_600 * HOUR_MS],
  // All tests begin at the time of a FakeClock.
  ['put back to 1970', HOUR_MS - Date.UTC(2026, 10, 23, 9)],
];

export const CLOCK_STEPS: readonly Disturbance[] = STEPS.map(([name, byMs]) => ({
  name,
  byMs,
  isPause: false,
  apply: (clock) => clock.step(byMs),
}));

/** The steps, and a pause of the process. */
export const DISTURBANCES: readonly Disturbance[] = [
  ...CLOCK_STEPS,
  {
    name: 'right, and the process paused for 1 h',
    byMs: HOUR_MS,
    isPause: true,
    apply: (clock) => clock.pause(HOUR_MS),
  },
];
