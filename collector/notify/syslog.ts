/**
 * Syslog: RFC 5424 messages over TLS (RFC 5425), or over TCP and UDP on this machine.
 *
 * No package: those there are call a message sent when it stands in a socket's buffer.
 *
 * Syslog has no acknowledgement. A message counts as delivered when the server has taken everything, has not ended the
 * connection by itself for a moment, and then ends it after us. So each attempt is a connection of its own, and what
 * waits goes through one together.
 */
import { isIPv6, type Socket } from 'node:net';
import type { Clock, Timer } from '../../common/clock.ts';
import type { Severity } from '../../common/event.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Notification } from '../store/store.ts';
import { connectionFault } from './fault.ts';
import { formatNotification, type Format } from './format/format.ts';
import type { Batch, Delivery, Notifier } from './notifier.ts';
import type { Sockets } from './sockets.ts';
import { cutBytes, headlineOf } from './wording.ts';

/** What RFC 5425 (section 4.3.1) asks receivers over TLS to take at least; bytes. */
export const MAX_MESSAGE_BYTES = 8192;
const MAX_PARAMETER_BYTES = 256;
const BATCH = { minCount: 2, maxCount: 100 } as const;
/** A server that goes away ends the connection within this time after the messages, usually; one that reads them does not. */
const SETTLE_MS = 200;
/** How long a server may keep its end open after ours. */
const CLOSE_WAIT_MS = 2000;
const NIL = '-';
/** RFC 5612 keeps this number for examples: plasmawatch has none of its own. */
const STRUCTURED_DATA_ID = 'plasmawatch@32473';

