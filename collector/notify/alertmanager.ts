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
/**
 * Our wall clock is good for it while it is no further behind its clock, or ahead of it: behind, an alert would end before the
 * next reminder, and ahead, one would fire on long after its collector is gone.
 */
const MAX_BEHIND_MS = REMIND_INTERVAL_MS;
const MAX_AHEAD_MS = 10 * REMIND_INTERVAL_MS;
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
  /** Its clock minus our `steadyMs`, as its last answer told: setting our wall clock must not end its alerts. */
  let aheadMs: number | undefined;
  const steadyMs = (): number => clock.monotonic() + clock.pausedMs();
  const itsTimeMs = (): number => {
    const nowMs = clock.now();
    const itsMs = aheadMs === undefined ? nowMs : steadyMs() + aheadMs;
    return isGoodFor(itsMs, nowMs) ? nowMs : itsMs;
  };
  const deliver = async (toAlerts: ToAlerts, signal: AbortSignal): Promise<Delivery> => {
    for (;;) {
      const nowMs = itsTimeMs();
      const latestEndMs = aheadMs === undefined ? nowMs : Math.min(nowMs, steadyMs() + aheadMs);
      const body = JSON.stringify(toAlerts({ nowMs, latestEndMs, write, externalUrl }));
      const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
      if (!('text' in result)) return result;
      if (isPage(result.text)) {
        return { outcome: 'retry', reason: 'the answer was a page, not that of Alertmanager' };
      }
      const isFirst = aheadMs === undefined;
      aheadMs = result.dateMs === undefined ? undefined : result.dateMs - steadyMs();
      // By the first answer it may show that what was sent is over by its clock.
      if (!isFirst || isGoodFor(itsTimeMs(), nowMs)) return { outcome: 'delivered' };
    }
  };
  return {
    minIntervalMs: 0,
    send: ({ type, incident }, signal) => {
      return deliver((context) => {
        const milder = type === 'escalated' ? milderAlerts(incident, context) : [];
        return [...milder, toAlert(incident, context)];
      }, signal);
    },
    reminder: {
      intervalMs: REMIND_INTERVAL_MS,
      send: (incidents, signal) =>
        deliver((context) => incidents.map((incident) => toAlert(incident, context)), signal),
    },
  };
}

function isGoodFor(itsMs: number, nowMs: number): boolean {
  return itsMs - nowMs < MAX_BEHIND_MS && nowMs - itsMs < MAX_AHEAD_MS;
}

type ToAlerts = (context: AlertContext) => readonly object[];

interface AlertContext {
  /** By the clock of Alertmanager, as far as it is known. */
  readonly nowMs: number;
  /** What ends no later is over by its clock. */
  readonly latestEndMs: number;
  readonly write: Writer;
  readonly externalUrl: string | undefined;
}

/** The labels are the alert's identity. They never change in an incident's life, but for the severity, by which people route. */
function toAlert(incident: Incident, context: AlertContext): object {
  const { nowMs, latestEndMs, write, externalUrl } = context;
  const { id, kind, severity, peer, service, openedMs, resolvedMs, fingerprint } = incident;
  const type = resolvedMs === null ? 'opened' : 'resolved';
  const endsMs = resolvedMs === null ? nowMs + FIRING_MS : Math.min(resolvedMs, latestEndMs);
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
    // It refuses what ends before it starts, and goes on with what ends in the future.
    startsAt: new Date(Math.min(openedMs, nowMs, endsMs)).toISOString(),
    endsAt: new Date(endsMs).toISOString(),
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
