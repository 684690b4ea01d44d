/** Agents as the API answers them, and as lines for people. */
import { z } from 'zod';
import { plainText } from '../collector/incident/story.ts';
import { formatTable } from './table.ts';

/** What agents wrote is shown without what could move a cursor. */
const text = z.string().transform(plainText);

const agentSchema = z.looseObject({
  name: text,
  state: text,
  version: text,
  capture: text,
  lastHeard: text,
  clock: z.looseObject({ offsetMs: z.number(), uncertaintyMs: z.number() }).nullable(),
  rules: z.looseObject({ version: z.number().nullable(), fingerprint: text }).nullable(),
  viewAgeSeconds: z.number().nullable(),
  losses: z.record(text, z.number().nullable()),
});
export type AgentAnswer = z.output<typeof agentSchema>;

/** `GET /api/agents` */
export const agentPage = z.looseObject({ agents: z.array(agentSchema), nextCursor: z.string().nullable() });

/** What follows from an action on an agent. */
export const agentAnswer = z.looseObject({ agent: agentSchema });

/** `POST /api/agents/NAME/enrol` */
export const enrolmentAnswer = z.looseObject({
  enrolment: z.looseObject({ agent: text, token: text, expires: text }),
});

/** Whether nobody has to look after the agent. */
export function isInOrder({ state }: AgentAnswer): boolean {
  return ['connected', 'stopped', 'retired'].includes(state);
}

const COLUMNS = [
  { name: 'agent' },
  { name: 'state' },
  { name: 'version' },
  { name: 'capture' },
  { name: 'last heard' },
  { name: 'rules' },
  { name: 'clock', isNumber: true },
  { name: 'view', isNumber: true },
  { name: 'losses' },
];

/** A line for each agent, below a headline. */
export function agentTable(agents: readonly AgentAnswer[]): string[] {
  return formatTable(
    COLUMNS,
    agents.map((agent) => [
      agent.name,
      agent.state,
      agent.version,
      agent.capture,
      `${agent.lastHeard.slice(0, 19)}Z`,
      rulesInWords(agent.rules),
      clockInWords(agent.clock),
      agent.viewAgeSeconds === null ? '-' : `${agent.viewAgeSeconds} s`,
      lossesInWords(agent.losses),
    ]),
  );
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

function lossesInWords(losses: AgentAnswer['losses']): string {
  const words = Object.entries(losses).map(([name, count]) => `${name} ${count ?? 'unknown'}`);
  return words.length === 0 ? 'none' : words.join(', ');
}
