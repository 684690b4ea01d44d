/** The same cases for every notifier: how answers are understood, and that nothing secret comes out. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import { createNotifier } from '../../../collector/notify/notifier-factory.ts';
import type { Delivery, Notifier } from '../../../collector/notify/notifier.ts';
import type { ReceiverSecrets } from '../../../collector/notify/receiver-secrets.ts';
import { receiversSchema } from '../../../collector/notify/receivers.ts';
import { systemSockets } from '../../../collector/notify/sockets.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';
import { HttpReceiver, type Answer } from '../../support/http-receiver.ts';
import { cut, scripted, take, TcpReceiver, type Behaviour } from '../../support/tcp-receiver.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';
const SIGNING_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const ROUTING_KEY = 'R0SECRETKeyOfTheIntegration';
const SECRETS = /SECRET|TokenOfTheChannel|whsec_|MfKQ9r8GKYqr|127\.0\.0\.1/;

/** A notifier as the collector makes it, from settings as a file has them. */
function make(settings: object, secrets: ReceiverSecrets = {}, stdout?: Writable): Notifier {
  const [receiver] = receiversSchema.parse([{ name: 'ops', ...settings }]);
  if (receiver === undefined) throw new Error('no receiver');
  const outside = { fetch, clock: systemClock, sockets: systemSockets, stdout, hostname: 'watch' };
  return createNotifier(receiver, secrets, outside);
}

const never = (): AbortSignal => new AbortController().signal;

interface HttpKit {
  /** What the receiver answers when it took the message. */
  readonly accepts: Answer;
  /** A bad body with a status of success, and what is made of it. */
  readonly misleading: readonly [Answer, Delivery];
  /** What must not come out of a hostile incident as it came in. */
  readonly harmful: string;
  readonly create: (url: string) => Notifier;
}

const PAGE = '<html>please log in SECRET</html>';

const httpNotifiers: Record<string, HttpKit> = {
  slack: {
    accepts: { status: 200, body: 'ok' },
    misleading: [
      { status: 200, body: PAGE },
      { outcome: 'retry', reason: 'the answer was not "ok"' },
    ],
    harmful: '<!channel>',
    create: (url) => make({ type: 'slack', url }, { url }),
  },
  webhook: {
    accepts: { status: 204 },
    // By the standard every 2xx is a delivery.
    misleading: [{ status: 200, body: PAGE }, { outcome: 'delivered' }],
    harmful: '\r\n',
    create: (url) => make({ type: 'webhook', url, secretFile: 'x' }, { url, signingSecret: SIGNING_SECRET }),
  },
  alertmanager: {
    accepts: { status: 200 },
    misleading: [
      { status: 200, body: PAGE },
      { outcome: 'retry', reason: 'the answer was a page, not that of Alertmanager' },
    ],
    harmful: '\\r\\nX-Injected',
    create: (url) => make({ type: 'alertmanager', url }, { url, token: 'SECRET-bearer' }),
  },
  pagerduty: {
    accepts: { status: 202, body: '{"status":"success"}' },
    misleading: [
      { status: 200, body: PAGE },
      { outcome: 'retry', reason: 'HTTP status 200: expected 202' },
    ],
    harmful: '\r\n',
    create: (url) => make({ type: 'pagerduty', url, routingKeyFile: 'x' }, { routingKey: ROUTING_KEY }),
  },
  teams: {
    accepts: { status: 202 },
    misleading: [
      { status: 200, body: 'Webhook message delivery failed with error: HTTP error 429 with SECRET' },
      { outcome: 'retry', reason: 'Teams answered HTTP error 429' },
    ],
    harmful: '<at>',
    create: (url) => make({ type: 'teams', url }, { url }),
  },
};

