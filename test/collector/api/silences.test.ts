/** Silences, what is done to incidents, and the log of both, over the wire of a whole collector. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { startCollector, type RunningCollector } from '../../support/running-collector.ts';

let collector: RunningCollector;

beforeEach(async () => {
  collector = await startCollector();
});
afterEach(() => collector.stop());

type Role = 'viewer' | 'responder' | 'admin';

async function ask(role: Role, method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown) {
  const answer = await fetch(collector.url + path, {
    method,
    headers: {
      authorization: `Bearer token-of-the-${role}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

const SCANS = { matchers: { kind: 'scan' }, reason: 'a drill', duration: '2h' };
const CONTACTS = { ...SCANS, matchers: { peer: ['10.77.0.0/16'], severity: ['warning', 'critical'] } };

describe('POST /api/silences', () => {
  it('adds a silence in the name of who asks', async () => {
    const { status, body } = await ask('responder', 'POST', '/api/silences', SCANS);
    expect(status).toBe(201);
    expect(body['silence']).toMatchObject({
      type: 'silence',
      id: 'SIL-1',
      state: 'active',
      matchers: { kind: ['scan'] },
      author: 'on-call',
      reason: 'a drill',
      endedBy: null,
    });
    const { start, end } = body['silence'] as { start: string; end: string };
    expect(Date.parse(end) - Date.parse(start)).toBe(7_200_000);
  });

  it('takes times instead, with any offset', async () => {
    const startMs = Date.now() + 3_600_000;
    const times = {
      start: new Date(startMs).toISOString(),
      end: new Date(startMs + 7_200_000).toISOString().replace('Z', '+00:00'),
    };
    const { body } = await ask('responder', 'POST', '/api/silences', {
      matchers: { node: 'gpu-*' },
      reason: 'maintenance',
      ...times,
    });
    expect(body).toMatchObject({ silence: { state: 'pending' } });
  });

  it.each([
    [undefined, 'expected a body of JSON (content-type: application/json)'],
    [{}, 'body.matchers: missing key `matchers`'],
    [{ ...SCANS, matchers: {} }, 'body.matchers: `matchers`: expected one of `kind`, `severity`'],
    [{ ...SCANS, matchers: { peer: '10.0.0.300' } }, 'body.matchers.peer: `peer`: expected an address range'],
    [{ ...SCANS, matchers: { peers: '10.0.0.3' } }, 'body.matchers.peers: unknown key `peers`'],
    [{ ...SCANS, reason: 'two\nlines' }, 'body.reason'],
    [{ ...SCANS, reason: ' ' }, 'body.reason'],
    [{ ...SCANS, duration: '91d' }, 'body.duration: `duration`: expected 1m to 90d, got `91d`'],
    [{ ...SCANS, duration: undefined }, 'expected either `end` or `duration`'],
    [{ ...SCANS, end: '2027-01-01T00:00:00Z' }, 'expected either `end` or `duration`'],
    [{ ...SCANS, duration: undefined, end: 'tomorrow' }, 'expected a time such as `2027-03-01T12:00:00Z`'],
    [{ ...SCANS, duration: undefined, end: '2020-01-01T00:00:00Z' }, 'it would end before it begins'],
    [{ ...SCANS, author: 'somebody else' }, 'unknown key `author`'],
  ])('refuses %j with one line', async (body, message) => {
    const answer = await ask('responder', 'POST', '/api/silences', body);
    expect(answer.status).toBe(400);
    expect((answer.body['error'] as { message: string }).message).toContain(message);
    expect((await ask('viewer', 'GET', '/api/silences')).body).toEqual({ silences: [] });
  });
});

describe('the silences', () => {
  it('are listed, ended by name, and then listed as ended', async () => {
    await ask('responder', 'POST', '/api/silences', SCANS);
    await ask('responder', 'POST', '/api/silences', CONTACTS);
    const ended = await ask('admin', 'DELETE', '/api/silences/SIL-1');
    expect(ended).toMatchObject({ status: 200, body: { silence: { state: 'ended', endedBy: 'admin' } } });
    const current = await ask('viewer', 'GET', '/api/silences');
    expect(current.body).toMatchObject({ silences: [{ id: 'SIL-2' }] });
    const over = await ask('viewer', 'GET', '/api/silences?state=ended&limit=5');
    expect(over.body).toMatchObject({ silences: [{ id: 'SIL-1' }] });
  });

  it.each(['SIL-9', 'SIL-0', 'INC-1', 'sil-1'])('are none named %s', async (id) => {
    const { status, body } = await ask('responder', 'DELETE', `/api/silences/${id}`);
    expect([status, body]).toEqual([
      404,
      { error: { code: 'not-found', message: 'there is no such silence' } },
    ]);
  });

  it('are not for viewers to change', async () => {
    expect((await ask('viewer', 'POST', '/api/silences', SCANS)).status).toBe(403);
    expect((await ask('viewer', 'DELETE', '/api/silences/SIL-1')).status).toBe(403);
  });

  it('are shown with the incidents that they mute, and counted', async () => {
    await collector.report(sampleAnomaly(1));
    await ask('responder', 'POST', '/api/silences', CONTACTS);
    const { body } = await ask('viewer', 'GET', '/api/incidents');
    expect(body).toMatchObject({ incidents: [{ id: 'INC-1', state: 'open', mutedBy: 'silence SIL-1' }] });
    const metrics = await fetch(`${collector.url}/metrics`, {
      headers: { authorization: 'Bearer token-of-the-viewer' },
    });
    expect(await metrics.text()).toContain('plasmawatch_silences_active 1');
    await ask('responder', 'DELETE', '/api/silences/SIL-1');
    const after = await ask('viewer', 'GET', '/api/incidents/INC-1');
    expect(after.body).toMatchObject({ incident: { mutedBy: null } });
  });
});

describe('what people do', () => {
  it('stands in the log by name, which administrators may read', async () => {
    await collector.report(sampleAnomaly(1));
    await ask('responder', 'POST', '/api/incidents/INC-1/acknowledge');
    await ask('responder', 'POST', '/api/incidents/INC-1/acknowledge');
    await ask('responder', 'POST', '/api/silences', SCANS);
    await ask('admin', 'DELETE', '/api/silences/SIL-1');
    const resolved = await ask('admin', 'POST', '/api/incidents/INC-1/resolve');
    expect(resolved.body).toMatchObject({ incident: { state: 'resolved', resolvedBy: 'admin' } });
    const { body } = await ask('admin', 'GET', '/api/audit');
    const entries = body['entries'] as { actor: string; action: string; subject: string }[];
    expect(entries.map(({ actor, action, subject }) => `${actor} ${action} ${subject}`)).toEqual([
      'admin incident.resolve INC-1',
      'admin silence.end SIL-1',
      'on-call silence.add SIL-1',
      'on-call incident.acknowledge INC-1',
    ]);
    const ofIncident = await ask('viewer', 'GET', '/api/incidents/INC-1');
    expect(ofIncident.body).toMatchObject({
      actions: [{ action: 'incident.resolve' }, { action: 'incident.acknowledge', actor: 'on-call' }],
    });
    const page = await ask('admin', 'GET', '/api/audit?limit=1&actor=on-call');
    expect(page.body).toMatchObject({ entries: [{ action: 'silence.add' }] });
    const next = await ask(
      'admin',
      'GET',
      `/api/audit?actor=on-call&cursor=${String(page.body['nextCursor'])}`,
    );
    expect(next.body).toMatchObject({ entries: [{ subject: 'INC-1' }], nextCursor: null });
    expect((await ask('responder', 'GET', '/api/audit')).status).toBe(403);
  });

  it('is refused when it is done to nothing, and leaves no trace', async () => {
    expect((await ask('admin', 'POST', '/api/incidents/INC-7/resolve')).status).toBe(404);
    expect((await ask('admin', 'DELETE', '/api/silences/SIL-7')).status).toBe(404);
    expect((await ask('admin', 'GET', '/api/audit')).body).toEqual({ entries: [], nextCursor: null });
  });
});
