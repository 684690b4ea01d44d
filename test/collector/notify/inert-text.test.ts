/** Text that agents, processes and the network wrote, on its way into every receiver that the settings know. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inertIncident, inertText } from '../../../collector/notify/inert-text.ts';
import { createNotifier } from '../../../collector/notify/notifier-factory.ts';
import { receiversSchema, type ReceiverConfig } from '../../../collector/notify/receivers.ts';
import { systemSockets } from '../../../collector/notify/sockets.ts';
import type { Incident } from '../../../collector/store/store.ts';
import { systemClock } from '../../../common/clock.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';
import { scripted, take, TcpReceiver } from '../../support/tcp-receiver.ts';

/** What must not come out as it came in, each with what would act. */
const NASTY: readonly [what: string, text: string, acting: RegExp][] = [
  ['an escape sequence', 'a\u001b[2Jb', /(?!\n)\p{Cc}/u],
  ['a control sequence of one byte', 'a\u009b2Jb', /\u009b/],
  ['a bell, a delete and a null', 'a\u0007\u007f\u0000b', /(?!\n)\p{Cc}/u],
  ['a forged line', 'a\r\nSeverity: info', /[\r\n]Severity: info/],
  ['separators of lines', 'a\u2028Severity: info\u2029\u0085Node: w9', /[\u2028\u2029\u0085]/],
  ['text turned around', 'a\u202egpj.exe\u2066b', /[\u202a-\u202e\u2066-\u2069]/],
  ['nothing that is there', 'pay\u200bload\ufeff\u2060\u00ad', /[\u200b-\u200f\ufeff\u2060\u00ad]/],
  ['fillers', 'w1\u3164\u115f\u2800\u{e0041}', /[\u3164\u115f\u2800]|\u{e0041}/u],
  ['half a character', 'a\ud800b', /[\ud800-\udbff](?![\udc00-\udfff])/],
  ['everybody of a channel', '<!channel> <!here|here>', /<!/],
  ['a person', '<@U012AB3CD> <#C024BE7LR>', /<[@#]/],
  ['a person of Teams', '<at>all</at>', /<\/?at/],
  ['a mention', '@here @channel @everyone', /(?<!\[)@(?:here|channel|everyone)/],
  ['a link of Slack', '<http://evil.example/x|your bank>', /<http|http:\/\/evil/],
  ['an address of the web', 'see HTTPS://evil.example/x', /https:\/\/evil/i],
  ['another scheme', 'ftp://evil.example mailto:a@evil.example', /ftp:\/\/evil|\bmailto:a/],
  ['an address without a scheme', 'www.evil.example evil.example/x', /www\.evil|evil\.example\/x/],
  [
    'an address with a port, a question or a fragment',
    'evil.example:8443/x evil.example?x evil.example#x evil.xn--p1ai/x',
    /evil\.(example|xn--p1ai)[:?#/]/,
  ],
  ['a link of Markdown', '[your bank](https://evil.example) ![x](//evil.example/y)', /\]\(/],
  ['a tag', '<img src=x onerror=alert(1)><script>', /<(?:img|script)/],
];
const ALL = NASTY.map(([, text]) => text).join(' | ');

/** Every field that somebody else has a say in; rules, groups, users and command lines are quoted in messages. */
const FIELDS: Record<string, Partial<Incident>> = {
  title: { title: `Unexpected peer ${ALL} on w1` },
  'message: command line': { message: `python train.py ${ALL} talks to it` },
  'message: rule, group and user': { message: `the rule ${ALL} of the group ${ALL}, user ${ALL}` },
  service: { service: ALL },
  node: { nodes: [ALL, ALL], nodeCount: 2 },
  'who resolved it': { resolvedBy: ALL, state: 'resolved', resolvedMs: 1 },
};
const EVERYTHING = sampleIncident(Object.assign({}, ...Object.values(FIELDS)) as Partial<Incident>);

describe('inert text', () => {
  it.each(NASTY)('has %s no more', (_what, text, acting) => {
    expect(text).toMatch(acting);
    expect(inertText(text)).not.toMatch(acting);
  });

  it('says what it said before', () => {
    expect(
      inertText('10.77.9.66 → gcs of w1.example.com: raylet --gcs=10.0.0.1:6379 /usr/bin/python3.11, 1 < 2'),
    ).toBe('10.77.9.66 → gcs of w1.example.com: raylet --gcs=10.0.0.1:6379 /usr/bin/python3.11, 1 < 2');
    expect(inertText('curl https://evil.example/x')).toBe('curl https[:]//evil[.]example/x');
  });

  it('stays as it is when it goes through again, and takes a time that grows with its length only', () => {
    const pieces = fc.constantFrom(
      '<',
      '@',
      '://',
      '](',
      'www.',
      '.ab/',
      'mailto:',
      '[',
      ']',
      ':',
      ' ',
      'a',
      '\u200b',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        const once = inertText(parts.join(''));
        expect(inertText(once)).toBe(once);
        for (const [, , acting] of NASTY) expect(once).not.toMatch(acting);
      }),
    );
    for (const piece of ['<', 'a.', 'www.', 'mailto', '](', 'ab.cd/', ' ', '\u200b']) {
      expect(inertText(piece.repeat(200_000)).length).toBeGreaterThanOrEqual(0);
    }
  });

  it('leaves what an incident is recognised by', () => {
    const incident = sampleIncident({ fingerprint: '["a\u001b","@b"]' });
    expect(inertIncident(incident)).toEqual(incident);
  });
});

describe('a receiver of type', () => {
  let folder: string;
  let socket: TcpReceiver;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-inert-'));
    socket = await TcpReceiver.open();
  });
  afterEach(async () => {
    await socket.close();
    await rm(folder, { recursive: true });
  });

  const template = {
    title: '{{ headline }} {{ incident.title }}',
    body: '{{ incident.message }} {{ incident.service }} {{ incident.nodes | join: ", " }} {{ incident.resolvedBy }}',
  };
  const url = 'http://127.0.0.1:1/hook';
  const mail = { host: '127.0.0.1', security: 'none', from: 'a@example.com', to: ['b@example.com'] };
  /** Settings of every type, with words of their own where it takes some. A new type fails to compile until it is here. */
  const settings: Record<ReceiverConfig['type'], object[]> = {
    slack: [{ url }, { url, template }],
    webhook: ['plasmawatch', 'ecs', 'ocsf', 'ocsf-network', 'cloudevents'].map((format) => ({
      url,
      secretFile: 'x',
      format,
    })),
    alertmanager: [{ url }, { url, template }],
    pagerduty: [{ routingKeyFile: 'x' }, { routingKeyFile: 'x', template }],
    teams: [{ url }, { url, template }],
    email: [mail, { ...mail, template }],
    syslog: [
      { host: '127.0.0.1', transport: 'tcp' },
      { host: '127.0.0.1', transport: 'tcp', format: 'ecs' },
    ],
    file: [{ path: 'alerts.jsonl' }],
    stdout: [{}],
  };
  const rows = Object.entries(settings).flatMap(([type, each]) => each.map((one) => [type, one] as const));

  /** All that a notifier sends of these incidents, one by one, together, and as a reminder. */
  async function sent(type: string, given: object, incidents: readonly Incident[]): Promise<string[]> {
    const out: string[] = [];
    const place = {
      ...(type === 'email' || type === 'syslog' ? { port: socket.port } : {}),
      ...(type === 'file' ? { path: join(folder, 'alerts.jsonl') } : {}),
    };
    socket.behaviour =
      type === 'email' ? scripted('220 ready', { EHLO: '250 hello', DATA: '354 go on' }) : take;
    const [receiver] = receiversSchema.parse([{ name: 'ops', type, ...given, ...place }]);
    if (receiver === undefined) throw new Error('no receiver');
    const stdout = new Writable({
      write(chunk, _encoding, done) {
        out.push(String(chunk));
        done();
      },
    });
    const fetch = (_url: unknown, init?: { body?: unknown }) => {
      out.push(String(init?.body));
      return Promise.resolve(new Response('ok', { status: 202 }));
    };
    const secrets = {
      url,
      signingSecret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
      routingKey: 'a-routing-key',
    };
    const notifier = createNotifier(receiver, secrets, {
      fetch,
      clock: systemClock,
      sockets: systemSockets,
      stdout,
      hostname: 'watch',
    });
    const { signal } = new AbortController();
    const notifications = incidents.map((incident) => sampleNotification({ incident }));
    for (const notification of notifications) await notifier.send(notification, signal);
    await notifier.batch?.send(
      [...notifications, ...notifications, ...notifications, ...notifications],
      signal,
    );
    await notifier.reminder?.send(incidents, signal);
    if (type === 'file') out.push(await readFile(join(folder, 'alerts.jsonl'), 'utf8'));
    return [...out, ...socket.received.map(decodeMail)];
  }

  it.each(rows)('%s passes on nothing that acts: %j', async (type, given) => {
    // The mark of UTF-8 that syslog asks for is ours (RFC 5424, section 6.4).
    const texts = (await sent(type, given, [EVERYTHING]))
      .flatMap(textsIn)
      .map((text) => text.replaceAll('] \ufeff', '] '));
    expect(texts.join('\n')).toMatch(/Unexpected peer|unexpected-peer/);
    const passed = NASTY.filter(([what, , acting]) =>
      // Lines of our own are between texts, not within them.
      texts.some((text) => acting.test(what.includes('line') ? text.replaceAll(/\r?\n/g, '\n') : text)),
    );
    expect(passed.map(([what]) => what)).toEqual([]);
  });
});

/** The texts of a document, decoded; of what is no JSON, the lines. */
function textsIn(body: string): string[] {
  const texts: string[] = [];
  const visit = (value: unknown): void => {
    if (typeof value === 'string') texts.push(value);
    else if (typeof value === 'object' && value !== null) Object.values(value).forEach(visit);
  };
  for (const line of body.split(/\r?\n/)) {
    try {
      visit(JSON.parse(line));
    } catch {
      texts.push(line);
    }
  }
  return texts;
}

/** Quoted-printable and the words of headers (RFC 2045, RFC 2047), near enough for a search. */
function decodeMail(text: string): string {
  const bytes = text.replaceAll(/=\r?\n/g, '').replaceAll(/=([0-9A-F]{2})/g, (_all, hex: string) => {
    return String.fromCharCode(parseInt(hex, 16));
  });
  return `${Buffer.from(bytes, 'latin1').toString('utf8')}\n${text}`;
}
