/** How the agent of this node is, as the collector knows it from its heartbeats: it has no listener of its own. */
import { messageOf, PlasmawatchError } from '../../common/errors.ts';
import {
  isMembershipUnknown,
  isPortGuessed,
  lossesInWords,
  pendingPeers,
  readAgents,
  type AgentAnswer,
} from '../agent-view.ts';
import type { CollectorClient } from '../collector-client.ts';
import { check, MEMBERSHIP_CHECK, MEMBERSHIP_FIX, PORT_CHECK, PORT_FIX, type Check } from './check.ts';

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
    return [
      describeAgent(agent),
      ...describePort(agent),
      ...describeUnknownMembership(agent),
      describeLosses(agent),
    ];
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    return [check('agent', false, messageOf(error), 'docs/errors.md')];
  }
}

async function findAgent(
  client: Pick<CollectorClient, 'get'>,
  node: string,
): Promise<AgentAnswer | undefined> {
  for await (const agent of readAgents(client)) if (agent.name === node) return agent;
  return undefined;
}

function describeAgent(agent: AgentAnswer): Check {
  const { name, state, capture, lastHeard, viewAgeSeconds, counters } = agent;
  const members = counters?.['members'];
  const knows =
    typeof members === 'number' && !isMembershipUnknown(agent)
      ? `, knows ${members} members as of ${viewAgeSeconds ?? 0} s ago`
      : '';
  return check(
    'agent',
    state === 'connected',
    `${name} is ${state}, captures by ${capture}, heard at ${lastHeard}${knows}`,
    'docs/troubleshooting.md, "When an agent is missing"',
  );
}

/** A finding only where the port is guessed: whatever can be seen from here, the agent does not see it. */
function describePort(agent: AgentAnswer): Check[] {
  if (!isPortGuessed(agent)) return [];
  const port = agent.objectManager?.port ?? 'unknown';
  return [
    check(
      PORT_CHECK,
      false,
      `the agent on ${agent.name} watches object-manager port ${port}: guessed, not confirmed`,
      PORT_FIX,
    ),
  ];
}

/** A finding only where the agent has no list: what is listed to this program may not reach the agent. */
function describeUnknownMembership(agent: AgentAnswer): Check[] {
  if (!isMembershipUnknown(agent)) return [];
  const pending = pendingPeers(agent);
  const peers =
    pending === 0 ? '' : `, and ${pending} unknown ${pending === 1 ? 'peer is' : 'peers are'} pending`;
  return [
    check(
      MEMBERSHIP_CHECK,
      false,
      `the agent on ${agent.name} does not know the members of the cluster yet${peers}`,
      MEMBERSHIP_FIX,
    ),
  ];
}

function describeLosses({ losses }: AgentAnswer): Check {
  return check(
    'losses',
    Object.keys(losses).length === 0,
    lossesInWords(losses, 'the agent has lost nothing since its start'),
    'docs/monitoring.md, "Counters", says what each counts',
  );
}