export const FACILITIES = {
  daemon: 3,
  auth: 4,
  authpriv: 10,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const;
export type Facility = keyof typeof FACILITIES;

/** RFC 5424, section 6.2.1: critical 2, warning 4, notice 5, informational 6. */
const SEVERITY_NUMBERS: Readonly<Record<Severity, number>> = { info: 6, warning: 4, critical: 2 };
const NOTICE = 5;

export interface SyslogOptions {
  readonly host: string;
  readonly port: number;
  readonly transport: 'tls' | 'tcp' | 'udp';
  /** PEM of the authority that signed the server's certificate; the system's authorities when not given. */
  readonly ca?: string | undefined;
  /** PEM of our own certificate and its key, where the server asks for one. */
  readonly identity?: { readonly cert: string; readonly key: string } | undefined;
  readonly facility: Facility;
  /** Of the message: a line for people, or a document. */
  readonly format: Format | 'text';
  /** This machine's name. */
  readonly hostname: string;
  readonly sockets: Sockets;
  readonly clock: Clock;
}

export function createSyslogNotifier(options: SyslogOptions): Notifier & { batch: Batch } {
  const deliver = async (notifications: readonly Notification[], signal: AbortSignal): Promise<Delivery> => {
    if (signal.aborted) return { outcome: 'retry', reason: 'no answer in time' };
    const messages = notifications.map((notification) => renderSyslogMessage(notification, options));
    try {
      if (options.transport === 'udp') await sendDatagrams(messages, options, signal);
      else await sendFrames(messages, options, signal);
      return { outcome: 'delivered' };
    } catch (error) {
      return { outcome: 'retry', reason: signal.aborted ? 'no answer in time' : connectionFault(error) };
    }
  };
  return {
    minIntervalMs: 0,
    send: (notification, signal) => deliver([notification], signal),
    batch: { ...BATCH, send: deliver },
  };
}

type MessageOptions = Pick<SyslogOptions, 'facility' | 'format' | 'hostname'>;

/** One message of RFC 5424, without framing, at most `MAX_MESSAGE_BYTES` in UTF-8. */
export function renderSyslogMessage(
  notification: Notification,
  { facility, format, hostname }: MessageOptions,
): string {
  const { type, incident, createdMs } = notification;
  const severity = type === 'resolved' ? NOTICE : SEVERITY_NUMBERS[incident.severity];
  const header = [
    `<${FACILITIES[facility] * 8 + severity}>1`,
    new Date(createdMs).toISOString(),
    printable(hostname, 255),
    'plasmawatch',
    NIL,
    printable(`incident-${type}`, 32),
    structuredData(notification),
  ].join(' ');
  const text =
    format === 'text'
      ? plainText(`${headlineOf(notification)}: ${incident.message}`)
      : formatNotification(format, notification);
  // A byte order mark says that the message is UTF-8 (section 6.4).
  return cutBytes(`${header} \uFEFF${text}`, MAX_MESSAGE_BYTES);
}

function structuredData({ id, incident }: Notification): string {
  const parameters: [string, string | null][] = [
    ['message', id],
    ['incident', incident.id],
    ['kind', incident.kind],
    ['severity', incident.severity],
    ['state', incident.state],
    ['peer', incident.peer],
    ['service', incident.service],
    ['node', incident.nodes[0] ?? null],
    ['nodes', String(incident.nodeCount)],
    ['count', String(incident.count)],
    ['bytes', String(incident.bytes)],
  ];
  const told = parameters.filter((parameter): parameter is [string, string] => parameter[1] !== null);
  return `[${[STRUCTURED_DATA_ID, ...told.map(([name, value]) => `${name}="${parameterValue(value)}"`)].join(' ')}]`;
}

/** Section 6.3.3: `"`, `\` and `]` are escaped. */
function parameterValue(value: string): string {
  return cutBytes(plainText(value), MAX_PARAMETER_BYTES).replaceAll(/["\\\]]/g, String.raw`\$&`);
}

/** PRINTUSASCII, or the NILVALUE. */
function printable(text: string, maxLength: number): string {
  return text.replaceAll(/[^\x21-\x7e]/g, '').slice(0, maxLength) || NIL;
}

/** Octet counting (RFC 5425, section 4.3; RFC 6587, section 3.4.1). */
async function sendFrames(
  messages: readonly string[],
  { host, port, transport, ca, identity, sockets, clock }: SyslogOptions,
  signal: AbortSignal,
): Promise<void> {
  const frames = messages.map((message) => `${Buffer.byteLength(message)} ${message}`).join('');
  const socket =
    transport === 'tcp'
      ? sockets.connectTcp({ host, port })
      : sockets.connectTls({
          host,
          port,
          minVersion: 'TLSv1.2',
          ...(isAddress(host) ? {} : { servername: host }),
          ...(ca === undefined ? {} : { ca }),
          ...identity,
        });
  const cut = (): void => {
    socket.destroy(new Error('aborted'));
  };
  signal.addEventListener('abort', cut);
  try {
    await finish(socket, transport === 'tcp' ? 'connect' : 'secureConnect', frames, clock);
  } finally {
    signal.removeEventListener('abort', cut);
    socket.destroy();
  }
}

/** Writes everything once the connection stands, ends, and waits for the other side to end as well. */
async function finish(
  socket: Socket,
  opened: 'connect' | 'secureConnect',
  text: string,
  clock: Clock,
): Promise<void> {
  const timers: Timer[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      const refuse = (): void => reject(new Error('closed early'));
      socket.on('error', reject);
      socket.once('end', refuse);
      socket.once('close', refuse);
      // What the server says is not read, but must be taken off for its end to be seen.
      socket.resume();
      const end = (): void => {
        socket.off('end', refuse).off('close', refuse);
        socket.once('close', () => resolve());
        socket.end();
        timers.push(clock.after(CLOSE_WAIT_MS, resolve));
      };
      socket.once(opened, () => {
        socket.write(text, () => timers.push(clock.after(SETTLE_MS, end)));
      });
    });
  } finally {
    for (const timer of timers) timer.cancel();
  }
}

async function sendDatagrams(
  messages: readonly string[],
  { host, port, sockets }: SyslogOptions,
  signal: AbortSignal,
): Promise<void> {
  const socket = sockets.openUdp(isIPv6(host) ? 'udp6' : 'udp4');
  try {
    for (const message of messages) {
      signal.throwIfAborted();
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.send(message, port, host, (error) => (error === null ? resolve() : reject(error)));
      });
    }
  } finally {
    socket.close();
  }
}

function isAddress(host: string): boolean {
  return isIPv6(host) || /^[\d.]+$/.test(host);
}
