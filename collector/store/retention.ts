/** Keeps the store within its limits: removes by age and by number, a portion at a time, and counts what went. */
import type { Clock, Timer } from '../../common/clock.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from './health.ts';
import type { Store } from './store.ts';

const INTERVAL_MS = 60_000;
/** While there is more to remove, so that reports are removed faster than agents can send them. */
const BUSY_INTERVAL_MS = 1000;
const PORTION_ROWS = 5000;
/** People do not do more in a year. */
const MAX_AUDIT_ENTRIES = 100_000;

export interface RetentionOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  readonly keepMs: number;
  readonly maxReports: number;
  readonly keepAuditMs: number;
  /** Name of the cursor whose losses are counted. */
  readonly exporter?: string | undefined;
}

export class Retention {
  readonly #options: RetentionOptions;
  #timer: Timer | undefined;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(BUSY_INTERVAL_MS);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => {
      let hasMore = false;
      this.#options.guard(() => {
        hasMore = this.#remove();
      });
      this.#schedule(hasMore ? BUSY_INTERVAL_MS : INTERVAL_MS);
    });
  }

  /** Whether there may be more to remove. */
  #remove(): boolean {
    const { store, clock, metrics, keepMs, maxReports, keepAuditMs, exporter } = this.#options;
    const nowMs = clock.now();
    const { unexported, ...rows } = store.remove({
      beforeMs: nowMs - keepMs,
      maxReports,
      exporter,
      maxRows: PORTION_ROWS,
    });
    const audit = store.audit.remove({
      beforeMs: nowMs - keepAuditMs,
      maxEntries: MAX_AUDIT_ENTRIES,
      maxRows: PORTION_ROWS,
    });
    const removed = { ...rows, audit };
    for (const [what, count] of Object.entries(removed)) metrics.removed.inc({ what }, count);
    metrics.exportLost.inc(unexported);
    return Object.values(removed).some((count) => count >= PORTION_ROWS);
  }
}
