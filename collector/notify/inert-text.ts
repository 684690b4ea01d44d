/**
 * Text of agents, processes and the network, before any receiver puts it into its medium. Whoever wrote it wants it to
 * be shown, and perhaps clicked. Here it loses what acts: control characters, addresses of the web that programs make
 * links of, mentions, and the beginnings of markup. A receiver still escapes for its own medium.
 *
 * Every text of an incident goes through, those too that are added later.
 */
import { plainText } from '../../common/plain-text.ts';
import type { Incident, Notification } from '../store/store.ts';
import type { Notifier } from './notifier.ts';

/** What acts in some medium, and what it becomes. None of these finds anything in what it has made itself. */
const DEFUSED: readonly [pattern: RegExp, replacement: string][] = [
  // Links: `https://…`, `www.…`, `evil.example/path`, `evil.example:8080/?x`; and those of Markdown, `[text](…)`.
  [/:\/\//g, '[:]//'],
  [/\bwww\./gi, 'www[.]'],
  [/(?<=[A-Za-z0-9-])\.(?=(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{1,59})(?::\d{1,5})?[/?#])/g, '[.]'],
  [/\b(mailto|javascript|data|tel|sip):/gi, '$1[:]'],
  [/\]\(/g, '] ('],
  // Mentions: `@here`, `<@U123>`, `<!channel>`, `<at>`; and tags.
  [/(?<!\[)@/g, '[@]'],
  [/<(?=\S)/g, '< '],
];

/** One line that does nothing but be read; of such a line, the same. */
export function inertText(text: string): string {
  return DEFUSED.reduce(
    (line, [pattern, replacement]) => line.replaceAll(pattern, replacement),
    plainText(text),
  );
}

/** An incident whose texts are inert; what it is recognised by stays as it is. */
export function inertIncident(incident: Incident): Incident {
  const { fingerprint } = incident;
  return { ...(inertValue(incident) as Incident), fingerprint };
}

/** A notifier that is given inert texts only. */
export function withInertTexts(notifier: Notifier): Notifier {
  const { batch, reminder } = notifier;
  return {
    ...notifier,
    send: (notification, signal) => notifier.send(inertNotification(notification), signal),
    ...(batch && {
      batch: {
        ...batch,
        send: (notifications, signal) => batch.send(notifications.map(inertNotification), signal),
      },
    }),
    ...(reminder && {
      reminder: {
        ...reminder,
        send: (incidents, signal) => reminder.send(incidents.map(inertIncident), signal),
      },
    }),
  };
}

function inertNotification<Entry extends Notification>(notification: Entry): Entry {
  return { ...notification, incident: inertIncident(notification.incident) };
}

function inertValue(value: unknown): unknown {
  if (typeof value === 'string') return inertText(value);
  if (Array.isArray(value)) return value.map(inertValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inertValue(inner)]));
}
