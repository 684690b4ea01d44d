import { afterEach, describe, expect, it } from 'vitest';
import { addAgentRoutes } from '../../../collector/api/agents.ts';
import { addRoutes } from '../../../collector/api/routes.ts';
import { createServer, type ServerOptions } from '../../../collector/api/server.ts';
import { Roster } from '../../../collector/fleet/roster.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { silentLogger } from '../../../common/log.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const TOKEN = 'people-only-0123456789';
const AUTHORIZED = { authorization: `Bearer ${TOKEN}` };
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function openApi(options: Partial<ServerOptions> = {}) {
  const parts = await openParts();
  const server = createServer({
    listenHost: '127.0.0.1',
    allowedHosts: ['watch.example.com'],
    tokens: [{ name: 'admin', role: 'admin', token: TOKEN }],
    logger: silentLogger,
    ...options,
  });
  addRoutes(server, parts);
  const roster = new Roster({ ...parts, connectedAgents: () => new Set(['w1']) });
  addAgentRoutes(server, { ...parts, roster, disconnect: () => {} });
  closers.push(() => server.close());
  const get = async (url: string, headers: Record<string, string> = AUTHORIZED) => {
    const answer = await server.inject({ url, headers });
    return { status: answer.statusCode, headers: answer.headers, body: answer.body };
  };
  const getJson = async (url: string) => JSON.parse((await get(url)).body) as Record<string, unknown>;
  const open = (count: number): void => {
    const { flow } = sampleAnomaly(1);
    if (flow === null) throw new Error('the sample has a flow');
    const reports = Array.from({ length: count }, (_, index) => ({
      sequence: index + 1,
      report: {
        ...sampleAnomaly(index),
        flow: { ...flow, source: { ...flow.source, ip: `10.9.0.${index}` } },
      },
    }));
    parts.store.greetAgent(
      { name: 'w1', epoch: TEST_EPOCH, version: '0.1.0', capture: 'ring' },
      parts.clock.now(),
    );
    parts.recorder.record('w1', TEST_EPOCH, reports);
  };
  return { ...parts, server, get, getJson, open };
}

describe('who may ask', () => {
  it.each(['/api/incidents', '/api/incidents/INC-1', '/api/agents', '/metrics', '/nothing'])(
    'needs the token for %s',
    async (url) => {
      const { get } = await openApi();
      const { status, headers, body } = await get(url, {});
      expect(status).toBe(401);
      expect(headers['www-authenticate']).toBe('Bearer');
      expect(JSON.parse(body)).toEqual({
        error: { code: 'unauthorized', message: 'a bearer token is needed' },
      });
      expect((await get(url, { authorization: 'Bearer wrong' })).status).toBe(401);
    },
  );

  it('tells everybody that it is well, and nothing more', async () => {
    const { get } = await openApi();
    expect(await get('/api/health', {})).toMatchObject({ status: 200, body: '{"status":"ok"}' });
  });

  it('tells everybody that its disk is full, and not where', async () => {
    const { get, health } = await openApi();
    health.guard(() => {
      throw new PlasmawatchError('PW_DISK_FULL', 'cannot use the store /secret/path: disk is full');
    });
    const { status, body } = await get('/api/health', {});
    expect(status).toBe(503);
    expect(JSON.parse(body)).toEqual({
      error: {
        code: 'PW_DISK_FULL',
        message: 'the disk of the store is full: agents keep their reports until it works',
      },
    });
  });

  it('is closed but for the health where there are no tokens', async () => {
    const { get } = await openApi({ tokens: [] });
    expect((await get('/api/incidents', {})).status).toBe(401);
    expect((await get('/metrics', {})).status).toBe(401);
    expect((await get('/api/health', {})).status).toBe(200);
  });

  it.each([
    ['127.0.0.1', 'localhost:9440', 200],
    ['127.0.0.1', '[::1]:9440', 200],
    ['127.0.0.1', 'WATCH.example.com', 200],
    ['127.0.0.1', 'evil.example.com:9440', 403],
    ['127.0.0.1', '10.0.0.5:9440', 403],
    ['127.0.0.1', 'no host', 403],
    ['0.0.0.0', '10.0.0.5:9440', 200],
    ['0.0.0.0', 'evil.example.com', 403],
  ])('on %s answers to the name %s with %i', async (listenHost, host, status) => {
    const { get } = await openApi({ listenHost });
    expect((await get('/api/health', { host })).status).toBe(status);
  });

  it('refuses pages of other sites, and lets its own pass', async () => {
    const { get } = await openApi();
    const host = 'localhost:9440';
    expect((await get('/api/agents', { ...AUTHORIZED, host, origin: 'https://evil.example' })).status).toBe(
      403,
    );
    expect((await get('/api/agents', { ...AUTHORIZED, host, origin: 'null' })).status).toBe(403);
    expect((await get('/api/agents', { ...AUTHORIZED, host, origin: 'http://localhost:9440' })).status).toBe(
      200,
    );
  });
});

