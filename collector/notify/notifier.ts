/**
 * How a notification reaches a receiver. A notifier renders and sends, once, and says whether another attempt makes
 * sense; order, pace, back-off and giving up are the dispatcher's.
 *
 * A reason is shown in logs, in the API and in the database: it never holds a URL, a token or what the other side
 * answered.
 */
import type { Incident, Notification } from '../store/store.ts';

/** A receiver that has not answered by then is tried again later. */
export const SEND_TIMEOUT_MS = 15_000;

export type Delivery =
  | {
      readonly outcome: 'delivered';
      /** What a person should mend, though the message arrived: one of several addressees was refused. */
      readonly remark?: string | undefined;
    }
  | {
      readonly outcome: 'retry';
      readonly reason: string;
      /** What the receiver asked for (Retry-After). */
      readonly afterMs?: number | undefined;
    }
  | {
      readonly outcome: 'rejected';
      readonly reason: string;
      /** The receiver wants nothing more, ever (410): the dispatcher stops sending to it. */
      readonly isGone?: boolean | undefined;
    };

export interface Notifier {
  /** Time from one message to the next, at least. */
  readonly minIntervalMs: number;
  /** Waits before the second, third, … attempt, without jitter; the last one stays. Doubling from 5 s when not given. */
  readonly retryDelaysMs?: readonly number[];
  /** Sends one notification. Never rejects; when `signal` aborts, it ends soon. */
  send(notification: Notification, signal: AbortSignal): Promise<Delivery>;
  /** For a receiver that takes several at once. */
  readonly batch?: Batch;
  /** For a receiver that forgets what it is not reminded of. */
  readonly reminder?: Reminder;
}

/** Waiting notifications that go together: all of them arrive, or none. */
export interface Batch {
  /** From so many waiting ones on, and so many at most. */
  readonly minCount: number;
  readonly maxCount: number;
  /** For a receiver that people read: what is beyond it waits, and goes together. */
  readonly budget?: MessageBudget;
  /** As `send`; in the order in which they were written. */
  send(notifications: readonly Notification[], signal: AbortSignal): Promise<Delivery>;
}

/** How many messages people are sent; never lost, only put together. */
export interface MessageBudget {
  /** So many at once, the last of them only for what is critical. */
  readonly burst: number;
  /** One more after so long. */
  readonly everyMs: number;
}

export interface Reminder {
  readonly intervalMs: number;
  /** Says again that these incidents, told before, are not resolved. As `send`. */
  send(incidents: readonly Incident[], signal: AbortSignal): Promise<Delivery>;
}
