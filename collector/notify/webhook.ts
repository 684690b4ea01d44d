/**
 * Any program, through a signed webhook: a JSON body and the headers of Standard Webhooks
 * (https://www.standardwebhooks.com). The `webhook-id` is the same in every attempt, so that the other side can drop
 * repeats; the timestamp and the signature are of the attempt.
 */
import { Webhook } from 'standardwebhooks';
import type { Clock } from '../../common/clock.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { presentIncident } from '../incident/present.ts';
import type { Notification } from '../store/store.ts';
import type { Delivery, Notifier } from './notifier.ts';
import { post, type Fetch } from './post.ts';

export interface WebhookOptions {
  /** May hold a token in its path or query, so it is treated as a secret. */
  readonly url: string;
  /** `whsec_` and base64, or base64 alone. */
  readonly signingSecret: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
}

/** @throws PlasmawatchError PW_SECRET when the signing secret is not base64 */
export function createWebhookNotifier({ url, signingSecret, fetch, clock }: WebhookOptions): Notifier {
  const signer = createSigner(signingSecret);
  return {
    minIntervalMs: 0,
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      const nowMs = clock.now();
      const body = renderWebhookBody(notification);
      const headers = {
        'content-type': 'application/json',
        'webhook-id': notification.id,
        'webhook-timestamp': String(Math.floor(nowMs / 1000)),
        'webhook-signature': signer.sign(notification.id, new Date(nowMs), body),
      };
      const result = await post({ fetch, url, headers, body, signal, nowMs });
      return 'text' in result ? { outcome: 'delivered' } : result;
    },
  };
}

/** The body: the same text for every attempt. Below the 20 kB that Standard Webhooks asks for. */
export function renderWebhookBody({ type, incident, createdMs }: Notification): string {
  return JSON.stringify({
    type: `incident.${type}`,
    timestamp: formatMilliseconds(createdMs),
    data: presentIncident(incident),
  });
}

function createSigner(signingSecret: string): Webhook {
  try {
    return new Webhook(signingSecret.trim());
  } catch {
    // The package's message may quote what it could not decode.
    throw new PlasmawatchError(
      'PW_SECRET',
      'webhook signing secret: expected base64, with or without whsec_',
    );
  }
}
