/**
 * Microsoft Teams, through a webhook of Workflows ("Post to a channel when a webhook request is received") with an
 * Adaptive Card (https://learn.microsoft.com/power-automate/teams/send-a-message-in-teams). The URL holds the signature
 * that authorizes, so it is a secret.
 */
import type { Clock } from '../../common/clock.ts';
import type { Notification } from '../store/store.ts';
import type { Delivery, Notifier } from './notifier.ts';
import { isPage, post, type Fetch } from './post.ts';
import { cutBytes, factsOf, headlineOf, seenLine, type Writer } from './wording.ts';

/** Teams takes messages up to 28 KB; what is cut is the text, which is kept far below. Bytes. */
const MAX_TITLE_BYTES = 1000;
const MAX_TEXT_BYTES = 12_000;
const MAX_FACT_BYTES = 1000;
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

export function createTeamsNotifier({ url, fetch, clock, write }: TeamsOptions): Notifier {
  const headers = { 'content-type': 'application/json' };
  return {
    minIntervalMs: MIN_INTERVAL_MS,
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      const body = JSON.stringify(renderTeamsMessage(notification, write));
      const result = await post({ fetch, url, headers, body, signal, nowMs: clock.now() });
      if (!('text' in result)) return result;
      const fault = faultIn(result.text);
      return fault === undefined ? { outcome: 'delivered' } : { outcome: 'retry', reason: fault };
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
    body: escapeMarkdown(incident.message),
  };
  const color = { info: 'Accent', warning: 'Warning', critical: 'Attention' }[incident.severity];
  return {
    type: 'message',
    attachments: [
      {
        contentType: 'application/vnd.microsoft.card.adaptive',
        contentUrl: null,
        content: {
          $schema: 'http://adaptivecards.io/schemas/adaptive-card.json',
          type: 'AdaptiveCard',
          version: '1.4',
          body: [
            {
              type: 'TextBlock',
              text: cutBytes(words.title, MAX_TITLE_BYTES),
              weight: 'Bolder',
              size: 'Medium',
              wrap: true,
              color: notification.type === 'resolved' ? 'Good' : color,
            },
            { type: 'TextBlock', text: cutBytes(words.body, MAX_TEXT_BYTES), wrap: true },
            {
              type: 'FactSet',
              facts: factsOf(incident).map(([title, value]) => ({
                title,
                value: cutBytes(escapeMarkdown(value), MAX_FACT_BYTES),
              })),
            },
            {
              type: 'TextBlock',
              text: cutBytes(escapeMarkdown(seenLine(incident)), MAX_FACT_BYTES),
              isSubtle: true,
              size: 'Small',
              wrap: true,
            },
          ],
        },
      },
    ],
  };
}

/** Makes the characters of the cards' Markdown ordinary ones, and of `<at>` too, with which a name becomes a mention. */
export function escapeMarkdown(text: string): string {
  return text.replaceAll(/[\\`*_[\]#<>~|]/g, String.raw`\$&`);
}
