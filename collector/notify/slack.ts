/**
 * Slack, through an incoming webhook (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
 *
 * Posted with `fetch` and not with @slack/webhook: that package's errors carry the request with its URL, and the
 * URL is the secret; and a 429's Retry-After must reach the dispatcher. @slack/types gives the shapes only.
 */
import type { ContextBlock, HeaderBlock, SectionBlock } from '@slack/types';
import type { Clock } from '../../common/clock.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Notification } from '../store/store.ts';
import type { Batch, Delivery, Notifier } from './notifier.ts';
import { post, type Fetch } from './post.ts';
import { cutText, DIGEST, digestOf, factsOf, headlineOf, seenLine, type Writer } from './wording.ts';

/** Limits of Block Kit, in characters. */
const MAX_HEADER = 150;
const MAX_SECTION = 3000;
const MAX_CONTEXT = 2000;

/** With twenty such lines a digest is far below the 13,200 characters that Slack takes (slackapi/bolt-js#2509). */
const MAX_DIGEST_LINE = 400;

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
  /** Words in Slack's markup, values escaped, where the settings give some. */
  readonly write?: Writer | undefined;
}

export function createSlackNotifier({ url, fetch, clock, write }: SlackOptions): Notifier & { batch: Batch } {
  const headers = { 'content-type': 'application/json; charset=utf-8' };
  const deliver = async (message: SlackMessage, signal: AbortSignal): Promise<Delivery> => {
    const body = JSON.stringify(message);
    const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
    if (!('text' in result)) return result;
    if (result.text.trim() === ACCEPTED) return { outcome: 'delivered' };
    return { outcome: 'retry', reason: `the answer was not "${ACCEPTED}"` };
  };
  return {
    minIntervalMs: MIN_INTERVAL_MS,
    send: (notification, signal) => deliver(renderSlackMessage(notification, write), signal),
    batch: {
      ...DIGEST,
      send: (notifications, signal) => deliver(renderSlackDigest(notifications), signal),
    },
  };
}

/** The message of a notification, within Slack's limits whatever the incident holds. */
export function renderSlackMessage(notification: Notification, write?: Writer): SlackMessage {
  const { incident } = notification;
  const headline = headlineOf(notification);
  const words = write?.(notification) ?? {
    title: escapeText(headline, MAX_HEADER),
    body: escapeText(details(notification), MAX_SECTION),
  };
  return {
    text: escapeText(`${headline} (${incident.severity})`, MAX_SECTION),
    blocks: [
      headerBlock(words.title),
      sectionBlock(words.body),
      {
        type: 'context',
        elements: [{ type: 'mrkdwn', text: escapeText(seenLine(incident), MAX_CONTEXT), verbatim: true }],
      },
    ],
  };
}

/** One message for many: a line an incident, in the order of their first messages, with all that happened to it. */
export function renderSlackDigest(notifications: readonly Notification[]): SlackMessage {
  const { headline, counts, lines } = digestOf(notifications);
  const texts = lines.map(({ happened, incident }) =>
    escapeText(`• *${happened}*: ${incident}`, MAX_DIGEST_LINE),
  );
  return {
    text: escapeText(`${headline}: ${counts}`, MAX_SECTION),
    blocks: [headerBlock(headline), sectionBlock(counts), ...sectionsOf(texts)],
  };
}

function headerBlock(text: string): HeaderBlock {
  return { type: 'header', text: { type: 'plain_text', text: cutMarkup(text, MAX_HEADER), emoji: false } };
}

/** Verbatim: addresses stay text, and no name in them becomes a mention. */
function sectionBlock(text: string): SectionBlock {
  return { type: 'section', text: { type: 'mrkdwn', text: cutMarkup(text, MAX_SECTION), verbatim: true } };
}

/** As few sections as hold the lines. */
function sectionsOf(lines: readonly string[]): SectionBlock[] {
  const texts: string[] = [];
  for (const line of lines) {
    const last = texts.at(-1);
    if (last === undefined || last.length + 1 + line.length > MAX_SECTION) texts.push(line);
    else texts[texts.length - 1] = `${last}\n${line}`;
  }
  return texts.map(sectionBlock);
}

/** Cuts text in which values are escaped already, and leaves no half of an escape. */
function cutMarkup(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : cutText(text, maxLength).replace(/&[a-z]{0,3}…$/, '…');
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

/** Escapes what Slack's markup treats as control. */
export function escapeValue(text: string): string {
  return text.replaceAll(/[&<>]/g, (character) => ESCAPES[character] ?? '');
}

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

function details(notification: Notification): string {
  const lines = factsOf(notification).map(([name, value]) => `*${name}*: ${value}`);
  return [plainText(notification.incident.message), ...lines].join('\n');
}
