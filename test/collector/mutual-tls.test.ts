/** Agents and users of the API with certificates, on a collector that asks for them. */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createUplink } from '../../agent/uplink/client.ts';
import { openSpool, type Spool } from '../../agent/uplink/spool.ts';
import { createCollector, type Collector } from '../../collector/collector.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import { systemClock } from '../../common/clock.ts';
import { silentLogger } from '../../common/log.ts';
import { INGEST_PATH } from '../../common/protocol.ts';
import {
  hasOpenssl,
  issueCertificate,
  makeAuthority,
  makeCertificate,
  type Certificate,
} from '../support/certificate.ts';
import { upgrade } from '../support/raw-web-socket.ts';
import { sampleAnomaly } from '../support/sample-report.ts';
import { waitFor } from '../support/wait-for.ts';

const API_TOKEN = 'ApiTokenOfTheTest';
const AGENT_W1 = 'subjectAltName=URI:plasmawatch:/agent/w1';

describe.skipIf(!hasOpenssl)('a collector that asks for certificates (needs /usr/bin/openssl)', () => {
  let authority: Certificate;
  let server: Certificate;
  let w1: Certificate;
  let viewer: Certificate;
  let stranger: Certificate;
  let collector: Collector;
  let url: string;
  const closers: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    authority = await makeAuthority();
    server = await makeCertificate();
    w1 = await issueCertificate({ subject: '/CN=w1', extensions: [AGENT_W1], authority });
    viewer = await issueCertificate({
      subject: '/CN=grafana',
      extensions: ['subjectAltName=DNS:grafana,DNS:w1'],
      authority,
    });
    stranger = await issueCertificate({
      subject: '/CN=w1',
      extensions: [AGENT_W1],
      authority: await makeAuthority(),
    });
  });
  beforeEach(async () => {
    collector = await createCollector({
      config: collectorConfigSchema.parse({ listen: { port: 0 }, store: { path: ':memory:' } }),
      secrets: {
        apiTokens: [{ name: 'admin', role: 'admin', token: API_TOKEN }],
        tls: { ...server, clientCa: authority.cert },
        receivers: new Map(),
      },
      clock: systemClock,
      logger: silentLogger,
      fetch,
      random: Math.random,
    });
    ({ url } = await collector.start());
  });
  afterEach(async () => {
    for (const close of closers.splice(0)) await close();
    await collector.stop();
  });

  /** The real uplink of an agent of this name, with a report to tell. */
  async function connect(agent: string, certificate: Certificate | undefined) {
    const spool: Spool = await openSpool({ path: ':memory:', maxBytes: 1e6, maxReports: 10 });
    spool.append([{ ...sampleAnomaly(1), node: agent }]);
    const uplink = createUplink({
      url: url.replace('https', 'wss'),
      ca: server.cert,
      certificate,
      spool,
      identity: { agent, version: '0.1.0', capture: 'ring' },
      heartbeat: () => ({}),
      clock: systemClock,
      logger: silentLogger,
      random: Math.random,
      connect: (address, options) => new WebSocket(address, options),
    });
    closers.push(async () => {
      await uplink.stop();
      spool.close();
    });
    uplink.start();
    return { uplink, spool };
  }

  async function ask(path: string, certificate?: Certificate): Promise<{ status: number; body: string }> {
    const headers = { authorization: `Bearer ${API_TOKEN}` };
    const sent = request(url + path, { headers, ca: server.cert, agent: false, ...certificate });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response) body += String(chunk);
    return { status: response.statusCode ?? 0, body };
  }

  const refused = async (reason: string): Promise<boolean> =>
    (await ask('/metrics', w1)).body.includes(`plasmawatch_peers_refused_total{reason="${reason}"} 1`);

  it('takes the reports of an agent under the name of its certificate', async () => {
    const { spool } = await connect('w1', w1);
    await waitFor(() => spool.counters().acknowledged === 1, 'an acknowledgement');
    expect((await ask('/api/agents', w1)).body).toContain('"name":"w1"');
  });

  it('refuses an agent with the certificate of another', async () => {
    const { uplink, spool } = await connect('w2', w1);
    await waitFor(() => refused('wrong-certificate'), 'a refusal');
    await waitFor(() => uplink.counters().failures === 1, 'the end of the connection');
    expect(spool.counters().pending).toBe(1);
    expect((await ask('/api/agents', w1)).body).toContain('"agents":[]');
  });

  it.each(['grafana', 'w1', 'w2'])(
    "takes no agent %s with a viewer's certificate, with which the API answers",
    async (agent) => {
      const { uplink, spool } = await connect(agent, viewer);
      await waitFor(() => refused('wrong-certificate'), 'a refusal');
      await waitFor(() => uplink.counters().failures === 1, 'the end of the connection');
      expect(spool.counters().pending).toBe(1);
      expect(await ask('/api/agents', viewer)).toEqual({
        status: 200,
        body: '{"agents":[],"nextCursor":null}',
      });
    },
  );

  it.each<[string, () => Certificate | undefined]>([
    ['none', () => undefined],
    ['one of another authority', () => stranger],
    ['that of the collector', () => server],
  ])('refuses clients with a certificate, but %s', async (_name, certificateOf) => {
    const certificate = certificateOf();
    const address = url.replace('https', 'wss') + INGEST_PATH;
    const { status } = await upgrade(address, {}, { ca: server.cert, agent: false, ...certificate });
    expect(status).toBe(403);
    expect(await refused('no-certificate')).toBe(true);
    expect(await ask('/api/incidents', certificate)).toEqual({
      status: 403,
      body: '{"error":{"code":"certificate","message":"a client certificate is needed"}}',
    });
    expect((await ask('/api/health', certificate)).status).toBe(200);
  });

  it('wants the token of the API besides', async () => {
    const sent = request(`${url}/api/incidents`, { ca: server.cert, agent: false, ...w1 });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    expect(response.statusCode).toBe(401);
  });
});
