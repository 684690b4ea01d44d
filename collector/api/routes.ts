/** What the API answers: incidents, health and metrics. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Clock } from '../../common/clock.ts';
import type { PlasmawatchError } from '../../common/errors.ts';
import { ANOMALY_KINDS, SEVERITIES } from '../../common/event.ts';
import { checkedText } from '../../common/text-field.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { AgentClocks } from '../fleet/agent-clocks.ts';
import { presentIncident } from '../incident/present.ts';
import type { MutedBy } from '../incident/muting.ts';
import type { Recorder } from '../incident/recorder.ts';
import type { Silences } from '../incident/silences.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreHealth } from '../store/health.ts';
import { INCIDENT_STATES, type Incident, type OutboxEntry, type Store } from '../store/store.ts';
import { addAuditRoutes, presentAction } from './audit.ts';
import { addEvidenceRoutes } from './evidence.ts';
import { found, incidentParameters, parametersOf } from './incident-parameters.ts';
import { memberCursor, writeMemberCursor } from './member-cursor.ts';
import { checkBody, checkQuery, MAX_PAGE, noQuery, wholeNumber } from './query.ts';
import { ApiError } from './server.ts';
import { addSilenceRoutes } from './silences.ts';

/** Notifications and actions that the page of one incident shows, and anomalies unless it is asked for more. */
const MAX_DETAILS = 100;

const incidentsQuery = z.strictObject({
  state: z.enum([...INCIDENT_STATES, 'unresolved']).optional(),
  severity: z.enum(SEVERITIES).optional(),
  kind: z.enum(ANOMALY_KINDS).optional(),
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(50),
  cursor: wholeNumber.optional(),
});

const membersQuery = z.strictObject({
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(MAX_DETAILS),
  cursor: memberCursor.optional(),
});

/** What a person says with an action; no body says nothing. */
const commentBody = z.strictObject({
  comment: checkedText('one line of 1 to 256 characters', /^(?=.*\S)[^\p{Cc}]{1,256}$/u).optional(),
});

export interface RoutesOptions {
  readonly store: Store;
  readonly health: Pick<StoreHealth, 'failure'>;
  readonly recorder: Recorder;
  readonly silences: Silences;
  readonly mutedBy: MutedBy;
  readonly clock: Pick<Clock, 'now'>;
  readonly metrics: CollectorMetrics;
  readonly clocks: AgentClocks;
}

export function addRoutes(server: FastifyInstance, options: RoutesOptions): void {
  const { store, health, recorder, silences, mutedBy, clock, metrics, clocks } = options;
  addEvidenceRoutes(server, options);
  addSilenceRoutes(server, options);
  addAuditRoutes(server, store);
  const present = (incident: Incident) => ({
    ...presentIncident(incident),
    mutedBy: incident.state === 'resolved' ? null : (mutedBy(incident, clock.now()) ?? null),
  });

  server.get('/api/health', { config: { role: 'anyone' } }, () => {
    store.unresolvedCount();
    if (health.failure !== undefined) throw storeRefuses(health.failure);
    return { status: 'ok' };
  });

  server.get('/api/incidents', (request) => {
    const { cursor, ...query } = checkQuery(incidentsQuery, request.query);
    const { incidents, next } = store.incidents({ ...query, before: cursor });
    return { incidents: incidents.map(present), nextCursor: next === null ? null : String(next) };
  });

  server.get('/api/incidents/:id', (request) => {
    const { limit, cursor } = checkQuery(membersQuery, request.query);
    const incident = found(store.incident(parametersOf(incidentParameters, request.params).id));
    const { members, next } = store.memberTable.page(incident.id, { limit, after: cursor });
    return {
      incident: present(incident),
      anomalies: members.map(({ agent, severity, latest }) => ({ agent, severity, anomaly: latest })),
      nextCursor: next === null ? null : writeMemberCursor(next),
      notifications: store.notifications(incident.id, MAX_DETAILS).map(presentNotification),
      actions: store.audit.entries({ subject: incident.id, limit: MAX_DETAILS }).entries.map(presentAction),
    };
  });

  server.post('/api/incidents/:id/acknowledge', (request) => {
    checkQuery(noQuery, request.query);
    const { id } = parametersOf(incidentParameters, request.params);
    const incident = found(recorder.acknowledge(id, request.actor, commentOf(request.body)));
    if (incident.state === 'resolved')
      throw new ApiError(409, 'resolved', 'the incident is resolved already');
    return { incident: present(incident) };
  });

  server.post('/api/incidents/:id/resolve', (request) => {
    checkQuery(noQuery, request.query);
    const { id } = parametersOf(incidentParameters, request.params);
    return { incident: present(found(recorder.resolve(id, request.actor, commentOf(request.body)))) };
  });

  server.get('/metrics', async (_request, reply) => {
    clocks.measure();
    metrics.incidentsUnresolved.set(store.unresolvedCount());
    metrics.silencesActive.set(silences.activeCount());
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
}

function commentOf(body: unknown): string | undefined {
  return body === undefined || body === null ? undefined : checkBody(commentBody, body).comment;
}

/** Says what is wrong and not where: anyone may ask for the health. */
function storeRefuses({ code }: PlasmawatchError): ApiError {
  const what = code === 'PW_DISK_FULL' ? 'the disk of the store is full' : 'the store fails';
  return new ApiError(503, code, `${what}: agents keep their reports until it works`);
}

function presentNotification({ id, receiver, type, state, attempts, reason, createdMs }: OutboxEntry) {
  return { id, receiver, type, state, attempts, reason, created: formatMilliseconds(createdMs) };
}
