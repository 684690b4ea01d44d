/**
 * Whether the store takes what it is given. A full disk is said once, shows in the metrics and in `/api/health` while it
 * lasts, and is over by itself: until then a small write is tried every now and then.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { PlasmawatchError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { isStoreError } from '../../common/sqlite.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { Store } from './store.ts';

/** Does work on the store; false when the store failed. Other errors are thrown on. */
export type StoreGuard = (work: () => void) => boolean;

/** How often a store that failed is tried. */
export const TRY_INTERVAL_MS = 2000;

export interface StoreHealthOptions {
  readonly store: Pick<Store, 'tryWrite'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
}

export class StoreHealth {
  readonly #options: StoreHealthOptions;
  #failure: PlasmawatchError | undefined;
  #timer: Timer | undefined;

  constructor(options: StoreHealthOptions) {
    this.#options = options;
  }

  /** Why the store refuses; undefined while it works. */
  get failure(): PlasmawatchError | undefined {
    return this.#failure;
  }

  /** For work that nobody waits for who could be told that it failed. Counts a failure. */
  readonly guard: StoreGuard = (work) => {
    try {
      work();
      return true;
    } catch (error) {
      if (!isStoreError(error)) throw error;
      this.#note(error);
      return false;
    }
  };

  stop(): void {
    this.#timer?.cancel();
  }

  #note(failure: PlasmawatchError): void {
    const { clock, logger, metrics } = this.#options;
    metrics.storeFailures.inc();
    if (this.#failure === undefined) {
      const consequence = 'agents keep their reports until it works';
      logger.error({ code: failure.code }, `${failure.message}: ${consequence}`);
      metrics.storeRefusing.set(1);
      this.#timer = clock.every(TRY_INTERVAL_MS, () => this.#try());
    }
    this.#failure = failure;
  }

  /** What only reads works on a full disk, too; so nothing but a write shows that it is over. */
  #try(): void {
    const { store, clock, logger, metrics } = this.#options;
    if (!this.guard(() => store.tryWrite(clock.now()))) return;
    this.#timer?.cancel();
    this.#failure = undefined;
    metrics.storeRefusing.set(0);
    logger.info('the store works again');
  }
}
