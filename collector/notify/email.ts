/**
 * E-mail, through an SMTP server, with nodemailer. TLS is required unless the server is on this machine; connections
 * are opened here, so that an attempt that takes too long can be cut. What the server answers stays unsaid: it may
 * quote addresses and credentials.
 */
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { createTransport } from 'nodemailer';
import type SMTPTransport from 'nodemailer/lib/smtp-transport';
import { systemCodeOf } from '../../common/errors.ts';
import { plainText } from '../../common/plain-text.ts';
import type { Notification } from '../store/store.ts';
import { connectionFault } from './fault.ts';
import type { Batch, Delivery, Notifier } from './notifier.ts';
import type { Sockets } from './sockets.ts';
import { cutText, DIGEST, digestOf, writePlainly, type Writer } from './wording.ts';

/** Each step of the conversation; the dispatcher bounds the whole. */
const STEP_TIMEOUT_MS = 10_000;
const MAX_SUBJECT = 200;
const MIN_INTERVAL_MS = 1000;

export interface EmailOptions {
  readonly host: string;
  readonly port: number;
  /** `tls` from the first byte on, `starttls` without which nothing is sent, or `none`. */
  readonly security: 'tls' | 'starttls' | 'none';
  /** PEM of the authority that signed the server's certificate; the system's authorities when not given. */
  readonly ca?: string | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly from: string;
  readonly to: readonly string[];
  readonly sockets: Sockets;
  readonly write?: Writer | undefined;
}

export function createEmailNotifier(options: EmailOptions): Notifier & { batch: Batch } {
  const { from, to, write = writePlainly } = options;
  const deliver = async (mail: Mail, signal: AbortSignal): Promise<Delivery> => {
    const connection = new Connection(options, signal);
    try {
      const { rejected } = await connection.transport.sendMail({
        ...mail,
        from,
        to: [...to],
        subject: cutText(plainText(mail.subject), MAX_SUBJECT),
        html: htmlOf(mail.subject, mail.text),
        disableFileAccess: true,
        disableUrlAccess: true,
      });
      // Sent again to all it would come twice to most; kept for one, it would hold up all that follow.
      return rejected.length === 0
        ? { outcome: 'delivered' }
        : { outcome: 'delivered', remark: `${rejected.length} of ${to.length} addressees were refused` };
    } catch (error) {
      return signal.aborted ? { outcome: 'retry', reason: 'no answer in time' } : refusal(error);
    } finally {
      connection.close();
    }
  };
  const domain = domainOf(from);
  return {
    minIntervalMs: MIN_INTERVAL_MS,
    send: (notification, signal) => deliver(mailOf(notification, write, domain), signal),
    batch: { ...DIGEST, send: (notifications, signal) => deliver(digestMail(notifications, domain), signal) },
  };
}

interface Mail {
  readonly subject: string;
  readonly text: string;
  /** The same in every attempt, so that mail programs drop repeats. */
  readonly messageId: string;
  readonly references?: string[];
  readonly inReplyTo?: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** The mails of an incident are one thread. */
function mailOf(notification: Notification, write: Writer, domain: string): Mail {
  const { id, type, incident } = notification;
  const { title, body } = write(notification);
  const thread = `<${incident.id}.${hashOf(incident.fingerprint)}@${domain}>`;
  return {
    subject: title,
    text: body,
    messageId: `<${id}@${domain}>`,
    references: [thread],
    ...(type === 'opened' ? {} : { inReplyTo: thread }),
    headers: { ...AUTOMATIC, 'X-Plasmawatch-Incident': incident.id },
  };
}

function digestMail(notifications: readonly Notification[], domain: string): Mail {
  const { headline, counts, lines } = digestOf(notifications);
  const texts = lines.map(({ happened, incident }) => `${happened}: ${incident}`);
  return {
    subject: `${headline}: ${counts}`,
    text: texts.join('\n'),
    messageId: `<digest.${hashOf(notifications.map(({ id }) => id).join(' '))}@${domain}>`,
    headers: AUTOMATIC,
  };
}

/** RFC 3834: no program shall answer. */
const AUTOMATIC = { 'Auto-Submitted': 'auto-generated' };

/** One conversation with the server, which ends when the signal says so. */
class Connection {
  readonly transport: ReturnType<typeof createTransport<SMTPTransport.SentMessageInfo>>;
  readonly #signal: AbortSignal;
  readonly #cut = (): void => {
    this.#socket?.destroy(new Error('aborted'));
  };
  #socket: Socket | undefined;

