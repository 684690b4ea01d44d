import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { systemClock } from '../../common/clock.ts';
import { INGEST_PATH } from '../../common/protocol.ts';
import { createCollector, type Collector, type CollectorOptions } from '../../collector/collector.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import type { IncidentEvent } from '../../collector/incident/tally.ts';
import type { CollectorSecrets } from '../../collector/secrets.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { sendReports } from '../support/report-client.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';
const OPENSSL = '/usr/bin/openssl';
const AGENT_TOKEN = 'AgentTokenOfTheTest';
const API_TOKEN = 'ApiTokenOfTheTest';
const SIGNING_SECRET = `whsec_${Buffer.from('SigningSecretOfTheTest').toString('base64')}`;
const ALL_SECRETS = new RegExp(
  ['SECRET', 'TokenOfTheChannel', AGENT_TOKEN, API_TOKEN, SIGNING_SECRET.slice(6)].join('|'),
);

let folder: string;
let receiver: HttpReceiver;
const running: Collector[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-collector-'));
  receiver = await HttpReceiver.open();
});
afterEach(async () => {
  for (const collector of running.splice(0)) await collector.stop();
  await receiver.close();
  await rm(folder, { recursive: true });
});

async function open(settings: object = {}, changes: Partial<CollectorOptions> = {}) {
  const config = collectorConfigSchema.parse({
    listen: { port: 0 },
    store: { path: join(folder, 'collector.db') },
    receivers: [
      { name: 'ops', type: 'slack', url: receiver.url(SECRET_PATH) },
      { name: 'siem', type: 'webhook', url: receiver.url('/siem'), secretFile: 'loaded-by-the-test' },
    ],
    ...settings,
  });
  const secrets: CollectorSecrets = {
    agentToken: AGENT_TOKEN,
    apiTokens: [{ name: 'admin', role: 'admin', token: API_TOKEN }],
    receivers: new Map([
      ['ops', { url: receiver.url(SECRET_PATH) }],
      ['siem', { url: receiver.url('/siem'), signingSecret: SIGNING_SECRET }],
    ]),
  };
  const log: string[] = [];
  const events: IncidentEvent[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      log.push(String(chunk));
      done();
    },
  });
  const collector = await createCollector({
    config,
    secrets,
    clock: systemClock,
    logger: pino({ level: 'debug' }, sink),
    fetch,
    random: () => 0.5,
    onIncident: (event) => events.push(event),
    ...changes,
  });
  running.push(collector);
  return { collector, events, log };
}

async function reportAnomaly(url: string, sequence: number): Promise<void> {
  await sendReports({ url, token: AGENT_TOKEN, firstSequence: sequence }, [sampleAnomaly(1)]);
}

async function ask(url: string, path: string): Promise<unknown> {
  const answer = await fetch(url + path, { headers: { authorization: `Bearer ${API_TOKEN}` } });
  return answer.json();
}

