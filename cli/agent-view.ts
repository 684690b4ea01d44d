/** Agents as the API answers them, and as lines for people. */
import { z } from 'zod';
import { shortTime } from '../common/time.ts';
import type { TimeFormat } from './age.ts';
import { text, type CollectorClient } from './collector-client.ts';
import { styleOf } from './style.ts';
import { formatTable, type Column } from './table.ts';

const agentSchema = z.looseObject({
  name: text,
  state: text,
  version: text,
  capture: text,
  lastHeard: text,
  /** Whether it has a key of its own; left out by collectors of earlier versions. */
  enrolled: z.boolean().optional(),
  clock: z.looseObject({ offsetMs: z.number(), uncertaintyMs: z.number() }).nullable(),
  rules: z.looseObject({ version: z.number().nullable(), fingerprint: text }).nullable(),
  /** Left out where the agent has not told it, or the collector is of an earlier version. */
  objectManager: z.looseObject({ port: z.number().nullable(), source: text }).nullish(),
  viewAgeSeconds: z.number().nullable(),
  losses: z.record(text, z.number().nullable()),
  counters: z.record(text, z.number().nullable()).nullable(),
});
export type AgentAnswer = z.output<typeof agentSchema>;

/** `GET /api/agents` */
const agentPage = z.looseObject({ agents: z.array(agentSchema), nextCursor: z.string().nullable() });

/** What follows from an action on an agent. */
export const agentAnswer = z.looseObject({ agent: agentSchema });

/** `POST /api/agents/NAME/enrol` */
export const enrolmentAnswer = z.looseObject({
  enrolment: z.looseObject({ agent: text, token: text, expires: text }),
});

/** All agents that the collector knows, by name; a page is asked for when it is needed. */
export async function* readAgents(client: Pick<CollectorClient, 'get'>): AsyncGenerator<AgentAnswer> {
  let cursor: string | null = null;
  do {
    const query: string = cursor === null ? '' : `?cursor=${encodeURIComponent(cursor)}`;
    const page: z.output<typeof agentPage> = await client.get(`/api/agents${query}`, agentPage);
    yield* page.agents;
    cursor = page.nextCursor;
  } while (cursor !== null);
}

/** Whether nobody has to look after the agent. */
export function isInOrder(agent: AgentAnswer): boolean {
  return (
    ['connected', 'stopped', 'retired'].includes(agent.state) &&
    !isPortGuessed(agent) &&
    !isMembershipUnknown(agent)
  );
}

/** Whether the agent, as it is now, watches its node at a port that nobody has confirmed. */
export function isPortGuessed({ state, objectManager }: AgentAnswer): boolean {
  return isReporting(state) && objectManager?.source === 'guess';
}

/** Whether the agent has seen no complete list of the members yet; an earlier version does not say so. */
export function isMembershipUnknown({ state, counters }: AgentAnswer): boolean {
  return isReporting(state) && counters?.['membership_known'] === 0;
}

/** The number of unknown peers that the agent does not report before it has that list. */
export function pendingPeers({ counters }: AgentAnswer): number {
  return counters?.['peers_pending'] ?? 0;
}

/** Whether what the agent said last is how it is now. */
function isReporting(state: string): boolean {
  return ['connected', 'blind'].includes(state);
}

export const AGENT_COLUMNS: readonly Column[] = [
  { name: 'agent', isElastic: true },
  { name: 'state', style: styleOf },
  { name: 'version', dropOrder: 5 },
  { name: 'capture', dropOrder: 4 },
  { name: 'last heard' },
  { name: 'rules', dropOrder: 2 },
  { name: 'clock', isNumber: true, dropOrder: 3 },
  { name: 'view', isNumber: true, dropOrder: 1 },
  { name: 'losses', isElastic: true },
];

/** A row of `AGENT_COLUMNS` for each agent. */
export function agentRows(agents: readonly AgentAnswer[], timeOf: TimeFormat = shortTime): string[][] {
  return agents.map((agent) => [
    agent.name,
    stateInWords(agent),
    agent.version,
    agent.capture,
    timeOf(agent.lastHeard),
    rulesInWords(agent.rules),
    clockInWords(agent.clock),
    viewInWords(agent),
    lossesInWords(agent.losses, 'none'),
  ]);
}

