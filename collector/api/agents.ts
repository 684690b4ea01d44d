/** What the API answers about the fleet: every agent and how it is, and that one is gone for good. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { agentNameSchema } from '../../common/protocol.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { AgentStatus, Roster } from '../fleet/roster.ts';
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
}

export function addAgentRoutes(server: FastifyInstance, { roster, fleet }: AgentRoutesOptions): void {
  server.get('/api/agents', (request) => {
    const { limit, cursor } = checkQuery(agentsQuery, request.query);
    const { agents, next } = roster.page({ limit, after: cursor });
    return { agents: agents.map(presentAgent), nextCursor: next };
  });

  server.delete('/api/agents/:name', { config: { role: 'admin' } }, (request) => {
    checkQuery(noQuery, request.query);
    const { name } = parametersOf(agentParameters, request.params);
    if (found(roster.status(name), 'agent').isConnected) {
      throw new ApiError(409, 'connected', 'the agent is connected: stop it first');
    }
    fleet.retire(name, request.actor);
    return { agent: presentAgent(found(roster.status(name), 'agent')) };
  });
}

function presentAgent(agent: AgentStatus) {
  const { name, state, isConnected, version, capture, firstSeenMs, lastHeardMs } = agent;
  return {
    name,
    state,
    connected: isConnected,
    version,
    capture,
    firstSeen: formatMilliseconds(firstSeenMs),
    lastHeard: formatMilliseconds(lastHeardMs),
    lastSequence: agent.lastSequence,
    clock: agent.clock,
    rules: agent.rules,
    viewAgeSeconds: agent.viewAgeSeconds,
    losses: agent.losses,
    counters: agent.counters,
  };
}