describe.each(Object.entries(httpNotifiers))('the %s notifier', (name, { accepts, misleading, create }) => {
  let receiver: HttpReceiver;
  let notifier: Notifier;

  beforeEach(async () => {
    receiver = await HttpReceiver.open();
    receiver.answers = [accepts];
    notifier = create(receiver.url(SECRET_PATH));
  });
  afterEach(() => receiver.close());

  const send = (signal = never()): Promise<Delivery> => notifier.send(sampleNotification(), signal);

  it('delivers one POST of JSON', async () => {
    expect(await send()).toEqual({ outcome: 'delivered' });
    expect(receiver.requests).toHaveLength(1);
    expect(receiver.requests[0]?.path).toBe(
      `${SECRET_PATH}${name === 'alertmanager' ? '/api/v2/alerts' : ''}`,
    );
    expect(receiver.requests[0]?.headers['content-type']).toMatch(/^application\/json/);
    expect(JSON.parse(receiver.requests[0]?.body ?? '')).toBeTypeOf('object');
  });

  it.each([
    [
      { status: 429, headers: { 'retry-after': '7' } },
      { outcome: 'retry', reason: 'HTTP status 429', afterMs: 7000 },
    ],
    [
      { status: 500, body: `token ${SECRET_PATH}` },
      { outcome: 'retry', reason: 'HTTP status 500' },
    ],
    [
      { status: 503, headers: { 'retry-after': 'soon' } },
      { outcome: 'retry', reason: 'HTTP status 503' },
    ],
    [
      { status: 400, body: SIGNING_SECRET },
      { outcome: 'rejected', reason: 'HTTP status 400', isGone: false },
    ],
    [{ status: 413 }, { outcome: 'rejected', reason: 'HTTP status 413', isGone: false }],
    [{ status: 401 }, { outcome: 'retry', reason: 'HTTP status 401' }],
    [{ status: 404 }, { outcome: 'retry', reason: 'HTTP status 404' }],
    [{ status: 410 }, { outcome: 'rejected', reason: 'HTTP status 410', isGone: true }],
  ])('understands %j', async (answer, delivery) => {
    receiver.answers = [answer];
    expect(await send()).toEqual(delivery);
  });

  it('takes a misleading answer for what it is', async () => {
    const [answer, delivery] = misleading;
    receiver.answers = [answer];
    expect(await send()).toEqual(delivery);
  });

  it('follows no redirect', async () => {
    receiver.answers = [{ status: 307, headers: { location: receiver.url('/elsewhere') } }];
    expect(await send()).toEqual({
      outcome: 'retry',
      reason: 'HTTP status 307: redirects are not followed',
    });
    expect(receiver.requests).toHaveLength(1);
  });

  it('tries again after a connection that was cut', async () => {
    receiver.answers = ['cut'];
    expect(await send()).toMatchObject({
      outcome: 'retry',
      reason: expect.stringMatching(/^connection failed/),
    });
  });

  it.each<Answer>(['silence', { status: 200, body: 'o', isEndless: true }])(
    'tries again when the answer does not come, or does not end, in time: %j',
    async (answer) => {
      receiver.answers = [answer];
      const controller = new AbortController();
      const sent = send(controller.signal);
      await expect.poll(() => receiver.requests.length).toBe(1);
      controller.abort();
      expect(await sent).toEqual({ outcome: 'retry', reason: 'no answer in time' });
    },
  );

  it('sends nothing when it is too late already', async () => {
    expect(await send(AbortSignal.abort())).toEqual({ outcome: 'retry', reason: 'no answer in time' });
    expect(receiver.requests).toEqual([]);
  });

  it('reads only the start of a huge answer', async () => {
    receiver.answers = [{ status: 500, body: 'x'.repeat(5_000_000) }];
    expect(await send()).toMatchObject({ outcome: 'retry', reason: 'HTTP status 500' });
    receiver.answers = [{ status: 500, body: 'x'.repeat(100_000), isEndless: true }];
    expect(await send()).toMatchObject({ outcome: 'retry', reason: 'HTTP status 500' });
  });

  it('never says a secret, whatever goes wrong', async () => {
    const outcomes: Delivery[] = [];
    for (const answer of [
      { status: 500, body: SECRET_PATH },
      { status: 403, body: SIGNING_SECRET },
      { status: 302, headers: { location: receiver.url(SECRET_PATH) } },
      'cut' as const,
    ]) {
      receiver.answers = [answer];
      outcomes.push(await send());
    }
    outcomes.push(await create(`http://127.0.0.1:1${SECRET_PATH}`).send(sampleNotification(), never()));
    outcomes.push(await create(`http://SECRET.invalid${SECRET_PATH}`).send(sampleNotification(), never()));
    expect(outcomes.filter(({ outcome }) => outcome === 'delivered')).toEqual([]);
    expect(JSON.stringify(outcomes)).not.toMatch(SECRETS);
  });
});

