/** What the API answers about the fleet: every agent and how it is, who may come in, and who is gone for good. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { agentNameSchema } from '../../common/protocol.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { AgentStatus, Roster } from '../fleet/roster.ts';
import type { Enrolments } from '../fleet/enrolments.ts';
import type { FleetWatch } from '../fleet/watch.ts';
import { found, parametersOf } from './incident-parameters.ts';
import { checkQuery, MAX_PAGE, noQuery, wholeNumber } from './query.ts';
import { ApiError } from './server.ts';

const agentsQuery = z.strictObject({
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(MAX_PAGE),
  cursor: agentNameSchema.optional(),
});
const agentParameters = z.strictObject({ name: agentNameSchema });

export interface AgentRoutesOptions {
  readonly roster: Roster;
  readonly fleet: FleetWatch;
  readonly enrolments: Enrolments;
  /** Ends the session of an agent that was retired. */
  readonly disconnect: (agent: string) => void;
}

export function addAgentRoutes(
  server: FastifyInstance,
  { roster, fleet, enrolments, disconnect }: AgentRoutesOptions,
): void {
  server.get('/api/agents', (request) => {
    const { limit, cursor } = checkQuery(agentsQuery, request.query);
    const { agents, next } = roster.page({ limit, after: cursor });
    return { agents: agents.map(presentAgent), nextCursor: next };
  });

  server.delete('/api/agents/:name', { config: { role: 'admin' } }, (request) => {
    checkQuery(noQuery, request.query);
    const { name } = parametersOf(agentParameters, request.params, 'agent');
    const { isConnected, isEnrolled } = found(roster.status(name), 'agent');
    // With the token that all agents share it would be back at once.
    if (isConnected && !isEnrolled) {
      throw new ApiError(409, 'connected', 'the agent is connected: stop it first');
    }
    fleet.retire(name, request.actor);
    disconnect(name);
    return { agent: presentAgent(found(roster.status(name), 'agent')) };
  });

  server.get('/api/enrolments', { config: { role: 'admin' } }, (request) => {
    checkQuery(noQuery, request.query);
    return {
      enrolments: enrolments
        .pending(MAX_PAGE)
        .map(({ agent, expiresMs }) => ({ agent, expires: formatMilliseconds(expiresMs) })),
    };
  });

  server.delete('/api/enrolments/:name', { config: { role: 'admin' } }, (request) => {
    checkQuery(noQuery, request.query);
    const { name } = parametersOf(agentParameters, request.params, 'pending enrolment');
    if (!enrolments.revoke(name, request.actor)) found(undefined, 'pending enrolment');
    return { enrolment: { agent: name } };
  });

  server.post('/api/agents/:name/enrol', { config: { role: 'admin' } }, (request) => {
    checkQuery(noQuery, request.query);
    const { name } = newAgentOf(request.params);
    const issued = enrolments.issue(name, request.actor);
    if (issued === undefined) {
      throw new ApiError(409, 'too-many', 'there are too many names already (limits.maxAgents)');
    }
    return { enrolment: { agent: name, token: issued.token, expires: formatMilliseconds(issued.expiresMs) } };
  });
}

/** @throws ApiError 400 that says what a name is made of: this one is to be made, so not being there is no fault of it */
function newAgentOf(parameters: unknown): z.output<typeof agentParameters> {
  const result = agentParameters.safeParse(parameters);
  if (result.success) return result.data;
  throw new ApiError(
    400,
    'bad-name',
    'the name of an agent has letters, digits and . _ : - only, 128 at most',
  );
}

function presentAgent(agent: AgentStatus) {
  const { name, state, isConnected, version, capture, firstSeenMs, lastHeardMs } = agent;
  return {
    name,
    state,
    connected: isConnected,
    enrolled: agent.isEnrolled,
    version,
    capture,
    firstSeen: formatMilliseconds(firstSeenMs),
    lastHeard: formatMilliseconds(lastHeardMs),
    lastSequence: agent.lastSequence,
    clock: agent.clock,
    rules: agent.rules,
    ...(agent.objectManager === null ? {} : { objectManager: agent.objectManager }),
    viewAgeSeconds: agent.viewAgeSeconds,
    losses: agent.losses,
    counters: agent.counters,
  };
}
