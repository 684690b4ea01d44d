/**
 * Any program, through a signed webhook: a JSON body and the headers of Standard Webhooks
 * (https://www.standardwebhooks.com). The `webhook-id` is the same in every attempt, so that the other side can drop
 * repeats; the timestamp and the signatures are of the attempt.
 */
import type { Clock } from '../../common/clock.ts';
import type { Notification } from '../store/store.ts';
import { contentTypeOf, formatNotification, type Format } from './format/format.ts';
import type { Delivery, Notifier } from './notifier.ts';
import { post, type Fetch } from './post.ts';
import { createSigner } from './signature.ts';

/** The schedule of Standard Webhooks, after the attempt that is made at once; milliseconds. */
const RETRY_DELAYS_MS: readonly number[] = [
  5000,
  5 * 60_000,
  30 * 60_000,
  ...[2, 5, 10, 14, 20, 24].map((hours) => hours * 3_600_000),
];

/** Receivers refuse a signature that is five minutes older or newer than their clock, and many as an error of the message. */
const MAX_CLOCK_OFFSET_MS = 60_000;
/** How receivers refuse a signature. */
const SIGNATURE_REFUSALS: ReadonlySet<number> = new Set([400, 401, 422]);

interface Attempt {
  readonly delivery: Delivery;
  /** What the receiver's clock showed when it refused what may be the signature. */
  readonly refusedAtMs: number | undefined;
}

export interface WebhookOptions {
  /** May hold a token in its path or query, so it is treated as a secret. */
  readonly url: string;
  /** One a line: `whsec_` and base64, or base64 alone (HMAC); `whsk_` and base64 (Ed25519). Each signs. */
  readonly signingSecret: string;
  /** Whose secrets they are, for messages. */
  readonly secretName?: string | undefined;
  /** Of the body; plasmawatch's own when not given. */
  readonly format?: Format | undefined;
  readonly fetch: Fetch;
  readonly clock: Clock;
}

/** @throws PlasmawatchError PW_SECRET when a signing secret is none */
export function createWebhookNotifier(options: WebhookOptions): Notifier {
  const { url, format = 'plasmawatch', fetch, clock } = options;
  const sign = createSigner(options.signingSecret, options.secretName);
  return {
    minIntervalMs: 0,
    retryDelaysMs: RETRY_DELAYS_MS,
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      const body = formatNotification(format, notification);
      const attempt = async (signedMs: number): Promise<Attempt> => {
        const timestamp = Math.floor(signedMs / 1000);
        const headers = {
          'content-type': contentTypeOf(format),
          'webhook-id': notification.id,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': sign(notification.id, timestamp, body),
        };
        let refusedAtMs: number | undefined;
        const result = await post({
          fetch,
          url,
          headers,
          body,
          signal,
          nowMs: clock.now(),
          noteDate(dateMs, status) {
            if (SIGNATURE_REFUSALS.has(status)) refusedAtMs = dateMs;
          },
        });
        return { delivery: 'text' in result ? { outcome: 'delivered' } : result, refusedAtMs };
      };
      const signedMs = clock.now();
      const { delivery, refusedAtMs = signedMs } = await attempt(signedMs);
      // Whichever of the clocks is wrong, the receiver judges the signature by its own.
      const isApart = Math.abs(refusedAtMs - signedMs) > MAX_CLOCK_OFFSET_MS;
      return isApart ? (await attempt(refusedAtMs)).delivery : delivery;
    },
  };
}
