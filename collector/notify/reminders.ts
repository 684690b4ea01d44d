/**
 * Tells a receiver that forgets, at intervals, what it was told and is not resolved. The receiver's queue calls it between
 * two deliveries: a reminder on its way never overtakes the message that an incident is resolved.
 */
import type { Clock } from '../../common/clock.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Incident, Store } from '../store/store.ts';
import type { Reminder } from './notifier.ts';

/** So many incidents go in one message. */
const PORTION = 200;

export interface RemindersOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
}

export class Reminders {
  readonly #receiver: string;
  readonly #reminder: Reminder;
  readonly #options: RemindersOptions;
  #lastMs: number;

  constructor(receiver: string, reminder: Reminder, options: RemindersOptions) {
    this.#receiver = receiver;
    this.#reminder = reminder;
    this.#options = options;
    this.#lastMs = options.clock.monotonic();
  }

  /** Milliseconds until the next round; 0 or less when it is due. */
  dueInMs(): number {
    return this.#lastMs + this.#reminder.intervalMs - this.#options.clock.monotonic();
  }

  /** One round, in portions. A failed one is only counted: the next comes soon. Never rejects. */
  async remind(signal: AbortSignal): Promise<void> {
    const { store, guard, clock, metrics } = this.#options;
    this.#lastMs = clock.monotonic();
    let incidents: Incident[] = [];
    do {
      const after = incidents.at(-1)?.id;
      incidents = [];
      guard(() => {
        incidents = store.toldUnresolved(this.#receiver, { limit: PORTION, after });
      });
      if (incidents.length === 0) return;
      const { outcome } = await this.#reminder.send(incidents, signal);
      metrics.notificationReminders.inc({ receiver: this.#receiver, result: outcome });
      if (outcome !== 'delivered') return;
    } while (incidents.length === PORTION);
  }
}