describe('incidents', () => {
  it('come newest first, page by page', async () => {
    const { getJson, open } = await openApi();
    open(5);
    const first = await getJson('/api/incidents?limit=3');
    expect((first['incidents'] as { id: string }[]).map(({ id }) => id)).toEqual(['INC-5', 'INC-4', 'INC-3']);
    const second = await getJson(`/api/incidents?limit=3&cursor=${String(first['nextCursor'])}`);
    expect((second['incidents'] as { id: string }[]).map(({ id }) => id)).toEqual(['INC-2', 'INC-1']);
    expect(second['nextCursor']).toBeNull();
  });

  it('can be asked for by state', async () => {
    const { getJson, open, recorder } = await openApi();
    open(2);
    recorder.acknowledge('INC-1', 'on-call');
    expect(await getJson('/api/incidents?state=acknowledged')).toMatchObject({
      incidents: [{ id: 'INC-1', type: 'incident', acknowledged: '2026-11-23T09:00:00.000000000Z' }],
    });
    expect(await getJson('/api/incidents?state=resolved')).toMatchObject({ incidents: [] });
  });

  it.each([
    'state=closed',
    'limit=0',
    'limit=501',
    'limit=1e3',
    'limit=-1',
    'cursor=abc',
    'secret=1',
    'limit=1&limit=2',
  ])('refuses the query %s with one line', async (query) => {
    const { get } = await openApi();
    const { status, body } = await get(`/api/incidents?${query}`);
    expect(status).toBe(400);
    const { error } = JSON.parse(body) as { error: { code: string; message: string } };
    expect(error.code).toBe('bad-query');
    expect(error.message).toMatch(/^query( parameter (state|limit|cursor))?: .+$/);
    expect(error.message).not.toContain('secret');
  });

  it('are shown one by one with their anomalies and notifications', async () => {
    const { getJson, open } = await openApi();
    open(1);
    expect(await getJson('/api/incidents/INC-1')).toMatchObject({
      incident: { id: 'INC-1', state: 'open', peer: '10.9.0.0' },
      anomalies: [{ agent: 'w1', anomaly: { id: 'w1-0', kind: 'unexpected-peer' } }],
      notifications: [{ receiver: 'ops', type: 'opened', state: 'pending', attempts: 0 }],
    });
  });

  it.each(['INC-9', 'INC-0', 'inc-1', '1', "INC-1'--", `INC-${'9'.repeat(150)}`])(
    'are not found as %s',
    async (id) => {
      const { get, open } = await openApi();
      open(1);
      expect(await get(`/api/incidents/${encodeURIComponent(id)}`)).toMatchObject({
        status: 404,
        body: '{"error":{"code":"not-found","message":"there is no such incident"}}',
      });
    },
  );

  it('are acknowledged with or without a body, and only while they are unresolved', async () => {
    const { server, open, recorder, clock } = await openApi();
    open(1);
    const post = (payload?: string) =>
      server.inject({
        method: 'POST',
        url: '/api/incidents/INC-1/acknowledge',
        headers: { ...AUTHORIZED, 'content-type': 'application/json' },
        ...(payload === undefined ? {} : { payload }),
      });
    expect((await post()).json()).toMatchObject({ incident: { state: 'acknowledged' } });
    expect((await post('{}')).statusCode).toBe(200);
    expect((await post('x'.repeat(20_000))).statusCode).toBe(413);
    recorder.start();
    clock.advance(1_300_000);
    expect((await post()).statusCode).toBe(409);
    recorder.stop();
  });
});

describe('agents and metrics', () => {
  it('say who is there and what was counted, without addresses', async () => {
    const { getJson, get, open } = await openApi();
    open(2);
    expect(await getJson('/api/agents')).toMatchObject({
      agents: [{ name: 'w1', connected: true, lastSequence: 2, counters: null }],
    });
    const { body, headers } = await get('/metrics');
    expect(headers['content-type']).toMatch(/^text\/plain/);
    expect(body).toContain('plasmawatch_incidents_unresolved 2');
    expect(body).toContain('plasmawatch_reports_total{type="anomaly"} 2');
    expect(body).not.toMatch(/10\.9\.0|w1/);
    const names = body.match(/^# TYPE (\S+)/gm) ?? [];
    expect(names.every((line) => line.startsWith('# TYPE plasmawatch_'))).toBe(true);
  });
});

describe('what goes wrong inside', () => {
  it('is not told to the outside', async () => {
    const { get, store } = await openApi();
    store.fleet.agents = () => {
      throw new PlasmawatchError('PW_STORE', 'cannot use the store /secret/path: disk I/O error');
    };
    const { status, body } = await get('/api/agents');
    expect(status).toBe(500);
    expect(body).not.toContain('/secret/path');
    expect(JSON.parse(body)).toMatchObject({ error: { code: 'internal' } });
  });
});
