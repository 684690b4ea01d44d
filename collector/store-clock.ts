/**
 * Keeps the times in the store in step with the wall clock: when it is set while the collector runs, and when a collector
 * starts with a clock that is behind what an earlier run has noted, as on a machine that boots with a wrong one.
 */
import { ClockWatch } from '../common/clock-watch.ts';
import type { Clock, Timer } from '../common/clock.ts';
import type { Logger } from '../common/log.ts';
import type { CollectorMetrics } from './metrics.ts';
import type { StoreGuard } from './store/health.ts';
import type { Store } from './store/store.ts';

/** Where the store keeps what the wall clock showed last, at the start of the run, and at the end of the run before. */
const LAST_CURSOR = 'wall-clock';
const START_CURSOR = 'wall-clock-start';
const EARLIER_CURSOR = 'wall-clock-earlier';
const SAVE_INTERVAL_MS = 30_000;
/**
 * A clock that is set forward so soon after the start was wrong at the start, as on a machine without a battery: what earlier runs
 * have noted was not, and stays.
 */
const CORRECTION_MS = 600_000;

export interface StoreClockOptions {
  readonly clock: Clock;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
  /** Called after the times were moved. */
  readonly shifted: () => void;
  /** Called when the process goes on after it did not run: nobody was listened to meanwhile. */
  readonly resumed: () => void;
}

export class StoreClock {
  readonly #options: StoreClockOptions;
  readonly #watch: ClockWatch;
  /** What the wall clock showed when this run began, and when the run before ended; 0 where there was none. Moved with it. */
  #startMs = 0;
  #earlierMs = 0;
  /** When this run began, by the monotonic clock. */
  #startedMs = 0;
  /** What earlier times were moved back by at the start, as far as that was not undone. */
  #behindMs = 0;
  #timer: Timer | undefined;

  constructor(options: StoreClockOptions) {
    const { clock, logger, metrics, resumed } = options;
    this.#options = options;
    this.#watch = new ClockWatch({
      clock,
      logger,
      stepped: (byMs, beforeMs) => {
        if (!this.#shift(byMs, beforeMs)) return false;
        metrics.clockSteps.inc();
        return true;
      },
      paused: () => {
        metrics.pauses.inc();
        resumed();
      },
    });
  }

  /** To be called before anything that decides by times in the store. */
  start(): void {
    const { clock, store, logger } = this.#options;
    const read = (cursor: string): number => this.#guarded(() => store.cursor(cursor)) ?? 0;
    const lastMs = read(LAST_CURSOR);
    this.#startMs = read(START_CURSOR);
    this.#earlierMs = read(EARLIER_CURSOR);
    const nowMs = Math.floor(clock.now());
    const behindMs = Math.max(0, lastMs - nowMs);
    // How long the collector did not run is not known then; the clock stood still at best.
    if (behindMs > 0 && this.#shift(-behindMs, lastMs)) {
      logger.warn(
        { seconds: Math.round(behindMs / 1000) },
        'the wall clock is behind the time that the store has noted: its times were moved back',
      );
    }
    this.#behindMs = behindMs;
    this.#earlierMs = lastMs - behindMs;
    this.#startMs = nowMs;
    this.#startedMs = clock.monotonic();
    this.#save();
    this.#timer = clock.every(SAVE_INTERVAL_MS, () => this.#save());
    this.#watch.start();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#watch.stop();
    this.#save();
  }

  /** Takes a step that was not noticed yet into account; to be called before deciding by the wall clock. */
  readonly compare = (): void => this.#watch.compare();

  /** Timers that compare the clocks before they do their work. */
  get clock(): Clock {
    const { clock } = this.#options;
    const checked = (work: () => void) => () => {
      this.compare();
      work();
    };
    return {
      ...clock,
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      pausedMs: () => clock.pausedMs(),
      after: (delayMs, work) => clock.after(delayMs, checked(work)),
      every: (intervalMs, work) => clock.every(intervalMs, checked(work)),
    };
  }

  #shift(byMs: number, beforeMs: number): boolean {
    const { store, guard, shifted } = this.#options;
    const runStartMs = this.#startMs;
    const earlierByMs = this.#earlierByMs(byMs);
    const isShifted = guard(() =>
      store.transaction(() => store.shiftTimes({ byMs, beforeMs, runStartMs, earlierByMs })),
    );
    if (!isShifted) return false;
    this.#startMs += byMs;
    this.#earlierMs += earlierByMs;
    if (byMs > 0) this.#behindMs = Math.max(0, this.#behindMs - earlierByMs);
    this.#save();
    shifted();
    return true;
  }

  /** What times of earlier runs are moved by: back no further than to the start of this run, which came after them. */
  #earlierByMs(byMs: number): number {
    if (this.#earlierMs === 0) return byMs;
    if (byMs < 0) return Math.max(byMs, Math.min(0, this.#startMs + byMs - this.#earlierMs));
    const isCorrection = this.#options.clock.monotonic() - this.#startedMs < CORRECTION_MS;
    return isCorrection ? Math.min(byMs, this.#behindMs) : byMs;
  }

  #save(): void {
    const { store, guard, clock } = this.#options;
    guard(() => {
      store.transaction(() => {
        store.saveCursor(LAST_CURSOR, Math.floor(clock.now()));
        store.saveCursor(START_CURSOR, this.#startMs);
        store.saveCursor(EARLIER_CURSOR, this.#earlierMs);
      });
    });
  }

  #guarded<Result>(read: () => Result): Result | undefined {
    let result: Result | undefined;
    this.#options.guard(() => {
      result = read();
    });
    return result;
  }
}
