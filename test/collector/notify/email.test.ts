/** Against a real SMTP server on loopback. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { SMTPServer, type SMTPServerOptions } from 'smtp-server';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createEmailNotifier, type EmailOptions } from '../../../collector/notify/email.ts';
import { systemSockets } from '../../../collector/notify/sockets.ts';
import type { Incident } from '../../../collector/store/store.ts';
import { hasOpenssl, makeCertificate } from '../../support/certificate.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

const PASSWORD = 'PasswordOfTheTest';
const signal = new AbortController().signal;

interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  readonly user: string | undefined;
  readonly isSecure: boolean;
  readonly source: string;
}

const servers: SMTPServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    await new Promise<void>((resolve) => {
      server.close(resolve);
    });
  }
});

/** A server that asks for a login, and keeps what it takes. */
async function openServer(options: SMTPServerOptions): Promise<{ port: number; mails: ReceivedMail[] }> {
  const mails: ReceivedMail[] = [];
  const server = new SMTPServer({
    logger: false,
    onAuth({ username, password }, _session, done) {
      if (username === 'watch' && password === PASSWORD) done(null, { user: username });
      else done(new Error(`${password} is wrong`));
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          from: mailFrom === false ? '' : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          user: session.user as string | undefined,
          isSecure: session.secure,
          source: Buffer.concat(chunks).toString('utf8'),
        });
        done();
      });
    },
    ...options,
  });
  server.on('error', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server.server, 'listening');
  servers.push(server);
  return { port: (server.server.address() as AddressInfo).port, mails };
}

function createNotifier(port: number, changes: Partial<EmailOptions> = {}) {
  return createEmailNotifier({
    host: '127.0.0.1',
    port,
    security: 'starttls',
    username: 'watch',
    password: PASSWORD,
    from: 'plasmawatch <watch@example.com>',
    to: ['ops@example.com', 'Ada <ada@example.org>'],
    sockets: systemSockets,
    ...changes,
  });
}

/** Header fields by lower-case name, continuation lines joined. */
function headersOf(source: string): Map<string, string> {
  const head = source.slice(0, source.indexOf('\r\n\r\n')).replaceAll(/\r\n[ \t]+/g, ' ');
  return new Map(
    head.split('\r\n').map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    }),
  );
}

