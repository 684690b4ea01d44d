/**
 * Keeps the store within its limits, a portion at a time, and counts what went: by age once a minute, and by number and size
 * as soon as there is too much. Nobody waits for it: a full store takes new reports all the same, and others go.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { LimitWatch } from '../fleet/limit-watch.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from './health.ts';
import { RowAge } from './row-age.ts';
import type { RemovedExcess, Store } from './store.ts';

const FIRST_CHECK_MS = 1000;
/**
 * Nothing is removed for its age before: a machine may boot with a clock that is years ahead, and what is removed by it does
 * not come back when the clock is set.
 */
const FIRST_AGE_CHECK_MS = 600_000;
/** How often it is looked whether the store is full: what agents may send meanwhile is more than the limits allow. */
const CHECK_INTERVAL_MS = 2000;
/** While it is full, so that reports are removed faster than agents can send them. */
const FULL_INTERVAL_MS = 50;
const EXCESS_PORTION_ROWS = 2000;
const AGE_INTERVAL_MS = 60_000;
/** While there is more that is too old. */
const BUSY_AGE_INTERVAL_MS = 1000;
const AGE_PORTION_ROWS = 5000;
/** People do not do more in a year. */
const MAX_AUDIT_ENTRIES = 100_000;

export interface RetentionOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  /** Told when what is unresolved loses evidence. */
  readonly ownLimits: Pick<LimitWatch, 'note'>;
  readonly keepMs: number;
  readonly maxReports: number;
  /** Of the database; no limit when not given. */
  readonly maxBytes?: number | undefined;
  readonly keepAuditMs: number;
  /** Name of the cursor whose losses are counted. */
  readonly exporter?: string | undefined;
}

export class Retention {
  readonly #options: RetentionOptions;
  readonly #age: RowAge;
  #timer: Timer | undefined;
  #nextByAgeMs = 0;

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.#age = new RowAge(options.clock, Math.max(options.keepMs, options.keepAuditMs));
  }

  start(): void {
    this.#age.note();
    this.#nextByAgeMs = this.#options.clock.monotonic() + FIRST_AGE_CHECK_MS;
    this.#schedule(FIRST_CHECK_MS);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    const { clock, guard } = this.#options;
    this.#timer = clock.after(delayMs, () => {
      let hasMore = false;
      this.#age.note();
      guard(() => {
        if (clock.monotonic() >= this.#nextByAgeMs) this.#removeOld();
        hasMore = this.#removeExcess();
      });
      this.#schedule(hasMore ? FULL_INTERVAL_MS : CHECK_INTERVAL_MS);
    });
  }

  #removeOld(): void {
    const { store, clock, metrics, keepMs, maxReports, maxBytes, keepAuditMs, exporter } = this.#options;
    const { agents, silences, ...rest } = store.remove({
      beforeMs: this.#age.stampBefore(keepMs),
      maxReports,
      maxBytes,
      exporter,
      maxRows: AGE_PORTION_ROWS,
    });
    const audit = store.audit.remove({
      beforeMs: this.#age.stampBefore(keepAuditMs),
      maxEntries: MAX_AUDIT_ENTRIES,
      maxRows: AGE_PORTION_ROWS,
    });
    this.#count(rest);
    const others = { agents, silences, audit };
    for (const [what, count] of Object.entries(others)) metrics.removed.inc({ what }, count);
    const hasMore = [...Object.values(rest), ...Object.values(others)].some(
      (count) => count >= AGE_PORTION_ROWS,
    );
    this.#nextByAgeMs = clock.monotonic() + (hasMore ? BUSY_AGE_INTERVAL_MS : AGE_INTERVAL_MS);
  }

  /** Whether there still is too much, and more of it can be removed. */
  #removeExcess(): boolean {
    const { store, metrics, maxReports, maxBytes, exporter } = this.#options;
    const limits = { maxReports, maxBytes };
    let hasMore = false;
    if (store.isFull(limits)) {
      const removed = store.removeExcess({ ...limits, exporter, maxRows: EXCESS_PORTION_ROWS });
      this.#count(removed);
      hasMore = Object.values(removed).some((count) => count > 0) && store.isFull(limits);
    }
    metrics.storeBytes.set(store.usedBytes());
    return hasMore;
  }

  #count({ unexported, unresolved, ...rows }: RemovedExcess): void {
    const { metrics } = this.#options;
    for (const [what, count] of Object.entries(rows)) metrics.removed.inc({ what }, count);
    metrics.removedUnresolved.inc(unresolved);
    if (unresolved > 0) this.#options.ownLimits.note('store');
    metrics.exportLost.inc(unexported);
  }
}
