/**
 * Delivers what waits in the outbox: for each receiver one message at a time, in order, at the receiver's pace.
 * Receivers do not wait for each other. How far each message is stands in the store, so a restart goes on where the
 * last run ended; a message that was under way may then arrive twice, with the same id.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { TokenBucket } from '../edge/token-bucket.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { OutboxEntry, Store } from '../store/store.ts';
import { SEND_TIMEOUT_MS, type Delivery, type Notifier } from './notifier.ts';
import { Reminders } from './reminders.ts';
import { patienceMs, retryDelayMs } from './retry.ts';

/** A clock that was set back must not silence a receiver: the queue is looked at this often at least. */
const LONGEST_SLEEP_MS = 3_600_000;
/** A new message tries a receiver that failed at once instead of after hours; but this often at most. */
const PROBE_INTERVAL_MS = 60_000;
/** A reminder and a message that nobody answers take this long, and some. */
const LONGEST_STEP_MS = 4 * SEND_TIMEOUT_MS;
/** More than so many full messages wait: no flood does that, but a receiver that was away for hours. */
const FAR_BEHIND_BATCHES = 10;
/** After the store failed. */
const STORE_RETRY_MS = 10_000;

export interface DispatcherOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
  /** By name of the receiver. */
  readonly notifiers: ReadonlyMap<string, Notifier>;
  /** From 0 to 1, 1 excluded; for jitter. */
  readonly random: () => number;
  /** A message older than this is marked failed. */
  readonly giveUpMs: number;
  /** Called before times in the store are compared with the wall clock: it may have been set just now. */
  readonly compareClocks?: () => void;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  #queues: readonly ReceiverQueue[];

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#queues = [...options.notifiers].map(
      ([name, notifier]) => new ReceiverQueue(name, notifier, options),
    );
  }

  /** Begins with what an earlier run left. What waits for a receiver that is configured no more is marked failed. */
  start(): void {
    this.#dropOrphans(this.#options.notifiers);
    for (const queue of this.#queues) queue.start();
  }

  /**
   * Delivers to these receivers from now on. The queue of one whose notifier is the same object goes on undisturbed; all others
   * begin as after a restart. Resolves when nothing is under way any more to those that are gone.
   */
  async replaceNotifiers(notifiers: ReadonlyMap<string, Notifier>): Promise<void> {
    const before = this.#queues;
    const kept = before.filter((queue) => notifiers.get(queue.name) === queue.notifier);
    const added = [...notifiers].filter(([name]) => !kept.some((queue) => queue.name === name));
    const ended = before.filter((queue) => !kept.includes(queue));
    await Promise.all(ended.map((queue) => queue.stop()));
    for (const { name } of ended) this.#options.metrics.notificationsWaiting.remove({ receiver: name });
    this.#dropOrphans(notifiers);
    const fresh = added.map(([name, notifier]) => new ReceiverQueue(name, notifier, this.#options));
    this.#queues = [...kept, ...fresh];
    for (const queue of fresh) queue.start();
  }

  #dropOrphans(notifiers: ReadonlyMap<string, Notifier>): void {
    const { store, guard, logger } = this.#options;
    guard(() => {
      const orphans = store.failPending(
        { allBut: [...notifiers.keys()] },
        'the receiver is not configured any more',
      );
      if (orphans > 0) logger.warn({ orphans }, 'notifications of receivers that are gone were dropped');
    });
  }

  /** Says that the outbox may have something new. */
  wake(): void {
    for (const queue of this.#queues) queue.wake();
  }

  /** Whether every receiver's queue gets on, deliveries that fail included. */
  isTurning(): boolean {
    return this.#queues.every((queue) => queue.isTurning());
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.stop()));
  }
}