describe.each(Object.entries(httpNotifiers))('the %s notifier', (_name, { accepts, create, harmful }) => {
  it('delivers what a hostile incident says, and makes it harmless', async () => {
    const incident = sampleIncident({
      title: '<!channel> <at>all</at>\r\nBcc: everybody@example.com "quoted" ]\\',
      message: '# **shout** [link](http://192.0.2.1) <img src=x>\u0000\u202e',
      nodes: ['w1\r\nX-Injected: yes'],
      service: 'object-manager\n',
    });
    const receiver = await HttpReceiver.open();
    try {
      receiver.answers = [accepts];
      const notifier = create(receiver.url('/'));
      expect(await notifier.send(sampleNotification({ incident }), never())).toEqual({
        outcome: 'delivered',
      });
      expect(receiver.requests[0]?.headers).not.toHaveProperty('x-injected');
      expect(receiver.requests[0]?.body).not.toContain(harmful);
    } finally {
      await receiver.close();
    }
  });
});

const LOGIN_OFFERED = '250-hello\r\n250 AUTH PLAIN LOGIN';

interface SocketKit {
  readonly accepts: Behaviour;
  readonly create: (port: number) => Notifier;
  /** What the server may say, and what is made of it. */
  readonly answers: readonly (readonly [string, Behaviour, Delivery])[];
}

const email = (port: number): Notifier =>
  make(
    {
      type: 'email',
      host: '127.0.0.1',
      port,
      security: 'none',
      username: 'watch',
      passwordFile: 'x',
      from: 'plasmawatch <watch@example.com>',
      to: ['ops@example.com'],
    },
    { password: 'SECRET-of-mail' },
  );

const smtp = (answers: Record<string, string>): Behaviour =>
  scripted('220 ready', {
    EHLO: LOGIN_OFFERED,
    AUTH: '235 welcome',
    DATA: '354 go on',
    'CONTENT-': '',
    ...answers,
  });

const socketNotifiers: Record<string, SocketKit> = {
  email: {
    accepts: smtp({}),
    create: email,
    answers: [
      ['is busy', scripted('421 SECRET too many', {}), { outcome: 'retry', reason: 'SMTP status 421' }],
      [
        'refuses the login',
        smtp({ AUTH: '535 SECRET-of-mail is wrong' }),
        { outcome: 'retry', reason: 'the server refused the login' },
      ],
      ['is greylisting', smtp({ RCPT: '451 SECRET later' }), { outcome: 'retry', reason: 'SMTP status 451' }],
      [
        'does not know the addressee',
        smtp({ RCPT: '550 SECRET unknown' }),
        { outcome: 'retry', reason: 'SMTP status 550' },
      ],
      [
        'wants no such content',
        smtp({ DATA: '554 SECRET spam' }),
        { outcome: 'rejected', reason: 'SMTP status 554' },
      ],
      [
        'speaks something else',
        scripted('HTTP/1.1 400 SECRET', {}),
        { outcome: 'retry', reason: 'connection failed (EPROTOCOL)' },
      ],
      [
        'talks without end',
        (socket) => void socket.write(`220-${'SECRET'.repeat(500_000)}`, () => socket.end()),
        { outcome: 'retry', reason: expect.stringMatching(/^connection failed/) as string },
      ],
    ],
  },
  syslog: {
    accepts: take,
    create: (port) => make({ type: 'syslog', host: '127.0.0.1', port, transport: 'tcp' }),
    answers: [
      [
        'answers what nobody asked',
        (socket) => void socket.write('SECRET'.repeat(10_000)),
        { outcome: 'delivered' },
      ],
      [
        'goes away',
        (socket) => void socket.end('SECRET: we are going down'),
        { outcome: 'retry', reason: 'connection failed' },
      ],
    ],
  },
};

