import { describe, beforeEach, afterEach, expect, it } from 'vitest';
import { Agent } from '../../agent/agent.ts';
import { openSpool, type Spool } from '../../agent/uplink/spool.ts';
import type { Anomaly } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { Ruleset } from '../../rules/match.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSource } from '../support/fake-source.ts';
import { noProcesses } from '../support/no-processes.ts';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { sampleRule } from '../support/sample-rule.ts';
import { settle } from '../support/settle.ts';
import { sendConnection, sendHandshake } from '../support/tcp-traffic.ts';

const OWN = '10.77.0.11';
const MINUTE_S = 60;
/** More turns of the event loop than an answer of the dashboard takes to be read. */
const TURNS = 10;

/** An agent on a worker, with nothing between the packets and the disk that is not the real thing. */
describe('an agent that learns the members from the dashboard of the head', () => {
  let clock: FakeClock;
  let source: FakeSource;
  let spool: Spool;
  let agent: Agent;
  let told: (Anomaly & { readonly atMs: number })[];
  let nodes: string[];
  let isAway: boolean;
  let port: number;

  beforeEach(async () => {
    clock = new FakeClock();
    source = new FakeSource();
    spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 100_000 });
    told = [];
    nodes = ['10.77.0.10', OWN, '10.77.0.12'];
    isAway = false;
    port = 5000;
    let ids = 0;
    const ruleset = new Ruleset({
      rules: [sampleRule()],
      services: new Map([['object-manager', 'auto']]),
      groups: new Map([['cluster', { ray: 'auto' }]]),
    });
    agent = await Agent.start(
      { node: 'w1', ruleset, maxFlows: 1024 },
      {
        clock,
        spool,
        logger: silentLogger,
        fetch: () =>
          isAway ? Promise.reject(new Error('refused')) : Promise.resolve(new Response(summary())),
        resolve: () => Promise.reject(new Error('no names here')),
        lookUpRecords: () => Promise.reject(new Error('no names here')),
        findRaylets: () => Promise.resolve([sampleRaylet({ nodeAddress: OWN, objectManagerPort: 43_800 })]),
        localAddresses: () => [OWN],
        ...noProcesses,
        rayletSockets: () => Promise.resolve([]),
        rulesRefused: () => 0,
        createId: () => `anomaly-${++ids}`,
        random: () => 0.5,
        onAnomaly: (anomaly) => told.push({ ...anomaly, atMs: clock.now() }),
        openSource: () => Promise.resolve(source),
        createUplink: () => ({
          start: () => {},
          nudge: () => {},
          stop: () => Promise.resolve(),
          counters: () => ({ connected: 0, connections: 0, failures: 0, reportsSent: 0 }),
        }),
      },
    );
  });

  afterEach(async () => {
    await agent.stop();
    spool.close();
    expect(clock.pending).toBe(0);
  });

  function summary(): string {
    const listed = nodes.map((address) => ({
      raylet: {
        nodeId: `id of ${address}`,
        nodeManagerAddress: address,
        objectManagerPort: 43_800,
        state: 'ALIVE',
        isHeadNode: address === '10.77.0.10',
      },
    }));
    return JSON.stringify({ data: { summary: listed } });
  }

  /** Lets time pass in tenths of a second. */
  async function pass(seconds: number, each: (second: number) => void = () => {}): Promise<void> {
    for (let tenth = 0; tenth < seconds * 10; tenth++) {
      if (tenth % 10 === 0) each(tenth / 10);
      clock.advance(100);
      for (let turn = 0; turn < TURNS; turn++) await settle();
    }
  }

  function exchange(from: string, to = OWN): void {
    const time = clock.now() / 1000;
    source.deliver((sink) => sendConnection(sink, { from: `${from}:${++port}`, to: `${to}:43800`, time }));
  }

  it('raises no false alarm while it is away for ten minutes, says so once, and recovers by itself', async () => {
    const work = (second: number): void => {
      if (second % 10 === 0) for (const node of ['10.77.0.10', '10.77.0.12']) exchange(node);
      if (second % 10 === 5) exchange(OWN, '10.77.0.12');
    };
    await pass(MINUTE_S, work);
    isAway = true;
    const awaySinceMs = clock.now();
    await pass(5 * MINUTE_S - 10, work);
    expect(told).toEqual([]);
    expect(agent.counters().membership_age_seconds).toBeGreaterThanOrEqual(280);

    await pass(5 * MINUTE_S + 10, work);
    expect(agent.counters().membership_age_seconds).toBeGreaterThanOrEqual(600);
    expect(new Set(told.map(({ kind, severity, id }) => `${kind} ${severity} ${id}`))).toEqual(
      new Set(['stale-membership warning anomaly-1']),
    );
    const afterS = ((told[0]?.atMs ?? 0) - awaySinceMs) / 1000;
    expect(afterS).toBeGreaterThan(290);
    expect(afterS).toBeLessThan(315);

    isAway = false;
    await pass(20, work);
    expect(agent.counters().membership_age_seconds).toBeLessThan(10);
    expect(told.at(-1)).toMatchObject({ kind: 'stale-membership', id: 'anomaly-1', ended: true });
    const reports = told.length;
    await pass(2 * MINUTE_S, work);
    expect(told).toHaveLength(reports);
    expect(agent.counters().flows_unexpected).toBe(0);
  }, 60_000);

  it('says nothing but who joined of a node that talks before the next look is due', async () => {
    await pass(7);
    nodes.push('10.77.0.13');
    exchange('10.77.0.13');
    await pass(MINUTE_S);
    expect(told.map(({ kind, peer }) => `${kind} ${peer}`)).toEqual(['new-member 10.77.0.13']);
  });

  it('tells of a stranger within two seconds, and after ten where the dashboard has stopped to answer', async () => {
    const delaysOf = (): number[] => told.map(({ atMs, first }) => atMs - Date.parse(first));
    const call = (): void => {
      const time = clock.now() / 1000;
      source.deliver((sink) =>
        sendHandshake(sink, { from: `192.0.2.${++port % 256}:5000`, to: `${OWN}:43800`, time }),
      );
    };
    for (let stranger = 0; stranger < 5; stranger++) {
      call();
      await pass(0.3);
    }
    await pass(3);
    expect(told).toHaveLength(5);
    expect(Math.max(...delaysOf())).toBeLessThan(2000);
    told.length = 0;
    isAway = true;
    call();
    await pass(15);
    expect(told).toHaveLength(1);
    expect(Math.max(...delaysOf())).toBeGreaterThanOrEqual(10_000);
  });
});
