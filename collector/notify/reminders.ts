/** Tells a receiver that forgets, at intervals, what it was told and is not resolved. */
import type { Clock, Timer } from '../../common/clock.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/guard.ts';
import type { Incident, Store } from '../store/store.ts';
import { SEND_TIMEOUT_MS, type Reminder } from './notifier.ts';

/** More unresolved incidents than a collector has by its settings, usually. */
const MAX_INCIDENTS = 1000;

export interface RemindersOptions {
  readonly name: string;
  readonly reminder: Reminder;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
}

export class Reminders {
  readonly #options: RemindersOptions;
  #timer: Timer | undefined;
  #sending: AbortController | undefined;
  #run: Promise<void> = Promise.resolve();

  constructor(options: RemindersOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, reminder } = this.#options;
    this.#timer = clock.every(reminder.intervalMs, () => {
      if (this.#sending === undefined) this.#run = this.#remind();
    });
  }

  /** Resolves when no round is under way any more. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#sending?.abort();
    await this.#run;
  }

  async #remind(): Promise<void> {
    const { name, reminder, store, guard, clock, metrics } = this.#options;
    let incidents: Incident[] = [];
    guard(() => {
      incidents = store.toldUnresolved(name, MAX_INCIDENTS);
    });
    if (incidents.length === 0) return;
    const controller = new AbortController();
    this.#sending = controller;
    const timeout = clock.after(SEND_TIMEOUT_MS, () => controller.abort());
    const { outcome } = await reminder.send(incidents, controller.signal);
    timeout.cancel();
    this.#sending = undefined;
    metrics.notificationReminders.inc({ receiver: name, result: outcome });
  }
}
