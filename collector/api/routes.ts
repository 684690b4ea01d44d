/** What the API answers: incidents, agents, health and metrics. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { formatMilliseconds } from '../../common/time.ts';
import { presentIncident } from '../incident/present.ts';
import type { Recorder } from '../incident/recorder.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { INCIDENT_STATES, type AgentRecord, type OutboxEntry, type Store } from '../store/store.ts';
import { addEvidenceRoutes } from './evidence.ts';
import { found, incidentParameters, parametersOf } from './incident-parameters.ts';
import { ApiError } from './server.ts';

const MAX_PAGE = 500;
/** Anomalies and notifications that the page of one incident shows. */
const MAX_DETAILS = 100;

const wholeNumber = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, 'expected a whole number above 0')
  .transform(Number);

const incidentsQuery = z.strictObject({
  state: z.enum(INCIDENT_STATES).optional(),
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(50),
  cursor: wholeNumber.optional(),
});
const noQuery = z.strictObject({});

export interface RoutesOptions {
  readonly store: Store;
  readonly recorder: Recorder;
  readonly metrics: CollectorMetrics;
  /** Names of the agents that are connected now. */
  readonly connectedAgents: () => ReadonlySet<string>;
}

export function addRoutes(server: FastifyInstance, options: RoutesOptions): void {
  const { store, recorder, metrics } = options;
  addEvidenceRoutes(server, options);

  server.get('/api/health', { config: { role: 'anyone' } }, () => {
    store.unresolvedCount();
    return { status: 'ok' };
  });

  server.get('/api/incidents', (request) => {
    const { state, limit, cursor } = check(incidentsQuery, request.query);
    const { incidents, next } = store.incidents({ state, limit, before: cursor });
    return { incidents: incidents.map(presentIncident), nextCursor: next === null ? null : String(next) };
  });

  server.get('/api/incidents/:id', (request) => {
    check(noQuery, request.query);
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
    check(noQuery, request.query);
    const incident = found(recorder.acknowledge(parametersOf(incidentParameters, request.params).id));
    if (incident.state === 'resolved')
      throw new ApiError(409, 'resolved', 'the incident is resolved already');
    return { incident: presentIncident(incident) };
  });

  server.get('/api/agents', (request) => {
    check(noQuery, request.query);
    const connected = options.connectedAgents();
    return { agents: store.agents().map((agent) => presentAgent(agent, connected.has(agent.name))) };
  });

  server.get('/metrics', async (_request, reply) => {
    metrics.incidentsUnresolved.set(store.unresolvedCount());
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });
}

function check<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  // Unknown keys are the caller's words, and are not repeated.
  const problem =
    issue?.code === 'unrecognized_keys' ? 'an unknown parameter' : (issue?.message ?? 'invalid');
  const where =
    issue === undefined || issue.path.length === 0 ? 'query' : `query parameter ${issue.path.join('.')}`;
  throw new ApiError(400, 'bad-query', `${where}: ${problem}`);
}

function presentNotification({ id, receiver, type, state, attempts, reason, createdMs }: OutboxEntry) {
  return { id, receiver, type, state, attempts, reason, created: formatMilliseconds(createdMs) };
}

function presentAgent(agent: AgentRecord, connected: boolean) {
  const { name, version, capture, firstSeenMs, lastSeenMs, lastSequence, counters } = agent;
  return {
    name,
    connected,
    version,
    capture,
    firstSeen: formatMilliseconds(firstSeenMs),
    lastSeen: formatMilliseconds(lastSeenMs),
    lastSequence,
    counters,
  };
}