describe.skipIf(!hasOpenssl)('mail (needs openssl)', () => {
  let tls: { key: string; cert: string };
  beforeAll(async () => {
    tls = await makeCertificate();
  });

  it.each([
    ['starttls', false],
    ['tls', true],
  ] as const)('goes through %s with a login', async (security, secure) => {
    const { port, mails } = await openServer({ ...tls, secure });
    const notifier = createNotifier(port, { security, ca: tls.cert });
    expect(await notifier.send(sampleNotification(), signal)).toEqual({ outcome: 'delivered' });
    expect(mails).toHaveLength(1);
    expect(mails[0]).toMatchObject({
      from: 'watch@example.com',
      to: ['ops@example.com', 'ada@example.org'],
      user: 'watch',
      isSecure: true,
    });
    const source = mails[0]?.source ?? '';
    const headers = headersOf(source);
    expect(Object.fromEntries(headers)).toMatchObject({
      from: 'plasmawatch <watch@example.com>',
      to: 'ops@example.com, Ada <ada@example.org>',
      subject: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1',
      'message-id': '<msg_00000000-0000-4000-8000-000000000001@example.com>',
      'auto-submitted': 'auto-generated',
      'x-plasmawatch-incident': 'INC-1',
    });
    expect(headers.get('content-type')).toMatch(/^multipart\/alternative/);
    expect(source).toContain('Content-Type: text/plain; charset=utf-8');
    expect(source).toContain('Connections: 3 (4.1 KiB)');
    expect(source).toContain('Content-Type: text/html; charset=utf-8');
  });

  it('shows an incident as one thread, and names a mail alike in every attempt', async () => {
    const { port, mails } = await openServer(tls);
    const notifier = createNotifier(port, { ca: tls.cert });
    const resolved: Incident = sampleIncident({ state: 'resolved', resolvedMs: 1 });
    await notifier.send(sampleNotification(), signal);
    await notifier.send(sampleNotification(), signal);
    await notifier.send(sampleNotification({ id: 'msg_2', type: 'resolved', incident: resolved }), signal);
    const [first, again, last] = mails.map(({ source }) => headersOf(source));
    expect(again?.get('message-id')).toBe(first?.get('message-id'));
    expect(last?.get('message-id')).not.toBe(first?.get('message-id'));
    expect(last?.get('references')).toBe(first?.get('references'));
    expect(last?.get('in-reply-to')).toBe(first?.get('references'));
  });

  it('tells many incidents at once where many wait, and is named alike in every attempt', async () => {
    const { port, mails } = await openServer(tls);
    const { batch } = createNotifier(port, { ca: tls.cert });
    const waiting = ['INC-1', 'INC-2', 'INC-1'].map((id, index) =>
      sampleNotification({
        id: `msg_${index}`,
        type: index === 2 ? 'resolved' : 'opened',
        incident: sampleIncident({ id }),
      }),
    );
    await batch.send(waiting, signal);
    await batch.send(waiting, signal);
    const [first, again] = mails.map(({ source }) => headersOf(source));
    expect(first?.get('subject')).toBe('3 messages about 2 incidents: 2 new, 1 resolved');
    expect(again?.get('message-id')).toBe(first?.get('message-id'));
    expect(mails[0]?.source).toContain('New =E2=86=92 Resolved: INC-1 Unexpected peer');
  });

  it('cannot be given another header, whatever an incident says', async () => {
    const { port, mails } = await openServer(tls);
    const incident = sampleIncident({
      title: 'x\r\nBcc: thief@example.net\r\n\r\n<script>alert(1)</script>',
      nodes: ['w1\r\nX-Injected: yes'],
      message: '<img src=x onerror=alert(1)>\r\n.\r\nRCPT TO:<thief@example.net>',
    });
    const notifier = createNotifier(port, { ca: tls.cert });
    expect(await notifier.send(sampleNotification({ incident }), signal)).toEqual({ outcome: 'delivered' });
    expect(mails).toHaveLength(1);
    expect(mails[0]?.to).toEqual(['ops@example.com', 'ada@example.org']);
    const source = mails[0]?.source ?? '';
    expect([...headersOf(source).keys()]).not.toContain('bcc');
    expect([...headersOf(source).keys()]).not.toContain('x-injected');
    const html = source.slice(source.indexOf('text/html'));
    expect(html).not.toMatch(/<script|<img/);
  });

  it('is not sent, nor the password, where the server offers no TLS or shows another certificate', async () => {
    const open = await openServer({ disabledCommands: ['STARTTLS'], hideSTARTTLS: true });
    const strange = await openServer(tls);
    const deliveries = [
      await createNotifier(open.port).send(sampleNotification(), signal),
      await createNotifier(strange.port).send(sampleNotification(), signal),
    ];
    expect(deliveries).toEqual([
      { outcome: 'retry', reason: 'TLS failed, or is not offered' },
      { outcome: 'retry', reason: "the server's certificate is not trusted" },
    ]);
    expect([...open.mails, ...strange.mails]).toEqual([]);
  });

  it('arrives at those whom the server knows, and says how many it does not', async () => {
    const { port, mails } = await openServer({
      ...tls,
      onRcptTo({ address }, _session, done) {
        if (address === 'ops@example.com') done();
        else done(new Error(`550 ${address} has left`));
      },
    });
    expect(await createNotifier(port, { ca: tls.cert }).send(sampleNotification(), signal)).toEqual({
      outcome: 'delivered',
      remark: '1 of 2 addressees were refused',
    });
    expect(mails.map(({ to }) => to)).toEqual([['ops@example.com']]);
  });

  it('is tried again with a login that the server refuses, and says no password', async () => {
    const { port, mails } = await openServer(tls);
    const notifier = createNotifier(port, { ca: tls.cert, password: 'AnotherPassword' });
    const delivery = await notifier.send(sampleNotification(), signal);
    expect(delivery).toEqual({ outcome: 'retry', reason: 'the server refused the login' });
    expect(mails).toEqual([]);
  });
});
