/** What the API answers: incidents, health and metrics. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { ANOMALY_KINDS, SEVERITIES } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { presentIncident } from '../incident/present.ts';
import type { AgentClocks } from '../fleet/agent-clocks.ts';
import type { Recorder } from '../incident/recorder.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { INCIDENT_STATES, type OutboxEntry, type Store } from '../store/store.ts';
import { addEvidenceRoutes } from './evidence.ts';
import { found, incidentParameters, parametersOf } from './incident-parameters.ts';
import { checkQuery, MAX_PAGE, noQuery, wholeNumber } from './query.ts';
import { ApiError } from './server.ts';

/** Anomalies and notifications that the page of one incident shows. */
const MAX_DETAILS = 100;

const incidentsQuery = z.strictObject({
  state: z.enum([...INCIDENT_STATES, 'unresolved']).optional(),
  severity: z.enum(SEVERITIES).optional(),
  kind: z.enum(ANOMALY_KINDS).optional(),
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(50),
  cursor: wholeNumber.optional(),
});

export interface RoutesOptions {
  readonly store: Store;
  readonly recorder: Recorder;
  readonly metrics: CollectorMetrics;
  readonly clocks: AgentClocks;
}

export function addRoutes(server: FastifyInstance, options: RoutesOptions): void {
  const { store, recorder, metrics, clocks } = options;
  addEvidenceRoutes(server, options);

  server.get('/api/health', { config: { role: 'anyone' } }, () => {
    store.unresolvedCount();
    return { status: 'ok' };
  });

  server.get('/api/incidents', (request) => {
    const { cursor, ...query } = checkQuery(incidentsQuery, request.query);
    const { incidents, next } = store.incidents({ ...query, before: cursor });
    return { incidents: incidents.map(presentIncident), nextCursor: next === null ? null : String(next) };
  });

  server.get('/api/incidents/:id', (request) => {
    checkQuery(noQuery, request.query);
    const incident = found(store.incident(parametersOf(incidentParameters, request.params).id));
    return {
      incident: presentIncident(incident),
      anomalies: store
        .members(incident.id, MAX_DETAILS)
        .map(({ agent, latest }) => ({ agent, anomaly: latest })),
      notifications: store.notifications(incident.id, MAX_DETAILS).map(presentNotification),
    };
  });

  server.post('/api/incidents/:id/acknowledge', (request) => {
    checkQuery(noQuery, request.query);
    const incident = found(recorder.acknowledge(parametersOf(incidentParameters, request.params).id));
    if (incident.state === 'resolved')
      throw new ApiError(409, 'resolved', 'the incident is resolved already');
    return { incident: presentIncident(incident) };
  });

  server.get('/metrics', async (_request, reply) => {
    clocks.measure();
    metrics.incidentsUnresolved.set(store.unresolvedCount());
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
}

function presentNotification({ id, receiver, type, state, attempts, reason, createdMs }: OutboxEntry) {
  return { id, receiver, type, state, attempts, reason, created: formatMilliseconds(createdMs) };
}
