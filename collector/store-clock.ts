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

/** Where the store keeps what the wall clock showed last. */
const CURSOR = 'wall-clock';
const SAVE_INTERVAL_MS = 30_000;

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
    const savedMs = this.#guarded(() => store.cursor(CURSOR)) ?? 0;
    const behindMs = savedMs - Math.floor(clock.now());
    // How long the collector did not run is not known then; the clock stood still at best.
    if (behindMs > 0 && this.#shift(-behindMs, savedMs)) {
      logger.warn(
        { seconds: Math.round(behindMs / 1000) },
        'the wall clock is behind the time that the store has noted: its times were moved back',
      );
    }
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
    const isShifted = guard(() => store.transaction(() => store.shiftTimes(byMs, beforeMs)));
    if (isShifted) {
      this.#save();
      shifted();
    }
    return isShifted;
  }

  #save(): void {
    const { store, guard, clock } = this.#options;
    guard(() => store.saveCursor(CURSOR, Math.floor(clock.now())));
  }

  #guarded<Result>(read: () => Result): Result | undefined {
    let result: Result | undefined;
    this.#options.guard(() => {
      result = read();
    });
    return result;
  }
}
