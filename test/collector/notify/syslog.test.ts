/** What arrives at a TLS server is read by the grammar of RFC 5424; and a real rsyslogd takes it. */
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import { systemSockets } from '../../../collector/notify/sockets.ts';
import {
  createSyslogNotifier,
  MAX_MESSAGE_BYTES,
  renderSyslogMessage,
  type SyslogOptions,
} from '../../../collector/notify/syslog.ts';
import type { Notification } from '../../../collector/store/store.ts';
import { hasOpenssl, makeCertificate } from '../../support/certificate.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';
import { freePort } from '../../support/free-port.ts';
import { ServerProcess } from '../../support/server-process.ts';
import { TcpReceiver } from '../../support/tcp-receiver.ts';

const RSYSLOGD = '/usr/sbin/rsyslogd';
const RSYSLOG_TLS = '/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so';
const signal = new AbortController().signal;
const form = { facility: 'authpriv', format: 'text', hostname: 'watch.example.com' } as const;

/** RFC 5424, section 6: HEADER SP STRUCTURED-DATA [SP MSG], with one element of structured data. */
const SYSLOG_MESSAGE =
  /^<(?<pri>\d{1,3})>(?<version>[1-9]\d{0,2}) (?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) (?<host>[\x21-\x7e]{1,255}) (?<app>[\x21-\x7e]{1,48}) (?<process>[\x21-\x7e]{1,128}) (?<message>[\x21-\x7e]{1,32}) (?<data>\[[^ =\]"]{1,32}(?: [^ =\]"]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])(?: \uFEFF(?<text>.*))?$/su;