describe('the collector', () => {
  it.each(['localhost', 'LOCALHOST'])(
    'listens at one address where it is told a name of loopback: %s',
    async (host) => {
      const { collector } = await open({ listen: { host, port: 0 } });
      const { url } = await collector.start();
      expect(new URL(url).hostname).toBe('127.0.0.1');
      // So that there is one token, and the limits hold for all.
      await expect(fetch(url.replace('127.0.0.1', '[::1]'))).rejects.toThrow('fetch failed');
    },
  );

  it('takes a report from an agent to every receiver, to the API and to its caller', async () => {
    const { collector, events } = await open();
    const { url } = await collector.start();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    await reportAnomaly(url, 1);
    await vi.waitFor(() => expect(receiver.requests).toHaveLength(2));
    expect(receiver.requests.map(({ path }) => path).toSorted()).toEqual([SECRET_PATH, '/siem'].toSorted());
    expect(await ask(url, '/api/incidents')).toMatchObject({ incidents: [{ id: 'INC-1', count: 1 }] });
    await vi.waitFor(async () => {
      expect(await ask(url, '/api/incidents/INC-1')).toMatchObject({
        notifications: [{ state: 'delivered' }, { state: 'delivered' }],
      });
    });
    expect(events).toMatchObject([{ type: 'opened', incident: { id: 'INC-1' } }]);
    await collector.stop();
    await expect(fetch(url)).rejects.toThrow('fetch failed');
  });

  it('delivers after a restart what waited, once, and opens no second incident for what comes again', async () => {
    receiver.answers = [{ status: 500 }];
    const first = await open();
    const before = await first.collector.start();
    await reportAnomaly(before.url, 1);
    await vi.waitFor(() => expect(receiver.requests).toHaveLength(2));
    await first.collector.stop();
    receiver.requests.length = 0;
    receiver.answers = [{ status: 200, body: 'ok' }];
    // An hour later, so that no retry is still to be waited for.
    const clock = { ...systemClock, now: () => systemClock.now() + 3_600_000 };
    const second = await open({}, { clock });
    const { url } = await second.collector.start();
    await reportAnomaly(url, 1);
    await vi.waitFor(async () => {
      expect(await ask(url, '/api/incidents/INC-1')).toMatchObject({
        notifications: [
          { state: 'delivered', attempts: 2 },
          { state: 'delivered', attempts: 2 },
        ],
      });
    });
    expect(receiver.requests).toHaveLength(2);
    expect(second.events).toEqual([]);
    expect(await ask(url, '/api/incidents')).toMatchObject({ incidents: [{ id: 'INC-1', state: 'open' }] });
  });

  it('says no secret in its log, its database or its metrics, whatever fails', async () => {
    receiver.answers = [{ status: 403, body: SECRET_PATH }, 'cut', { status: 500, body: SIGNING_SECRET }];
    const { collector, log } = await open();
    const { url } = await collector.start();
    await reportAnomaly(url, 1);
    await vi.waitFor(() => expect(log.filter((line) => line.includes('was not delivered'))).toHaveLength(2));
    const wrong = new WebSocket(url.replace('http', 'ws') + INGEST_PATH, {
      headers: { authorization: 'Bearer SECRET-of-somebody' },
    });
    await once(wrong, 'error');
    await fetch(`${url}/SECRET?token=SECRET`, { headers: { authorization: `Bearer ${API_TOKEN}` } });
    const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${API_TOKEN}` } });
    expect(await metrics.text()).not.toMatch(ALL_SECRETS);
    await collector.stop();
    expect(log.join('')).not.toMatch(ALL_SECRETS);
    expect((await readFile(join(folder, 'collector.db'))).toString('latin1')).not.toMatch(ALL_SECRETS);
  });

  it.skipIf(!existsSync(OPENSSL))(
    'serves TLS when it has a certificate (needs /usr/bin/openssl)',
    async () => {
      const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
      const subject = ['-subj', '/CN=localhost', '-days', '1', '-keyout', key, '-out', cert];
      execFileSync(
        OPENSSL,
        ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', ...subject],
        {
          stdio: 'ignore',
        },
      );
      const tls = { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') };
      const secrets = { agentToken: AGENT_TOKEN, tls, receivers: new Map() };
      const { collector, events } = await open({ receivers: [] }, { secrets });
      const { url } = await collector.start();
      expect(url).toMatch(/^https:/);
      await reportAnomaly(url, 1);
      expect(events).toHaveLength(1);
    },
  );

  it('says which port is in use, and has nothing left running', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const { collector } = await open({ listen: { port } });
    await expect(collector.start()).rejects.toMatchObject({
      code: 'PW_LISTEN',
      message: `cannot listen on 127.0.0.1 port ${port}: the port is in use`,
    });
    await collector.stop();
    other.close();
    await once(other, 'close');
  });

  it('will not be open to the network without tokens', async () => {
    await expect(
      open({ listen: { host: '0.0.0.0', port: 0 } }, { secrets: { receivers: new Map() } }),
    ).rejects.toMatchObject({ code: 'PW_LISTEN' });
  });

  it('can be stopped twice, and without having been started', async () => {
    const { collector } = await open();
    await collector.stop();
    await expect(collector.stop()).resolves.toBeUndefined();
  });
});
