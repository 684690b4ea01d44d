/** A notification in words, for the receivers that people read. Plain text: each receiver escapes it for its medium. */
import { plainText } from '../../common/plain-text.ts';
import { formatSize } from '../../common/units.ts';
import type { Incident, Notification, NotificationType } from '../store/store.ts';

const LISTED_NODES = 10;
const LISTED_MEMBERS = 25;

export interface Wording {
  /** One line. */
  readonly title: string;
  readonly body: string;
}

/** Puts a notification into words; never throws. */
export type Writer = (notification: Notification) => Wording;

/** What happened, in a word. */
export const HAPPENED: Readonly<Record<NotificationType, string>> = {
  opened: 'New',
  escalated: 'Worse',
  updated: 'More',
  repeated: 'Still open',
  reopened: 'Again',
  resolved: 'Resolved',
};

/** `New: Unexpected peer 10.77.9.66 talks to the object manager on w1` */
export function headlineOf({ type, incident }: Notification): string {
  return `${HAPPENED[type]}: ${plainText(incident.title)}`;
}

/** What is known of an incident, as pairs of a name and a value. */
export function factsOf({ incident, heldBack }: Notification): [name: string, value: string][] {
  const { severity, peerCount, service, serviceCount, nodes, nodeCount, count, bytes, kind, highlights } =
    incident;
  const peer = peerCount > 1 ? (highlights[0]?.peer ?? incident.peer) : incident.peer;
  const listed = nodes.slice(0, LISTED_NODES).map(plainText).join(', ');
  const more = nodeCount - Math.min(nodes.length, LISTED_NODES);
  const facts: [string, string | null][] = [
    ['Severity', severity],
    [peerCount > 1 ? 'Peers' : 'Peer', peer === null ? null : andMore(peer, peerCount)],
    [
      serviceCount > 1 ? 'Services' : 'Service',
      service === null ? null : andMore(plainText(service), serviceCount),
    ],
    [nodeCount === 1 ? 'Node' : 'Nodes', more > 0 ? `${listed} and ${more} more` : listed],
    ['Most severe', highlights.length > 1 ? mostSevere(highlights) : null],
    [kind === 'blind' ? 'Lost packets' : 'Connections', `${count} (${formatSize(bytes)})`],
    ['Resolved by', incident.resolvedBy === null ? null : plainText(incident.resolvedBy)],
    ['Held back', heldBack === 0 ? null : `${heldBack} earlier ${heldBack === 1 ? 'message' : 'messages'}`],
  ];
  return facts.filter((fact): fact is [string, string] => fact[1] !== null);
}

/** `10.77.9.66 on w1, object manager (954 MiB); …` */
function mostSevere(highlights: Incident['highlights']): string {
  return highlights
    .slice(0, LISTED_MEMBERS)
    .map(({ peer, node, service, dataBytes }) => {
      const where = `${peer === null ? '' : `${peer} on `}${plainText(node)}`;
      const through = service === null ? '' : `, ${plainText(service)}`;
      return `${where}${through}${dataBytes === 0 ? '' : ` (${formatSize(dataBytes)})`}`;
    })
    .join('; ');
}

function andMore(first: string, count: number): string {
  return count > 1 ? `${first} and ${count - 1} more` : first;
}

/** `INC-1 · unexpected-peer · first … · last …` */
export function seenLine({ id, kind, first, last }: Incident): string {
  return `${id} · ${kind} · first ${first} · last ${last}`;
}

/** The words where nobody gave others. */
export const writePlainly: Writer = (notification) => {
  const { incident } = notification;
  const facts = factsOf(notification).map(([name, value]) => `${name}: ${value}`);
  return {
    title: headlineOf(notification),
    body: [plainText(incident.message), ...facts, seenLine(incident)].join('\n'),
  };
};

/**
 * When and how many waiting messages become one, for receivers that people read: from four on the queue is behind. Nobody
 * reads more than six messages a minute; what happens beyond is in the next one.
 */
export const DIGEST = { minCount: 4, maxCount: 20, budget: { burst: 3, everyMs: 20_000 } } as const;

export interface Digest {
  /** `12 messages about 9 incidents` */
  readonly headline: string;
  /** `7 new, 2 worse, 3 resolved` */
  readonly counts: string;
  /** An incident a line, in the order of their first messages. */
  readonly lines: readonly DigestLine[];
}

export interface DigestLine {
  /** `New → Resolved` */
  readonly happened: string;
  /** `INC-1 Unexpected peer … (critical, 3)`, as the latest message has it. */
  readonly incident: string;
}

/** Many messages as one: all that happened, and each incident once. */
export function digestOf(notifications: readonly Notification[]): Digest {
  const stories = new Map<string, Notification[]>();
  for (const notification of notifications) {
    const { id } = notification.incident;
    stories.set(id, [...(stories.get(id) ?? []), notification]);
  }
  const byType = Object.entries(HAPPENED)
    .map(([type, word]) => [notifications.filter((each) => each.type === type).length, word] as const)
    .filter(([count]) => count > 0)
    .map(([count, word]) => `${count} ${word.toLowerCase()}`);
  return {
    headline: `${notifications.length} messages about ${stories.size} ${stories.size === 1 ? 'incident' : 'incidents'}`,
    counts: byType.join(', '),
    lines: [...stories.values()].map((story) => ({
      happened: story.map(({ type }) => HAPPENED[type]).join(' → '),
      incident: story
        .slice(-1)
        .map(({ incident }) => digestLine(incident))
        .join(''),
    })),
  };
}

function digestLine({ id, title, severity, count }: Incident): string {
  return `${id} ${plainText(title)} (${severity}, ${count})`;
}

/** Cuts a text to `maxLength` UTF-16 units, with an ellipsis, and no character in two. */
export function cutText(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text;
  const kept = text.slice(0, maxLength - 1);
  return `${/[\uD800-\uDBFF]$/.test(kept) ? kept.slice(0, -1) : kept}…`;
}

/** Cuts a text to `maxBytes` in UTF-8, with an ellipsis, and no character in two. */
export function cutBytes(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, 'utf8');
  if (bytes.length <= maxBytes) return text;
  let end = maxBytes - Buffer.byteLength('…');
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return `${bytes.toString('utf8', 0, end)}…`;
}