function parse(message: string) {
  const groups = SYSLOG_MESSAGE.exec(message)?.groups;
  if (groups === undefined) throw new Error(`no message of RFC 5424: ${message}`);
  const parameters = [...(groups['data'] ?? '').matchAll(/ ([^ =\]"]+)="((?:[^"\\\]]|\\.)*)"/g)];
  return {
    ...groups,
    parameters: Object.fromEntries(
      parameters.map(([, name, value]) => [name, value?.replaceAll(/\\(.)/g, '$1')]),
    ),
  };
}

/** Frames of RFC 5425: `MSG-LEN SP SYSLOG-MSG`, the length in octets. */
function parseFrames(stream: string): string[] {
  let rest = Buffer.from(stream, 'utf8');
  const messages: string[] = [];
  while (rest.length > 0) {
    const length = /^([1-9]\d*) /.exec(rest.toString('latin1', 0, 12))?.[1];
    if (length === undefined) throw new Error('no frame of RFC 5425');
    const start = length.length + 1;
    messages.push(rest.toString('utf8', start, start + Number(length)));
    rest = rest.subarray(start + Number(length));
  }
  return messages;
}

describe('a syslog message', () => {
  it('says what happened, and the facts as structured data', () => {
    expect(parse(renderSyslogMessage(sampleNotification(), form))).toMatchObject({
      pri: String(10 * 8 + 2),
      version: '1',
      time: '2026-11-23T09:42:13.000Z',
      host: 'watch.example.com',
      app: 'plasmawatch',
      message: 'incident-opened',
      text: 'New: Unexpected peer 10.77.9.66 talks to the object manager on w1: 10.77.9.66 is no member and no rule allows it',
      parameters: {
        message: 'msg_00000000-0000-4000-8000-000000000001',
        incident: 'INC-1',
        kind: 'unexpected-peer',
        severity: 'critical',
        state: 'open',
        peer: '10.77.9.66',
        service: 'object-manager',
        node: 'w1',
        nodes: '1',
        count: '3',
        bytes: '4200',
      },
    });
  });

  it('is of the grammar and bounded, whatever an incident holds', () => {
    const text = fc.string({ unit: 'binary', maxLength: 300 });
    fc.assert(
      fc.property(text, text, text, fc.nat(60), (title, message, node, repeat) => {
        const incident = sampleIncident({
          title: title.repeat(repeat),
          message: message.repeat(repeat),
          service: node,
          nodes: [node],
        });
        for (const format of ['text', 'ecs'] as const) {
          const rendered = renderSyslogMessage(sampleNotification({ incident }), { ...form, format });
          expect(Buffer.byteLength(rendered)).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
          expect(() => parse(rendered)).not.toThrow();
        }
      }),
      { numRuns: 200 },
    );
  });

  it('keeps what would end a value within it', () => {
    const incident = sampleIncident({ nodes: ['w"1\\]'], service: 'a]b' });
    const { parameters } = parse(renderSyslogMessage(sampleNotification({ incident }), form));
    expect(parameters).toMatchObject({ node: 'w"1\\]', service: 'a]b' });
  });

  it('carries a document where the settings say so', () => {
    const rendered = parse(
      renderSyslogMessage(sampleNotification(), { ...form, format: 'ocsf' }),
    ) as unknown as {
      text: string;
    };
    expect(JSON.parse(rendered.text)).toMatchObject({ class_uid: 2004 });
  });
});

const many: Notification[] = [1, 2, 3].map((number) =>
  sampleNotification({
    id: `msg_${number}`,
    incident: sampleIncident({ id: `INC-${number}`, title: 'ä€😀' }),
  }),
);

describe.skipIf(!hasOpenssl)('over TLS (needs openssl)', () => {
  let tls: { key: string; cert: string };
  const closes: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    tls = await makeCertificate();
  });
  afterEach(async () => {
    for (const close of closes.splice(0)) await close();
  });

  const create = (port: number, changes: Partial<SyslogOptions> = {}) =>
    createSyslogNotifier({
      ...form,
      host: '127.0.0.1',
      port,
      transport: 'tls',
      ca: tls.cert,
      sockets: systemSockets,
      clock: systemClock,
      ...changes,
    });

  it('sends each message in a frame that counts octets, many through one connection', async () => {
    const receiver = await TcpReceiver.open(tls);
    closes.push(() => receiver.close());
    expect(await create(receiver.port).batch.send(many, signal)).toEqual({ outcome: 'delivered' });
    expect(receiver.received).toHaveLength(1);
    const messages = parseFrames(receiver.received[0] ?? '').map(parse);
    expect(messages.map(({ parameters }) => parameters['incident'])).toEqual(['INC-1', 'INC-2', 'INC-3']);
  });

  it('sends nothing to a server whose certificate nobody vouches for', async () => {
    const receiver = await TcpReceiver.open(tls);
    closes.push(() => receiver.close());
    const delivery = await create(receiver.port, { ca: undefined }).send(sampleNotification(), signal);
    expect(delivery).toEqual({ outcome: 'retry', reason: 'connection failed (DEPTH_ZERO_SELF_SIGNED_CERT)' });
    expect(receiver.received.join('')).toBe('');
  });

  it.skipIf(!existsSync(RSYSLOGD) || !existsSync(RSYSLOG_TLS))(
    'is taken by rsyslogd (needs rsyslog and rsyslog-gnutls)',
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-rsyslog-'));
      const port = await freePort();
      const out = join(folder, 'out.jsonl');
      await writeFile(join(folder, 'cert.pem'), tls.cert);
      await writeFile(join(folder, 'key.pem'), tls.key, { mode: 0o600 });
      await writeFile(
        join(folder, 'rsyslog.conf'),
        `global(workDirectory="${folder}" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="${folder}/cert.pem" defaultNetstreamDriverCertFile="${folder}/cert.pem"
  defaultNetstreamDriverKeyFile="${folder}/key.pem")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imtcp" port="${port}" address="127.0.0.1")
template(name="json" type="list" option.jsonf="on") {
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="text" name="msg" format="jsonf")
}
action(type="omfile" file="${out}" template="json")
`,
      );
      const server = await ServerProcess.start(
        RSYSLOGD,
        ['-n', '-f', join(folder, 'rsyslog.conf'), '-i', join(folder, 'pid')],
        { cwd: folder, isReady: () => listens(port) },
      );
      closes.push(async () => {
        await server.stop();
        await rm(folder, { recursive: true });
      });
      const linesOf = async (): Promise<Record<string, string>[]> =>
        (await readFile(out, 'utf8').catch(() => ''))
          .split('\n')
          .filter((line) => line.includes('plasmawatch'))
          .map((line) => JSON.parse(line) as Record<string, string>);
      expect(await create(port).batch.send(many, signal)).toEqual({ outcome: 'delivered' });
      await vi.waitFor(async () => expect(await linesOf()).toHaveLength(3), { timeout: 20_000 });
      expect((await linesOf())[0]).toMatchObject({
        severity: 'crit',
        facility: 'authpriv',
        host: 'watch.example.com',
        app: 'plasmawatch',
        msgid: 'incident-opened',
        data: expect.stringContaining('incident="INC-1"'),
        text: expect.stringContaining('New: ä€😀'),
      });
    },
  );
});

describe('over UDP', () => {
  it('sends each message in a datagram', async () => {
    const server = createSocket('udp4');
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    const received: string[] = [];
    server.on('message', (datagram) => received.push(datagram.toString('utf8')));
    try {
      const notifier = createSyslogNotifier({
        ...form,
        host: '127.0.0.1',
        port: server.address().port,
        transport: 'udp',
        sockets: systemSockets,
        clock: systemClock,
      });
      expect(await notifier.batch.send(many, signal)).toEqual({ outcome: 'delivered' });
      await vi.waitFor(() => expect(received).toHaveLength(3));
      expect(received.map((message) => parse(message).parameters['incident'])).toEqual([
        'INC-1',
        'INC-2',
        'INC-3',
      ]);
    } finally {
      server.close();
    }
  });
});

async function listens(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
