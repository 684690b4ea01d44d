/**
 * PagerDuty, through the Events API v2 (https://developer.pagerduty.com/docs/events-api-v2-overview). Posted with
 * `fetch`: the official client throws errors that hold the request, and the routing key is in it.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../common/clock.ts';
import { plainText } from '../../common/plain-text.ts';
import { presentIncident } from '../incident/present.ts';
import type { Incident, Notification } from '../store/store.ts';
import type { Delivery, Notifier } from './notifier.ts';
import { post, type Fetch } from './post.ts';
import { cutText, writePlainly, type Writer } from './wording.ts';

export const PAGERDUTY_URL = 'https://events.pagerduty.com/v2/enqueue';

/** Limits of the API, in characters. */
const MAX_SUMMARY = 1024;
const MAX_SOURCE = 255;
/** Far below the API's limit for each routing key. */
const MIN_INTERVAL_MS = 500;
/** What the API says when it took the event. */
const ACCEPTED = 202;

export interface PagerdutyOptions {
  /** That of the EU: https://events.eu.pagerduty.com/v2/enqueue. */
  readonly url: string;
  /** The integration's key; secret. */
  readonly routingKey: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly write?: Writer | undefined;
}

export function createPagerdutyNotifier(options: PagerdutyOptions): Notifier {
  const { url, routingKey, fetch, clock, write = writePlainly } = options;
  const headers = { 'content-type': 'application/json' };
  return {
    minIntervalMs: MIN_INTERVAL_MS,
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      const body = JSON.stringify({ routing_key: routingKey, ...renderPagerdutyEvent(notification, write) });
      const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
      if (!('text' in result)) return result;
      if (result.status === ACCEPTED) return { outcome: 'delivered' };
      return { outcome: 'retry', reason: `HTTP status ${result.status}: expected ${ACCEPTED}` };
    },
  };
}

/** The event without its key. One key for deduplication in the life of an incident. */
export function renderPagerdutyEvent(notification: Notification, write: Writer): object {
  const { type, incident, heldBack, createdMs } = notification;
  const words = write(notification);
  return {
    event_action: ACTIONS[type] ?? 'trigger',
    dedup_key: dedupKeyOf(incident),
    client: 'plasmawatch',
    payload: {
      summary: cutText(words.title, MAX_SUMMARY),
      source: cutText(plainText(incident.nodes[0] ?? '') || 'plasmawatch', MAX_SOURCE),
      severity: incident.severity,
      timestamp: new Date(createdMs).toISOString(),
      component: incident.service ?? undefined,
      group: incident.peer ?? undefined,
      class: incident.kind,
      custom_details: { happened: type, description: words.body, heldBack, ...presentIncident(incident) },
    },
  };
}

/** By the type of the notification; all else triggers, which for an alert that is open is one more line in its log. */
const ACTIONS: Readonly<Record<string, 'acknowledge' | 'resolve'>> = {
  acknowledged: 'acknowledge',
  resolved: 'resolve',
};

/** The story's too: after a store was lost, numbers begin anew. */
function dedupKeyOf({ id, fingerprint }: Incident): string {
  return `plasmawatch-${id}-${createHash('sha256').update(fingerprint).digest('hex').slice(0, 16)}`;
}