/** A line for each agent, below a headline; nothing is cut. */
export function agentTable(agents: readonly AgentAnswer[]): string[] {
  return formatTable(AGENT_COLUMNS, agentRows(agents));
}

/** Everything that is known of one agent, a line each. */
export function describeAgent(agent: AgentAnswer, timeOf: TimeFormat): string[] {
  const { objectManager, counters } = agent;
  const port =
    objectManager === null || objectManager === undefined
      ? 'not reported'
      : `${objectManager.port ?? 'unknown'} (${objectManager.source === 'guess' ? 'guessed, not confirmed' : objectManager.source})`;
  const identity = agent.enrolled === undefined ? [] : [fact('key', keyInWords(agent.enrolled))];
  const counted = Object.entries(counters ?? {}).map(([name, count]) => `  ${name}  ${count ?? 'unknown'}`);
  return [
    `${agent.name} is ${stateInWords(agent)}`,
    '',
    fact('version', agent.version),
    fact('capture', agent.capture),
    fact('last heard', timeOf(agent.lastHeard)),
    ...identity,
    fact('rules', rulesInWords(agent.rules)),
    fact('object manager', port),
    fact('clock', clockInWords(agent.clock)),
    fact('members', `age of the list: ${viewInWords(agent)}`),
    fact('losses', lossesInWords(agent.losses, 'none')),
    ...(counted.length === 0 ? [] : ['', 'counters', ...counted]),
    ...(isInOrder(agent) ? [] : ['', `Next: ${ADVICE[agent.state] ?? ADVICE['connected'] ?? ''}`]),
  ];
}

function fact(name: string, value: string): string {
  return `${name.padEnd(16)}${value}`;
}

function keyInWords(isEnrolled: boolean): string {
  return isEnrolled ? 'its own (enrolled)' : 'none: it presents the token that all agents share';
}

/** What to do about an agent in this state; a connected one is not in order where it guesses its port. */
const ADVICE: Readonly<Record<string, string>> = {
  connected: 'plasmawatch doctor on the node; docs/troubleshooting.md, "When a port is guessed"',
  blind: 'plasmawatch doctor on the node',
  away: 'systemctl status plasmawatch-agent on the node',
  missing:
    'systemctl status plasmawatch-agent on the node; plasmawatch agents retire where it is gone for good',
};

function stateInWords(agent: AgentAnswer): string {
  return isPortGuessed(agent) ? `${agent.state}, port guessed` : agent.state;
}

/** The age of what it knows of the members, or that it does not know them, and how many of their names do not resolve. */
function viewInWords(agent: AgentAnswer): string {
  const { viewAgeSeconds, counters } = agent;
  const names = counters?.['names_unresolved'] ?? 0;
  const pending = pendingPeers(agent);
  return [
    isMembershipUnknown(agent) ? 'unknown' : viewAgeSeconds === null ? '-' : `${viewAgeSeconds} s`,
    ...(isMembershipUnknown(agent) && pending > 0 ? [`${pending} pending`] : []),
    ...(names === 0 ? [] : [`${names} unresolved`]),
  ].join(', ');
}

/** The collector's version, or the beginning of the fingerprint of the agent's own. */
function rulesInWords(rules: AgentAnswer['rules']): string {
  if (rules === null) return '-';
  return rules.version === null ? `own ${rules.fingerprint.slice(0, 12)}` : `version ${rules.version}`;
}

/** `+2.000 s` for a clock that is two seconds ahead. */
function clockInWords(clock: AgentAnswer['clock']): string {
  if (clock === null) return '-';
  const seconds = clock.offsetMs / 1000;
  return `${seconds < 0 ? '-' : '+'}${Math.abs(seconds).toFixed(3)} s`;
}

/** Each counter of a loss with its number. */
export function lossesInWords(losses: AgentAnswer['losses'], none: string): string {
  const words = Object.entries(losses).map(([name, count]) => `${name} ${count ?? 'unknown'}`);
  return words.length === 0 ? none : words.join(', ');
}