  constructor({ host, port, security, ca, username, password, sockets }: EmailOptions, signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', this.#cut);
    this.transport = createTransport({
      host,
      port,
      secure: security === 'tls',
      requireTLS: security === 'starttls',
      ignoreTLS: security === 'none',
      tls: { minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) },
      ...(username === undefined || password === undefined
        ? {}
        : { auth: { user: username, pass: password } }),
      connectionTimeout: STEP_TIMEOUT_MS,
      greetingTimeout: STEP_TIMEOUT_MS,
      socketTimeout: STEP_TIMEOUT_MS,
      getSocket: (_options, done) => {
        if (signal.aborted) {
          done(new Error('aborted'), undefined);
          return;
        }
        const socket = sockets.connectTcp({ host, port });
        this.#socket = socket;
        const fail = (error: Error): void => done(error, undefined);
        socket.once('error', fail);
        socket.once('connect', () => {
          socket.off('error', fail);
          done(null, { connection: socket });
        });
      },
    });
  }

  close(): void {
    this.#signal.removeEventListener('abort', this.#cut);
    this.transport.close();
    this.#socket?.destroy();
  }
}

/** By the code of the failure only. Logins, addresses and certificates can be mended; a mail that is refused for what it holds cannot. */
function refusal(error: unknown): Delivery {
  const code = systemCodeOf(error);
  const status = statusOf(error);
  if (code === 'EAUTH') return { outcome: 'retry', reason: 'the server refused the login' };
  if (code === 'ETLS') return { outcome: 'retry', reason: 'TLS failed, or is not offered' };
  if (isAboutCertificate(error))
    return { outcome: 'retry', reason: "the server's certificate is not trusted" };
  if (status !== undefined && status >= 500 && isAboutContent(error)) {
    return { outcome: 'rejected', reason: `SMTP status ${status}` };
  }
  if (status !== undefined) return { outcome: 'retry', reason: `SMTP status ${status}` };
  return { outcome: 'retry', reason: connectionFault(error) };
}

/** Whether the server had the mail, or was about to get it: it has taken the login, the sender and an addressee. */
function isAboutContent(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'command' in error && error.command === 'DATA';
}

/** nodemailer puts its own code in the place of OpenSSL's. */
function isAboutCertificate(error: unknown): boolean {
  return error instanceof Error && /certificate|altnames/i.test(error.message);
}

function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('responseCode' in error)) return undefined;
  const { responseCode } = error;
  return typeof responseCode === 'number' && responseCode >= 400 && responseCode < 600
    ? responseCode
    : undefined;
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** Of `ops@example.com` or `plasmawatch <ops@example.com>`. */
function domainOf(address: string): string {
  return /@([A-Za-z0-9.-]+)>?$/.exec(address)?.[1] ?? 'plasmawatch.invalid';
}

function htmlOf(title: string, body: string): string {
  const lines = body.split('\n').map(escapeHtml).join('<br>\n');
  return `<!doctype html>\n<html><body><h3>${escapeHtml(title)}</h3>\n<p>${lines}</p></body></html>\n`;
}

function escapeHtml(text: string): string {
  const entities: Readonly<Record<string, string>> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
  };
  return text.replaceAll(/[&<>"]/g, (character) => entities[character] ?? '');
}
