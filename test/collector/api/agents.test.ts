import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addAgentRoutes } from '../../../collector/api/agents.ts';
import { createServer } from '../../../collector/api/server.ts';
import { Roster } from '../../../collector/fleet/roster.ts';
import { silentLogger } from '../../../common/log.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';

const MINUTE_MS = 60_000;
const TOKENS = (['viewer', 'responder', 'admin'] as const).map((role) => ({
  name: role,
  role,
  token: `token-of-the-${role}-0123456789`,
}));

let parts: Awaited<ReturnType<typeof openParts>>;
let server: ReturnType<typeof createServer>;
const connected = new Set<string>();

beforeEach(async () => {
  parts = await openParts();
  parts.fleet.start();
  server = createServer({
    listenHost: '127.0.0.1',
    allowedHosts: [],
    tokens: TOKENS,
    logger: silentLogger,
  });
  const roster = new Roster({ ...parts, connectedAgents: () => connected });
  addAgentRoutes(server, { ...parts, roster, disconnect: () => {} });
});
afterEach(async () => {
  await server.close();
  parts.fleet.stop();
  parts.store.close();
  connected.clear();
});

function hello(...names: string[]): void {
  for (const name of names) {
    const agent = { name, epoch: TEST_EPOCH, version: '0.1.0', capture: 'kernel' };
    parts.store.greetAgent(agent, parts.clock.now());
    parts.fleet.heard(name);
    connected.add(name);
  }
}

function leave(name: string): void {
  connected.delete(name);
}

async function ask(method: 'GET' | 'DELETE', url: string, role: 'viewer' | 'responder' | 'admin') {
  const headers = { authorization: `Bearer token-of-the-${role}-0123456789` };
  const answer = await server.inject({ method, url, headers });
  return { status: answer.statusCode, body: answer.json<Record<string, unknown>>() };
}

async function states(): Promise<Record<string, unknown>> {
  const { body } = await ask('GET', '/api/agents', 'viewer');
  const agents = body['agents'] as { name: string; state: string }[];
  return Object.fromEntries(agents.map(({ name, state }) => [name, state]));
}

describe('the list of agents', () => {
  it('tells of each how it captures, what it lost, how old its view is and when it was heard', async () => {
    hello('w1');
    const counters = {
      capture_running: 1,
      capture_dropped: null,
      flows_evicted: 7,
      reports_lost: 0,
      membership_age_seconds: 4,
    };
    parts.store.saveHeartbeat('w1', counters, parts.clock.now());
    parts.store.fleet.saveRules('w1', { version: 3, fingerprint: 'ab'.repeat(32) });
    parts.clock.advance(2000);
    parts.fleet.heard('w1');
    expect(await ask('GET', '/api/agents', 'viewer')).toEqual({
      status: 200,
      body: {
        agents: [
          {
            name: 'w1',
            state: 'connected',
            connected: true,
            enrolled: false,
            version: '0.1.0',
            capture: 'kernel',
            firstSeen: '2026-11-23T09:00:00.000000000Z',
            lastHeard: '2026-11-23T09:00:02.000000000Z',
            lastSequence: 0,
            clock: null,
            rules: { version: 3, fingerprint: 'ab'.repeat(32) },
            viewAgeSeconds: 4,
            losses: { capture_dropped: null, flows_evicted: 7 },
            counters,
          },
        ],
        nextCursor: null,
      },
    });
  });

  it.each([
    [0, 'guess'],
    [1, 'raylet'],
    // Of a later version.
    [99, 'unknown'],
  ])('tells the port of the node and who says so: %i is %s', async (code, source) => {
    hello('w1');
    const counters = { object_manager_port: 36_875, object_manager_port_source: code };
    parts.store.saveHeartbeat('w1', counters, parts.clock.now());
    const { body } = await ask('GET', '/api/agents', 'viewer');
    expect(body['agents']).toMatchObject([{ objectManager: { port: 36_875, source } }]);
  });

  it('tells who is there, blind, away, missing, stopped and retired', async () => {
    hello('blind', 'gone', 'lost', 'stopped', 'there');
    for (const name of ['gone', 'lost', 'stopped']) leave(name);
    parts.fleet.stopped('stopped');
    parts.fleet.noteCounters('blind', { capture_running: 0 });
    await ask('DELETE', '/api/agents/gone', 'admin');
    expect(await states()).toEqual({
      blind: 'blind',
      gone: 'retired',
      lost: 'away',
      stopped: 'stopped',
      there: 'connected',
    });
    parts.clock.advance(MINUTE_MS / 2);
    for (const name of ['blind', 'there']) parts.fleet.heard(name);
    parts.clock.advance(MINUTE_MS / 2);
    expect(await states()).toMatchObject({ lost: 'missing', stopped: 'stopped', there: 'connected' });
  });

  it('comes in pages', async () => {
    hello('w1', 'w2', 'w3');
    const first = await ask('GET', '/api/agents?limit=2', 'viewer');
    expect(first.body).toMatchObject({ agents: [{ name: 'w1' }, { name: 'w2' }], nextCursor: 'w2' });
    const second = await ask('GET', '/api/agents?limit=2&cursor=w2', 'viewer');
    expect(second.body).toMatchObject({ agents: [{ name: 'w3' }], nextCursor: null });
  });

  it.each(['limit=501', 'cursor=%27', 'state=missing'])('refuses the query %s', async (query) => {
    expect((await ask('GET', `/api/agents?${query}`, 'viewer')).status).toBe(400);
  });
});

describe('retiring an agent', () => {
  it('ends the story of its absence, and lasts until it comes back', async () => {
    hello('w1');
    leave('w1');
    parts.clock.advance(MINUTE_MS);
    expect(parts.events.map(({ type }) => type)).toEqual(['opened']);
    expect(await ask('DELETE', '/api/agents/w1', 'admin')).toMatchObject({
      status: 200,
      body: { agent: { name: 'w1', state: 'retired' } },
    });
    expect(parts.events.map(({ type }) => type)).toEqual(['opened', 'resolved']);
    parts.clock.advance(10 * MINUTE_MS);
    expect(parts.events).toHaveLength(2);
    hello('w1');
    expect(await states()).toEqual({ w1: 'connected' });
  });

  it('is for admins, for agents that are known, and not for one that is connected', async () => {
    hello('w1');
    expect((await ask('DELETE', '/api/agents/w1', 'responder')).status).toBe(403);
    expect((await ask('DELETE', '/api/agents/w9', 'admin')).status).toBe(404);
    expect((await ask('DELETE', '/api/agents/w%201', 'admin')).status).toBe(404);
    expect(await ask('DELETE', '/api/agents/w1', 'admin')).toMatchObject({
      status: 409,
      body: { error: { code: 'connected', message: 'the agent is connected: stop it first' } },
    });
    expect(await states()).toEqual({ w1: 'connected' });
  });
});