class ReceiverQueue {
  readonly name: string;
  readonly notifier: Notifier;
  readonly #options: DispatcherOptions;
  readonly #reminders: Reminders | undefined;
  /** Messages that people may be sent now; undefined where programs read them. */
  readonly #budget: TokenBucket | undefined;
  #state: 'idle' | 'running' | 'stopped' = 'stopped';
  /** Whether something was added since the queue was last looked at. */
  #isWoken = false;
  #isGone = false;
  #isFailing = false;
  /** When the step that is under way began. */
  #stepSinceMs: number | undefined;
  /** What the last delivery had to say. */
  #remark: string | undefined;
  /** By the monotonic clock, as all times that are not in the store. */
  #notBeforeMs = 0;
  /** No sooner by the receiver's own word (Retry-After). */
  #askedNotBeforeMs = 0;
  #startedMs = 0;
  #lastAttemptMs: number | undefined;
  /** What became of the last messages, while the store refuses to note it: they must not be sent again for that. */
  #unsettled: { readonly entries: readonly OutboxEntry[]; readonly delivery: Delivery } | undefined;
  /** So many of the next are sent one by one, because the receiver refused them together. */
  #singles = 0;
  #timer: Timer | undefined;
  #sending: AbortController | undefined;
  #run: Promise<void> = Promise.resolve();

  constructor(name: string, notifier: Notifier, options: DispatcherOptions) {
    this.name = name;
    this.notifier = notifier;
    this.#options = options;
    const { reminder, batch } = notifier;
    const { budget } = batch ?? {};
    if (budget !== undefined) {
      const allowance = { perSecond: 1000 / budget.everyMs, burst: budget.burst };
      this.#budget = new TokenBucket(allowance, options.clock.monotonic());
    }
    this.#reminders = reminder === undefined ? undefined : new Reminders(name, reminder, options);
  }

  start(): void {
    this.#state = 'idle';
    this.#startedMs = this.#options.clock.monotonic();
    this.wake();
  }

  wake(): void {
    this.#isWoken = true;
    if (this.#state !== 'idle') return;
    this.#timer?.cancel();
    this.#state = 'running';
    this.#run = this.#deliverAll();
  }

  /** Whether no step has been under way for longer than any should. */
  isTurning(): boolean {
    const sinceMs = this.#stepSinceMs;
    return sinceMs === undefined || this.#options.clock.monotonic() - sinceMs < LONGEST_STEP_MS;
  }

  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#timer?.cancel();
    this.#sending?.abort();
    await this.#run;
  }

  async #deliverAll(): Promise<void> {
    while (this.#state === 'running') {
      this.#isWoken = false;
      this.#stepSinceMs = this.#options.clock.monotonic();
      const waitMs = await this.#step();
      this.#stepSinceMs = undefined;
      if (waitMs === 0 || this.#isWoken || this.#isStopped()) continue;
      this.#state = 'idle';
      if (waitMs !== undefined) this.#timer = this.#options.clock.after(waitMs, () => this.wake());
    }
  }

