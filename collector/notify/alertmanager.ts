/**
 * Prometheus Alertmanager, through its API v2 (https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml).
 * It forgets: an alert that is not sent again ends after a while, and after a restart it knows none. So what is not
 * resolved is told again and again, as Prometheus does it.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../../common/clock.ts';
import { SEVERITIES } from '../../common/event.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Incident } from '../store/store.ts';
import type { Delivery, Notifier, Reminder } from './notifier.ts';
import { isPage, post, type Fetch } from './post.ts';
import { writePlainly, type Writer } from './wording.ts';

/** Alertmanager's `resolve_timeout` is 5 minutes unless configured. */
const REMIND_INTERVAL_MS = 60_000;
/** An alert that is not sent again by then has lost its collector: some missed reminders are borne. */
const FIRING_MS = 4 * REMIND_INTERVAL_MS;
const MAX_LABEL = 256;

export interface AlertmanagerOptions {
  /** `http://host:9093`, with a prefix where it has one. */
  readonly url: string;
  /** For `Authorization: Bearer`; secret. */
  readonly token?: string | undefined;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Link back, where the API is reachable for people. */
  readonly externalUrl?: string | undefined;
  readonly write?: Writer | undefined;
}

export function createAlertmanagerNotifier(options: AlertmanagerOptions): Notifier & { reminder: Reminder } {
  const { token, fetch, clock, write = writePlainly, externalUrl } = options;
  const url = `${options.url.replace(/\/+$/, '')}/api/v2/alerts`;
  const headers = {
    'content-type': 'application/json',
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  const deliver = async (alerts: readonly object[], signal: AbortSignal): Promise<Delivery> => {
    const body = JSON.stringify(alerts);
    const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
    if (!('text' in result)) return result;
    return isPage(result.text)
      ? { outcome: 'retry', reason: 'the answer was a page, not that of Alertmanager' }
      : { outcome: 'delivered' };
  };
  const context = (): AlertContext => ({ nowMs: clock.now(), write, externalUrl });
  return {
    minIntervalMs: 0,
    send: ({ type, incident }, signal) => {
      const milder = type === 'escalated' ? milderAlerts(incident, context()) : [];
      return deliver([...milder, toAlert(incident, context())], signal);
    },
    reminder: {
      intervalMs: REMIND_INTERVAL_MS,
      send: (incidents, signal) =>
        deliver(
          incidents.map((incident) => toAlert(incident, context())),
          signal,
        ),
    },
  };
}

interface AlertContext {
  readonly nowMs: number;
  readonly write: Writer;
  readonly externalUrl: string | undefined;
}

/** The labels are the alert's identity. They never change in an incident's life, but for the severity, by which people route. */
function toAlert(incident: Incident, { nowMs, write, externalUrl }: AlertContext): object {
  const { id, kind, severity, peer, service, openedMs, resolvedMs, fingerprint } = incident;
  const type = resolvedMs === null ? 'opened' : 'resolved';
  const words = write({ id: '', receiver: '', type, incident, heldBack: 0, createdMs: nowMs });
  return {
    labels: {
      alertname: 'PlasmawatchIncident',
      incident: id,
      severity,
      kind,
      story: createHash('sha256').update(fingerprint).digest('hex').slice(0, 16),
      ...(peer === null ? {} : { peer: label(peer) }),
      ...(service === null ? {} : { service: label(service) }),
    },
    annotations: {
      summary: words.title,
      description: words.body,
      nodes: incident.nodes.map(plainText).join(', '),
    },
    startsAt: new Date(openedMs).toISOString(),
    endsAt: new Date(resolvedMs ?? nowMs + FIRING_MS).toISOString(),
    ...(externalUrl === undefined
      ? {}
      : { generatorURL: `${externalUrl.replace(/\/+$/, '')}/api/incidents/${id}` }),
  };
}

/** The ends of what the incident was before it became worse; Alertmanager ignores those that it never had. */
function milderAlerts(incident: Incident, context: AlertContext): object[] {
  return SEVERITIES.slice(0, SEVERITIES.indexOf(incident.severity)).map((severity) =>
    toAlert({ ...incident, severity, resolvedMs: context.nowMs }, context),
  );
}

function label(text: string): string {
  return plainText(text).slice(0, MAX_LABEL);
}
