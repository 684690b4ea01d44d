/** How the agent of this node is, as the collector knows it from its heartbeats: it has no listener of its own. */
import { z } from 'zod';
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import type { CollectorClient } from '../collector-client.ts';
import { check, type Check } from './check.ts';

/** The part of an agent in `GET /api/agents` that is told. */
const agentSchema = z.object({
  name: z.string(),
  state: z.string(),
  capture: z.string(),
  lastHeard: z.string(),
  viewAgeSeconds: z.number().nullable(),
  losses: z.record(z.string(), z.number().nullable()),
  counters: z.record(z.string(), z.number().nullable()).nullable(),
});
const pageSchema = z.object({ agents: z.array(agentSchema), nextCursor: z.string().nullable() });
type AgentStatus = z.infer<typeof agentSchema>;

/** Asks the collector; one that does not answer is a finding. */
export async function examineAgent(client: Pick<CollectorClient, 'get'>, node: string): Promise<Check[]> {
  try {
    const agent = await findAgent(client, node);
    if (agent === undefined)
      return [
        check(
          'agent',
          false,
          `the collector has never heard of an agent ${node}`,
          'start it, or name it with --node',
        ),
      ];
    return [describeAgent(agent), describeLosses(agent)];
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    return [check('agent', false, messageOf(error), 'docs/errors.md')];
  }
}

async function findAgent(
  client: Pick<CollectorClient, 'get'>,
  node: string,
): Promise<AgentStatus | undefined> {
  let cursor: string | null = null;
  do {
    const after: string = cursor === null ? '' : `?cursor=${encodeURIComponent(cursor)}`;
    const page: z.infer<typeof pageSchema> = await client.get(`/api/agents${after}`, pageSchema);
    const agent = page.agents.find(({ name }) => name === node);
    if (agent !== undefined) return agent;
    cursor = page.nextCursor;
  } while (cursor !== null);
  return undefined;
}

function describeAgent({ name, state, capture, lastHeard, viewAgeSeconds, counters }: AgentStatus): Check {
  const members = counters?.['members'];
  const knows =
    typeof members === 'number' ? `, knows ${members} members as of ${viewAgeSeconds ?? 0} s ago` : '';
  return check(
    'agent',
    state === 'connected',
    `${name} is ${state}, captures by ${capture}, heard at ${lastHeard}${knows}`,
    'docs/operating.md, "When an agent is missing"',
  );
}

function describeLosses({ losses }: AgentStatus): Check {
  const lost = Object.entries(losses).map(([counter, count]) => `${counter} ${count ?? 'unknown'}`);
  return check(
    'losses',
    lost.length === 0,
    lost.length === 0 ? 'the agent has lost nothing since its start' : lost.join(', '),
    'docs/operating.md, "Counters", says what each counts',
  );
}