  /** The compiler takes the state for unchanged across an `await`; it may not be. */
  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  /** Reminds or delivers. Returns how long to wait before the next step, or undefined when there is none. */
  async #step(): Promise<number | undefined> {
    const reminders = this.#reminders;
    if (reminders === undefined) return await this.#deliverNext();
    if (reminders.dueInMs() <= 0) await this.#withTimeout((signal) => reminders.remind(signal));
    const waitMs = await this.#deliverNext();
    return Math.max(0, Math.min(waitMs ?? LONGEST_SLEEP_MS, reminders.dueInMs()));
  }

  /**
   * Tries the oldest message, or the oldest together. Returns how long to wait before the next step, or undefined when
   * nothing waits.
   */
  async #deliverNext(): Promise<number | undefined> {
    const { store, guard, metrics, compareClocks } = this.#options;
    compareClocks?.();
    if (!this.#settleLast()) return STORE_RETRY_MS;
    let entries: OutboxEntry[] = [];
    let newestMs: number | undefined;
    let waiting = 0;
    const isRead = guard(() => {
      if (this.#isGone) this.#dropAll();
      entries = store.pending(this.name, this.notifier.batch?.maxCount ?? 1);
      newestMs = store.newestPendingMs(this.name);
      waiting = store.pendingCount(this.name);
      metrics.notificationsWaiting.set({ receiver: this.name }, waiting);
    });
    if (!isRead) return STORE_RETRY_MS;
    const [oldest] = entries;
    if (oldest === undefined) return undefined;
    const waitMs = Math.max(this.#dueInMs(oldest, newestMs ?? 0), this.#budgetWaitMs(entries, waiting));
    if (waitMs > 0) return Math.min(waitMs, LONGEST_SLEEP_MS);
    const together = this.#isBatch(entries) ? entries : [oldest];
    const delivery = await this.#send(together);
    compareClocks?.();
    if (this.#isStopped() && delivery.outcome !== 'delivered') return undefined;
    this.#pace(delivery);
    this.#unsettled = { entries: together, delivery };
    return this.#settleLast() ? 0 : STORE_RETRY_MS;
  }

  /** Whether the store knows what became of the last messages. */
  #settleLast(): boolean {
    const last = this.#unsettled;
    if (last === undefined) return true;
    if (!this.#options.guard(() => this.#settle(last.entries, last.delivery))) return false;
    this.#unsettled = undefined;
    return true;
  }

  /**
   * How long until the next attempt, in ms; 0 or less: now. Order is kept, so everything waits for the oldest; after a long outage its next attempt may be hours
   * away. A message that is newer than the last attempt is reason to look whether the receiver is back, and so is a
   * restart; but what the receiver asked an earlier run is not known, only that it was heard for so long at most.
   */
  #dueInMs({ nextAttemptMs }: OutboxEntry, newestMs: number): number {
    const { clock } = this.#options;
    const runningMs = clock.monotonic();
    // What the store has noted is by the wall clock, and what this run has seen by the monotonic one.
    const nextInMs = nextAttemptMs - clock.now();
    const newestForMs = clock.now() - newestMs;
    const lastMs = this.#lastAttemptMs;
    const probeMs =
      lastMs === undefined
        ? this.#startedMs + patienceMs(Infinity)
        : Math.max(lastMs + PROBE_INTERVAL_MS, this.#askedNotBeforeMs);
    const hasReason = lastMs === undefined || newestForMs < runningMs - lastMs;
    return Math.max(
      hasReason ? Math.min(nextInMs, probeMs - runningMs) : nextInMs,
      this.#notBeforeMs - runningMs,
    );
  }

  /**
   * How long until people may be sent another message. The last one at hand is for what is critical. After an outage, when
   * the queue is far behind, they are to know soon what happened meanwhile.
   */
  #budgetWaitMs(entries: readonly OutboxEntry[], waiting: number): number {
    const isFarBehind = waiting > FAR_BEHIND_BATCHES * (this.notifier.batch?.maxCount ?? 1);
    if (this.#budget === undefined || this.#singles > 0 || isFarBehind) return 0;
    const isCritical = entries.some(({ incident }) => incident.severity === 'critical');
    return this.#budget.waitMs(isCritical ? 1 : 2, this.#options.clock.monotonic());
  }

  #isBatch(entries: readonly OutboxEntry[]): boolean {
    const { batch } = this.notifier;
    if (this.#singles > 0 || batch === undefined) return false;
    // Once messages had to wait, what has come meanwhile goes together.
    const hasWaited =
      this.#budget !== undefined && this.#budget.waitMs(2, this.#options.clock.monotonic()) > 0;
    return entries.length >= (hasWaited ? 2 : batch.minCount);
  }

  async #send(entries: readonly OutboxEntry[]): Promise<Delivery> {
    const [only] = entries;
    const { batch } = this.notifier;
    return await this.#withTimeout((signal) =>
      entries.length === 1 && only !== undefined
        ? this.notifier.send(only, signal)
        : (batch ?? noBatch()).send(entries, signal),
    );
  }

  /** Does work that ends soon after the time for it is over, or after `stop`. */
  async #withTimeout<Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const controller = new AbortController();
    this.#sending = controller;
    const timeout = this.#options.clock.after(SEND_TIMEOUT_MS, () => controller.abort());
    try {
      return await work(controller.signal);
    } finally {
      timeout.cancel();
      this.#sending = undefined;
    }
  }

  #pace(delivery: Delivery): void {
    const nowMs = this.#options.clock.monotonic();
    this.#lastAttemptMs = nowMs;
    this.#notBeforeMs = nowMs + this.notifier.minIntervalMs;
    // What an outage brought is no debt.
    const isWithinBudget = this.#budget?.waitMs(1, nowMs) === 0;
    if (delivery.outcome === 'delivered' && isWithinBudget) this.#budget?.take(1, nowMs);
    if (delivery.outcome === 'retry') this.#askedNotBeforeMs = nowMs + patienceMs(delivery.afterMs ?? 0);
  }

  #settle(entries: readonly OutboxEntry[], delivery: Delivery): void {
    const { store, metrics } = this.#options;
    const receiver = this.name;
    if (delivery.outcome === 'rejected' && delivery.isGone !== true && entries.length > 1) {
      // It may be for one of them, or for how they are put together.
      this.#singles = entries.length;
      metrics.notificationAttempts.inc({ receiver, result: delivery.outcome });
      return;
    }
    const states = store.transaction(() => entries.map((entry) => this.#settleOne(entry, delivery)));
    // Counted once it is on the disk, for what is not is settled again.
    metrics.notificationAttempts.inc({ receiver, result: delivery.outcome });
    for (const outcome of states) if (outcome !== 'pending') metrics.notifications.inc({ receiver, outcome });
    this.#singles = Math.max(0, this.#singles - 1);
    if (delivery.outcome === 'rejected' && delivery.isGone === true) this.#isGone = true;
    if (delivery.outcome === 'delivered' && entries.length > 1) {
      metrics.notificationsMerged.inc({ receiver }, entries.length);
    }
    this.#log(delivery);
  }

  /** Within a transaction; the state that the message is in now. */
  #settleOne(entry: OutboxEntry, delivery: Delivery): OutboxEntry['state'] {
    const { store, clock, random, giveUpMs } = this.#options;
    const nowMs = clock.now();
    const attempts = entry.attempts + 1;
    const done = { id: entry.id, attempts, nextAttemptMs: nowMs };
    if (delivery.outcome === 'delivered') {
      store.updateDelivery({ ...done, state: 'delivered', reason: delivery.remark ?? null });
      return 'delivered';
    }
    if (delivery.outcome === 'rejected' || nowMs - entry.createdMs >= giveUpMs) {
      store.updateDelivery({ ...done, state: 'failed', reason: delivery.reason });
      return 'failed';
    }
    const { retryDelaysMs } = this.notifier;
    const nextAttemptMs = nowMs + retryDelayMs(attempts, random, delivery.afterMs, retryDelaysMs);
    store.updateDelivery({ ...done, state: 'pending', nextAttemptMs, reason: delivery.reason });
    return 'pending';
  }

  #dropAll(): void {
    const { store, metrics } = this.#options;
    const dropped = store.failPending(
      { receiver: this.name },
      'the receiver wants no more notifications (410)',
    );
    if (dropped > 0) metrics.notifications.inc({ receiver: this.name, outcome: 'failed' }, dropped);
  }

  /** The first failure and the recovery; what is between is counted. */
  #log(delivery: Delivery): void {
    const { logger } = this.#options;
    if (delivery.outcome === 'delivered') {
      if (this.#isFailing) logger.info({ receiver: this.name }, 'the receiver takes notifications again');
      this.#isFailing = false;
      const { remark: reason } = delivery;
      if (reason !== undefined && reason !== this.#remark) {
        logger.warn({ receiver: this.name, reason }, 'a notification was delivered in part');
      }
      this.#remark = reason;
      return;
    }
    if (this.#isFailing && !this.#isGone) return;
    this.#isFailing = true;
    const consequence = delivery.outcome === 'retry' ? 'will be tried again' : 'is given up';
    logger.warn(
      { receiver: this.name, reason: delivery.reason },
      `a notification was not delivered and ${consequence}`,
    );
  }
}

function noBatch(): never {
  throw new Error('several messages for a receiver that takes one at a time');
}
