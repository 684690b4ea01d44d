/**
 * Microsoft Teams, through a webhook of Workflows ("Post to a channel when a webhook request is received") with an
 * Adaptive Card (https://learn.microsoft.com/power-automate/teams/send-a-message-in-teams). The URL holds the signature
 * that authorizes, so it is a secret.
 */
import type { Clock } from '../../common/clock.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Notification } from '../store/store.ts';
import type { Batch, Delivery, Notifier } from './notifier.ts';
import { isPage, post, type Fetch } from './post.ts';
import { cutBytes, DIGEST, digestOf, factsOf, headlineOf, seenLine, type Writer } from './wording.ts';

/** Teams takes messages up to 28 KB; what is cut is the text, which is kept far below. Bytes. */
const MAX_TITLE_BYTES = 1000;
const MAX_TEXT_BYTES = 12_000;
const MAX_FACT_BYTES = 1000;
const MAX_LINE_BYTES = 500;
/** Teams throttles a connector at four requests a second. */
const MIN_INTERVAL_MS = 1000;

export interface TeamsOptions {
  /** The workflow's URL; secret. */
  readonly url: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** Words in Markdown, values escaped, where the settings give some. */
  readonly write?: Writer | undefined;
}

export function createTeamsNotifier({ url, fetch, clock, write }: TeamsOptions): Notifier & { batch: Batch } {
  const headers = { 'content-type': 'application/json' };
  const deliver = async (message: object, signal: AbortSignal): Promise<Delivery> => {
    const body = JSON.stringify(message);
    const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
    if (!('text' in result)) return result;
    const fault = faultIn(result.text);
    return fault === undefined ? { outcome: 'delivered' } : { outcome: 'retry', reason: fault };
  };
  return {
    minIntervalMs: MIN_INTERVAL_MS,
    send: (notification, signal) => deliver(renderTeamsMessage(notification, write), signal),
    batch: {
      ...DIGEST,
      send: (notifications, signal) => deliver(renderTeamsDigest(notifications), signal),
    },
  };
}

/** Teams' connectors answer 200 and tell the failure in the text; a page of HTML is a proxy's. */
function faultIn(text: string): string | undefined {
  const status = /HTTP error (\d{3})/i.exec(text)?.[1];
  if (status !== undefined) return `Teams answered HTTP error ${status}`;
  return isPage(text) ? 'the answer was a page, not that of a workflow' : undefined;
}

/** A message with one Adaptive Card, within the limits whatever the incident holds. */
export function renderTeamsMessage(notification: Notification, write?: Writer): object {
  const { incident } = notification;
  const words = write?.(notification) ?? {
    title: escapeMarkdown(headlineOf(notification)),
    body: escapeMarkdown(plainText(incident.message)),
  };
  const color = { info: 'Accent', warning: 'Warning', critical: 'Attention' }[incident.severity];
  const facts = factsOf(notification).map(([title, value]) => ({
    title,
    value: cutBytes(escapeMarkdown(value), MAX_FACT_BYTES),
  }));
  return cardOf([
    titleBlock(words.title, notification.type === 'resolved' ? 'Good' : color),
    textBlock(words.body),
    { type: 'FactSet', facts },
    { ...textBlock(escapeMarkdown(seenLine(incident))), isSubtle: true, size: 'Small' },
  ]);
}

/** One message for many: a line an incident, in the order of their first messages, with all that happened to it. */
export function renderTeamsDigest(notifications: readonly Notification[]): object {
  const { headline, counts, lines } = digestOf(notifications);
  const texts = lines.map(({ happened, incident }) =>
    cutBytes(`- **${happened}**: ${escapeMarkdown(incident)}`, MAX_LINE_BYTES),
  );
  return cardOf([titleBlock(headline, 'Attention'), textBlock(counts), textBlock(texts.join('\n'))]);
}

function titleBlock(text: string, color: string): object {
  const title = cutBytes(text, MAX_TITLE_BYTES);
  return { type: 'TextBlock', text: title, weight: 'Bolder', size: 'Medium', wrap: true, color };
}

function textBlock(text: string): object {
  return { type: 'TextBlock', text: cutBytes(text, MAX_TEXT_BYTES), wrap: true };
}

function cardOf(body: readonly object[]): object {
  const content = {
    $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
    type: 'AdaptiveCard',
    version: '1.4',
    body,
  };
  return {
    type: 'message',
    attachments: [{ contentType: 'application/vnd.microsoft.card.adaptive', contentUrl: null, content }],
  };
}

/** Makes the characters of the cards' Markdown ordinary ones, and of `<at>` too, with which a name becomes a mention. */
export function escapeMarkdown(text: string): string {
  return text.replaceAll(/[\\`*_[\]#<>~|]/g, String.raw`\$&`);
}
