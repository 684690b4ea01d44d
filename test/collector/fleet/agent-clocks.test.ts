import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { createUplink } from '../../../agent/uplink/client.ts';
import { openSpool } from '../../../agent/uplink/spool.ts';
import { Roster } from '../../../collector/fleet/roster.ts';
import type { Ingest } from '../../../collector/ingest/ingest.ts';
import { PING_INTERVAL_MS } from '../../../collector/ingest/session.ts';
import { systemClock } from '../../../common/clock.ts';
import { silentLogger } from '../../../common/log.ts';
import { INGEST_PATH, PROTOCOL_VERSION } from '../../../common/protocol.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { runIngest } from '../../support/running-ingest.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const HOUR_MS = 3_600_000;

let parts: Awaited<ReturnType<typeof openParts>>;
let ingest: Ingest;
let roster: Roster;
let url: string;
const closers: (() => unknown)[] = [];

beforeEach(async () => {
  parts = await openParts();
  const running = await runIngest(parts);
  ({ ingest, url } = running);
  roster = new Roster({ ...parts, connectedAgents: () => ingest.connectedAgents() });
  closers.push(async () => {
    await running.stop();
    parts.store.close();
  });
});
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

const waitFor = (condition: () => void): Promise<void> =>
  vi.waitFor(condition, { timeout: 10_000, interval: 5 });

/** An agent's uplink on a clock that is ahead of the collector's, with one anomaly that waits. */
async function startAgent(name: string, aheadMs: number) {
  const ahead = { ms: aheadMs };
  const spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 1e5 });
  spool.append([{ ...sampleAnomaly(1), node: name, id: `${name}-1` }]);
  const uplink = createUplink({
    url,
    spool,
    identity: { agent: name, version: '0.1.0', capture: 'ring' },
    heartbeat: () => ({}),
    clock: { ...systemClock, now: () => parts.clock.now() + ahead.ms },
    logger: silentLogger,
    random: () => 0.5,
    connect: (to, options) => new WebSocket(to, options),
  });
  closers.push(async () => {
    await uplink.stop();
    spool.close();
  });
  uplink.start();
  await waitFor(() => expect(spool.counters().pending).toBe(0));
  return { ahead, uplink };
}

describe('the clock of an agent', () => {
  it('is known with the first report, whose incident has the times of our clock', async () => {
    const { first, last } = sampleAnomaly(1);
    await startAgent('w1', 2 * HOUR_MS);
    expect(roster.status('w1')?.clock).toEqual({ offsetMs: 2 * HOUR_MS, uncertaintyMs: 1 });
    const incident = parts.store.incident('INC-1');
    expect(Date.parse(incident?.first ?? '')).toBe(Date.parse(first) - 2 * HOUR_MS);
    expect(Date.parse(incident?.last ?? '')).toBe(Date.parse(last) - 2 * HOUR_MS);
    // As the agent sent it.
    expect(parts.store.reportsAfter(0, 1)[0]?.report).toMatchObject({ first, last });
  });

  it('is left alone within the limit', async () => {
    const { first } = sampleAnomaly(1);
    await startAgent('w1', -900);
    expect(roster.status('w1')?.clock?.offsetMs).toBe(-900);
    expect(parts.store.incident('INC-1')?.first).toBe(first);
  });

  it('orders what two nodes saw', async () => {
    await startAgent('w1', HOUR_MS);
    await startAgent('w2', 0);
    const incident = parts.store.incident('INC-1');
    expect(incident?.nodes).toEqual(['w1', 'w2']);
    expect(Date.parse(incident?.first ?? '')).toBe(Date.parse(sampleAnomaly(1).first) - HOUR_MS);
    expect(incident?.last).toBe(sampleAnomaly(1).last);
  });

  it('is asked for again, and known anew when it was set', async () => {
    const { ahead } = await startAgent('w1', HOUR_MS);
    ahead.ms = 5;
    parts.clock.advance(PING_INTERVAL_MS);
    await waitFor(() => expect(roster.status('w1')?.clock?.offsetMs).toBe(5));
  });

  it('is unknown once the agent is gone', async () => {
    const { uplink } = await startAgent('w1', HOUR_MS);
    await uplink.stop();
    await waitFor(() => expect(roster.status('w1')?.clock).toBeNull());
  });

  it('is in the metrics by its distance only', async () => {
    await startAgent('w1', -HOUR_MS);
    await startAgent('w2', 500);
    parts.clocks.measure();
    const text = await parts.metrics.registry.metrics();
    expect(text).toContain('plasmawatch_agents_clock_offset_max_seconds 3600\n');
    expect(text).toContain('plasmawatch_agents_clock_wrong 1\n');
  });

  it('is told when it is asked for, and not otherwise', async () => {
    const socket = new WebSocket(url + INGEST_PATH);
    const closed = once(socket, 'close');
    await once(socket, 'open');
    const hello = { type: 'hello', protocol: PROTOCOL_VERSION, agent: 'w1', epoch: TEST_EPOCH };
    socket.send(JSON.stringify({ ...hello, version: '0.1.0', capture: 'ring' }));
    socket.send(JSON.stringify({ type: 'time', originMs: 1, receivedMs: 1, sentMs: 1 }));
    const [code, reason] = (await closed) as [number, Buffer];
    expect([code, String(reason)]).toEqual([1008, 'a time that was not asked for']);
  });
});
