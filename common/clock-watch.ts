/**
 * Notices when the wall clock was set, and when the process did not run for a while; says so once, with the size, and lets
 * the owner move what it has noted by the wall clock.
 */
import type { Clock, Timer } from './clock.ts';
import type { Logger } from './log.ts';

/** How often the clocks are compared; callers that decide something by noted times may compare them before. */
const COMPARE_INTERVAL_MS = 1000;
/** What the clocks may come apart by without being disturbed: readings are not of the same moment, and NTP slews. */
const TOLERANCE_MS = 2000;
/** Steps are logged this often at most: two time services that fight over a clock set it every second. */
const LOG_INTERVAL_MS = 60_000;

export interface ClockWatchOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /**
   * The wall clock was set.
   * @param byMs whole milliseconds; below 0 it was set back
   * @param beforeMs what it showed just before
   * @returns false where that could not be taken into account now: it is told again
   */
  readonly stepped: (byMs: number, beforeMs: number) => boolean;
  /** The process did not run for so many milliseconds. */
  readonly paused: (forMs: number) => void;
}

export class ClockWatch {
  readonly #options: ClockWatchOptions;
  /** The wall clock minus the monotonic one, as far as it has been told. */
  #aheadMs: number;
  #pausedMs: number;
  #loggedMs = -Infinity;
  /** Steps that were not logged since. */
  #unloggedSteps = 0;
  #timer: Timer | undefined;

  constructor(options: ClockWatchOptions) {
    const { clock } = options;
    this.#options = options;
    this.#aheadMs = clock.now() - clock.monotonic();
    this.#pausedMs = clock.pausedMs();
  }

  start(): void {
    this.#timer = this.#options.clock.every(COMPARE_INTERVAL_MS, () => this.compare());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Compares the clocks. Cheap; not to be called within a transaction of the owner's store. */
  compare(): void {
    const { clock, logger, paused, stepped } = this.#options;
    const nowMs = clock.now();
    const apartMs = nowMs - clock.monotonic() - this.#aheadMs;
    if (Math.abs(apartMs) < TOLERANCE_MS) return;
    const pausedMs = clock.pausedMs();
    const pauseMs = pausedMs - this.#pausedMs;
    if (pauseMs >= TOLERANCE_MS) {
      this.#pausedMs = pausedMs;
      this.#aheadMs += pauseMs;
      logger.warn(
        { seconds: inSeconds(pauseMs) },
        'the process did not run for a while: waits go on from here',
      );
      paused(pauseMs);
    }
    const stepMs = Math.round(apartMs - Math.max(pauseMs, 0));
    if (Math.abs(stepMs) < TOLERANCE_MS) return;
    // Before the owner is called, which may compare the clocks again.
    this.#aheadMs += stepMs;
    if (!stepped(stepMs, nowMs - stepMs)) {
      this.#aheadMs -= stepMs;
      return;
    }
    this.#logStep(stepMs);
  }

  #logStep(stepMs: number): void {
    const { clock, logger } = this.#options;
    if (clock.monotonic() - this.#loggedMs < LOG_INTERVAL_MS) {
      this.#unloggedSteps++;
      return;
    }
    const earlier = this.#unloggedSteps === 0 ? {} : { earlierSteps: this.#unloggedSteps };
    this.#loggedMs = clock.monotonic();
    this.#unloggedSteps = 0;
    logger.warn(
      { seconds: inSeconds(stepMs), ...earlier },
      'the wall clock was set: waits and ages are not affected',
    );
  }
}

function inSeconds(milliseconds: number): number {
  return Math.round(milliseconds / 100) / 10;
}
