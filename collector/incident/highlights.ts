/**
 * What an incident shows of its members without listing them: the most severe member of each agent, most severe first.
 * Titles name the first of them, and the text that people read is theirs.
 *
 * Each agent has one place here, whatever and however often it reports: its words and numbers never take the place of
 * another's while there is room, and never stand without its name.
 */
import { parsePrefix } from '../../common/address.ts';
import { SEVERITIES, type Anomaly, type Attempts } from '../../common/event.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Highlight, Incident, Member } from '../store/store.ts';
import { COLLECTOR } from './reporter.ts';
import { endOf, peerOf } from './story.ts';

/** Agents that have a place. */
const MAX_HIGHLIGHTS = 10;
/** Of them, the ones whose words are shown. */
const MAX_QUOTED = 3;
/** Characters of an agent's words that are shown; the whole text stands with its anomaly. */
const MAX_QUOTE = 400;
/** Whatever a person may take for the end of a quotation, in any script. */
const QUOTES = /["\p{Pi}\p{Pf}\p{Quotation_Mark}\u02ba\u02dd\u02ee\u02f6\u05f4\u2033\u2036\u3003]/gu;

type Highlighted = Pick<Member, 'agent' | 'anomalyId' | 'latest' | 'severity' | 'dataBytes'>;

/** An incident's highlights with a member as it is now. */
export function withMember(highlights: readonly Highlight[], member: Highlighted): Highlight[] {
  const next = highlightOf(member);
  const own = highlights.find(({ node }) => node === next.node);
  const isSame = own?.agent === next.agent && own.anomalyId === next.anomalyId;
  if (own !== undefined && !isSame && compare(own, next) <= 0) return [...highlights];
  return ranked([...highlights.filter((each) => each !== own), next]);
}

/** An incident's highlights without a member, and with the agent's next one, where it has any. */
export function withoutMember(
  highlights: readonly Highlight[],
  { agent, anomalyId }: Pick<Member, 'agent' | 'anomalyId'>,
  next: Member | undefined,
): Highlight[] {
  const rest = highlights.filter((each) => each.agent !== agent || each.anomalyId !== anomalyId);
  return next === undefined || rest.length === highlights.length ? rest : withMember(rest, next);
}

/** The highlights of two incidents that become one. */
export function merged(a: readonly Highlight[], b: readonly Highlight[]): Highlight[] {
  const byNode = new Map<string, Highlight>();
  for (const highlight of ranked([...a, ...b], Infinity)) {
    if (!byNode.has(highlight.node)) byNode.set(highlight.node, highlight);
  }
  return ranked([...byNode.values()]);
}

/** Highlights and further members, each peer once: what a message names. */
export function named(highlights: readonly Highlight[], members: readonly Member[]): Highlight[] {
  const byPeer = new Map<string, Highlight>();
  for (const highlight of [...highlights, ...members.map(highlightOf)]) {
    const key = JSON.stringify([highlight.peer, highlight.peer === null ? highlight.node : '']);
    if (!byPeer.has(key)) byPeer.set(key, highlight);
  }
  return ranked([...byPeer.values()], Infinity);
}

/** What people read of an incident: the words of the agents with the most severe members, each with its name. */
export function messageOf({ highlights }: Pick<Incident, 'highlights'>): string {
  return highlights
    .slice(0, MAX_QUOTED)
    .map(({ text }) => text)
    .join('; ');
}

function highlightOf({ agent, anomalyId, latest, severity, dataBytes }: Highlighted): Highlight {
  return {
    agent,
    anomalyId,
    node: latest.node,
    kind: latest.kind,
    peer: peerOf(latest),
    service: latest.flow?.plasmawatch.service ?? null,
    state: latest.flow?.plasmawatch.state ?? null,
    severity,
    dataBytes,
    ...ownAddressOf(latest),
    text: textOf(agent, latest),
  };
}

function ownAddressOf({ flow, localEnd }: Anomaly): Pick<Highlight, 'ownAddress'> {
  if (flow === null || localEnd === undefined) return {};
  return { ownAddress: endOf(flow, localEnd) };
}

/** Negative where `a` is the more severe one: by severity, then by bytes. */
function compare(a: Highlight, b: Highlight): number {
  return SEVERITIES.indexOf(b.severity) - SEVERITIES.indexOf(a.severity) || b.dataBytes - a.dataBytes;
}

function ranked(highlights: readonly Highlight[], limit = MAX_HIGHLIGHTS): Highlight[] {
  return highlights.toSorted(compare).slice(0, limit);
}

function textOf(agent: string, { node, message, attempts }: Anomaly): string {
  if (agent === COLLECTOR) return plainText(message);
  if (attempts !== undefined) return attemptsInWords(node, attempts);
  // A quotation that cannot end itself, so that no agent writes in the name of another.
  const quote = plainText(message).replaceAll(QUOTES, "'").slice(0, MAX_QUOTE);
  return `${plainText(node)} reports: "${quote}"`;
}

function attemptsInWords(node: string, { sources, ports }: Attempts): string {
  const from = sources
    .filter(({ prefix }) => parsePrefix(prefix) !== undefined)
    .map(({ prefix, count }) => `${prefix} (${count})`);
  const to = ports.map(({ port, count }) => `${port} (${count})`);
  const parts = [
    `${plainText(node)} reports connection attempts`,
    from.length === 0 ? '' : ` from ${from.join(', ')}`,
    to.length === 0 ? '' : ` to port ${to.join(', ')}`,
  ];
  return parts.join('');
}