describe.each(Object.entries(socketNotifiers))('the %s notifier', (_name, { accepts, create, answers }) => {
  let receiver: TcpReceiver;
  beforeEach(async () => {
    receiver = await TcpReceiver.open();
    receiver.behaviour = accepts;
  });
  afterEach(() => receiver.close());

  const send = (signal = never()): Promise<Delivery> =>
    create(receiver.port).send(sampleNotification(), signal);

  it.each(answers)('understands a server that %s', async (_what, behaviour, delivery) => {
    receiver.behaviour = behaviour;
    const given = await send();
    expect(given).toEqual(delivery);
    expect(JSON.stringify(given)).not.toMatch(SECRETS);
  });

  it('tries again after a connection that was cut or refused', async () => {
    receiver.behaviour = cut;
    const port = receiver.port;
    const deliveries = [await send()];
    await receiver.close();
    deliveries.push(await create(port).send(sampleNotification(), never()));
    receiver = await TcpReceiver.open();
    for (const delivery of deliveries) {
      expect(delivery).toMatchObject({
        outcome: 'retry',
        reason: expect.stringMatching(/^connection failed/),
      });
    }
    expect(JSON.stringify(deliveries)).not.toMatch(SECRETS);
  });

  it('sends nothing when it is too late already', async () => {
    expect(await send(AbortSignal.abort())).toEqual({ outcome: 'retry', reason: 'no answer in time' });
    expect(receiver.received.join('')).toBe('');
  });

  it('leaves no connection behind', async () => {
    await send();
    await expect.poll(() => receiver.connections).toBe(0);
  });
});

describe('the email notifier', () => {
  it('ends when the server says nothing', async () => {
    const receiver = await TcpReceiver.open();
    try {
      const controller = new AbortController();
      const sent = email(receiver.port).send(sampleNotification(), controller.signal);
      await expect.poll(() => receiver.connections).toBe(1);
      controller.abort();
      expect(await sent).toEqual({ outcome: 'retry', reason: 'no answer in time' });
      await expect.poll(() => receiver.connections).toBe(0);
    } finally {
      await receiver.close();
    }
  });
});

describe('the file notifier', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-file-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it.each([
    ['a folder', '.', 'cannot write the file (EISDIR)'],
    ['a place that is not there', 'missing/alerts.jsonl', 'cannot write the file (ENOENT)'],
  ])('tries again where there is %s', async (_what, path, reason) => {
    const notifier = make({ type: 'file', path: join(folder, path) });
    expect(await notifier.send(sampleNotification(), never())).toEqual({ outcome: 'retry', reason });
  });

  it('writes nothing when it is too late already', async () => {
    const path = join(folder, 'alerts.jsonl');
    const notifier = make({ type: 'file', path });
    expect(await notifier.send(sampleNotification(), AbortSignal.abort())).toMatchObject({
      outcome: 'retry',
    });
    await expect(readFile(path)).rejects.toThrow('ENOENT');
  });
});

describe('the stdout notifier', () => {
  it('writes a line of JSON, and tries again where nobody reads', async () => {
    const lines: string[] = [];
    const open = new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk));
        done();
      },
    });
    const notifier = make({ type: 'stdout', format: 'cloudevents' }, {}, open);
    expect(await notifier.send(sampleNotification(), never())).toEqual({ outcome: 'delivered' });
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ specversion: '1.0' });

    const closed = new Writable({ write: (_chunk, _encoding, done) => done(new Error('EPIPE')) });
    closed.on('error', () => undefined);
    expect(await make({ type: 'stdout' }, {}, closed).send(sampleNotification(), never())).toEqual({
      outcome: 'retry',
      reason: 'cannot write to standard output',
    });
    const stuck = new Writable({ write: () => undefined });
    const controller = new AbortController();
    const sent = make({ type: 'stdout' }, {}, stuck).send(sampleNotification(), controller.signal);
    controller.abort();
    expect(await sent).toEqual({ outcome: 'retry', reason: 'no answer in time' });
  });
});
