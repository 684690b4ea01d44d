/**
 * Slack, through an incoming webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
 *
 * Posted with `fetch` and not with @slack/webhook: that package's errors carry the request with its URL, and the
 * URL is the secret; and a 429's Retry-After must reach the dispatcher. @slack/types gives the shapes only.
 */
import type { ContextBlock, HeaderBlock, SectionBlock } from '@slack/types';
import type { Clock } from '../../common/clock.ts';
import { formatSize } from '../../common/units.ts';
import { plainText } from '../incident/story.ts';
import type { Incident, Notification } from '../store/store.ts';
import type { Delivery, Notifier } from './notifier.ts';
import { post, type Fetch } from './post.ts';

/** Limits of Block Kit, in characters. */
const MAX_HEADER = 150;
const MAX_SECTION = 3000;
const MAX_CONTEXT = 2000;
const LISTED_NODES = 10;

/** One message a second and webhook is what Slack takes (https://docs.slack.dev/apis/web-api/rate-limits). */
const MIN_INTERVAL_MS = 1000;

/** What Slack says when it took the message; a proxy's page with status 200 is no delivery. */
const ACCEPTED = 'ok';

export interface SlackMessage {
  /** For notifications and screen readers, which show no blocks. */
  readonly text: string;
  readonly blocks: readonly (HeaderBlock | SectionBlock | ContextBlock)[];
}

export interface SlackOptions {
  /** The incoming webhook; secret. */
  readonly url: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
}

export function createSlackNotifier({ url, fetch, clock }: SlackOptions): Notifier {
  const headers = { 'content-type': 'application/json; charset=utf-8' };
  return {
    minIntervalMs: MIN_INTERVAL_MS,
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      const body = JSON.stringify(renderSlackMessage(notification));
      const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
      if (!('text' in result)) return result;
      if (result.text.trim() === ACCEPTED) return { outcome: 'delivered' };
      return { outcome: 'retry', reason: `the answer was not "${ACCEPTED}"` };
    },
  };
}

/** The message of a notification, within Slack's limits whatever the incident holds. */
export function renderSlackMessage({ type, incident }: Notification): SlackMessage {
  const headline = `${HEADLINES[type]}: ${incident.title}`;
  const seen = `${incident.id} · ${incident.kind} · first ${incident.first} · last ${incident.last}`;
  return {
    text: escapeText(`${headline} (${incident.severity})`, MAX_SECTION),
    blocks: [
      {
        type: 'header',
        text: { type: 'plain_text', text: escapeText(headline, MAX_HEADER), emoji: false },
      },
      {
        type: 'section',
        // Verbatim: addresses stay text, and no name in them becomes a mention.
        text: { type: 'mrkdwn', text: escapeText(details(incident), MAX_SECTION), verbatim: true },
      },
      {
        type: 'context',
        elements: [{ type: 'mrkdwn', text: escapeText(seen, MAX_CONTEXT), verbatim: true }],
      },
    ],
  };
}

/** Escapes what Slack's markup treats as control (&, <, >) and cuts to `maxLength` without cutting an escape. */
export function escapeText(text: string, maxLength: number): string {
  let escaped = '';
  for (const character of text) {
    const next = ESCAPES[character] ?? character;
    if (escaped.length + next.length > maxLength - 1) return `${escaped}…`;
    escaped += next;
  }
  return escaped;
}

const HEADLINES = { opened: 'New', escalated: 'Worse', resolved: 'Resolved' } as const;
const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

function details(incident: Incident): string {
  const { message, severity, peer, service, nodes, nodeCount, count, bytes } = incident;
  const listed = nodes.slice(0, LISTED_NODES).map(plainText).join(', ');
  const more = nodeCount - Math.min(nodes.length, LISTED_NODES);
  const what = incident.kind === 'blind' ? 'Lost packets' : 'Connections';
  const facts = [
    ['Severity', severity],
    ['Peer', peer],
    ['Service', service === null ? null : plainText(service)],
    [nodeCount === 1 ? 'Node' : 'Nodes', more > 0 ? `${listed} and ${more} more` : listed],
    [what, `${count} (${formatSize(bytes)})`],
  ];
  const lines = facts.filter(([, value]) => value !== null).map(([name, value]) => `*${name}*: ${value}`);
  return [plainText(message), ...lines].join('\n');
}
