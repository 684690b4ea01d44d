/**
 * How a notification reaches a receiver. A notifier renders and sends, once, and says whether another attempt makes
 * sense; order, pace, back-off and giving up are the dispatcher's.
 *
 * A reason is shown in logs, in the API and in the database: it never holds a URL, a token or what the other side
 * answered.
 */
import type { Notification } from '../store/store.ts';

export type Delivery =
  | { readonly outcome: 'delivered' }
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
  /** Sends one notification. Never rejects; when `signal` aborts, it ends soon. */
  send(notification: Notification, signal: AbortSignal): Promise<Delivery>;
}
