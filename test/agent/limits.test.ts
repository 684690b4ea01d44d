/**
 * Every table of fixed size in the agent, outside of capture and decode: each is filled, and then an unknown peer
 * completes a handshake and takes a megabyte. It has to be reported as critical, with its address and its bytes.
 */
import { afterEach, describe, expect, it } from 'vitest';
import type { FrameSink } from '../../agent/capture/source.ts';
import { MAX_ATTEMPT_ACTIVITIES } from '../../agent/detect/attempts.ts';
import { LOOKS_A_TICK } from '../../agent/detect/attribution.ts';
import { MAX_FOREIGN_ACTIVITIES } from '../../agent/detect/foreign-process.ts';
import { MAX_CONVERSATIONS, MAX_PENDING } from '../../agent/detect/unexpected.ts';
import { MAX_CONNECTIONS } from '../../agent/detect/unseen.ts';
import { MAX_RECORDINGS, MAX_RECORDINGS_A_MINUTE } from '../../agent/evidence/evidence.ts';
import { MAX_WAITING_REPORTS } from '../../agent/uplink/report-queue.ts';
import type { ProcessSocket } from '../../agent/ray/sockets.ts';
import { parseAddress, type Address } from '../../common/address.ts';
import { manyPeers } from '../support/fake-flow.ts';
import { sendConnection, sendHandshake, sendPacket } from '../support/tcp-traffic.ts';
import { MEMBER, NODE, NODE_ADDRESS, WatchedAgent } from '../support/watched-agent.ts';

const PEER = '192.0.2.9';
const MEGABYTE = 1_000_000;
const SEGMENT_BYTES = 1400;
/** The grace period of an unknown peer that may have just joined, in seconds, and a tick. */
const GRACE_SECONDS = 11;

interface Bound {
  readonly table: string;
  /** The constant in the code, or the setting. */
  readonly size: number;
  readonly agent?: Parameters<typeof WatchedAgent.start>[0];
  /** Seconds after which the peer has to be reported. */
  readonly within?: number;
  /** Puts so many into the table; called again, with others, when the peer is there. */
  readonly fill: (watched: WatchedAgent, count: number, round: number) => Promise<void> | void;
  /** Whether the table was full; where nothing says so, the count has to do. */
  readonly isFull?: (watched: WatchedAgent) => boolean;
  /** What the node says that it is partly blind of. */
  readonly blind?: RegExp;
}

/** Connections of as many peers to the node. */
function floodWith(send: (sink: FrameSink, from: string, time: number) => void) {
  return (watched: WatchedAgent, count: number, round: number): void =>
    watched.deliver((sink, time) => {
      for (let index = 0; index < count; index++) send(sink, manyPeers(round * 1_000_000 + index), time);
    });
}

const handshakes = floodWith((sink, from, time) => sendHandshake(sink, { from, to: NODE, time }));
const forgedSegments = floodWith((sink, from, time) =>
  sendPacket(sink, { from, to: NODE, time, flags: 'ack', payloadLength: 1400 }),
);
const forgedSyns = floodWith((sink, from, time) => sendPacket(sink, { from, to: NODE, time, flags: 'syn' }));

const BOUNDS: readonly Bound[] = [
  {
    table: 'conversations, by real handshakes',
    size: MAX_CONVERSATIONS,
    fill: handshakes,
    blind: /^Node w1 is partly blind: \d+ unexpected connections found no room/,
  },
  {
    table: 'conversations, by forged segments',
    size: MAX_CONVERSATIONS,
    fill: forgedSegments,
    blind: /^Node w1 is partly blind: \d+ unexpected connections found no room/,
  },
  {
    table: 'attempts that are reported one by one',
    size: MAX_ATTEMPT_ACTIVITIES,
    fill: async (watched, count, round) => {
      forgedSyns(watched, count, round);
      await watched.pass(12);
    },
    isFull: (watched) => watched.anomalies().some(({ kind }) => kind === 'connection-attempts'),
  },
  {
    table: 'pending activities',
    size: MAX_PENDING,
    agent: { fromDns: true },
    within: GRACE_SECONDS,
    fill: handshakes,
  },
  {
    table: 'recordings at a time',
    size: MAX_RECORDINGS,
    fill: (watched, count, round) => handshakes(watched, Math.ceil(count / 4), round),
  },
  {
    table: 'recordings in a minute, by forged segments',
    size: MAX_RECORDINGS_A_MINUTE.unproven,
    fill: forgedSegments,
    isFull: ({ agent }) => (agent.counters().evidence_turned_away ?? 0) > 0,
  },
  {
    table: 'recordings in a minute, by real handshakes',
    size: MAX_RECORDINGS_A_MINUTE.answered,
    fill: handshakes,
    isFull: ({ agent }) => (agent.counters().evidence_turned_away ?? 0) > 0,
  },
  {
    table: 'looks for processes',
    size: LOOKS_A_TICK.outgoing + LOOKS_A_TICK.answered,
    agent: { find: () => Promise.resolve({ isRaylet: true, description: { user: { id: '1000' } } }) },
    fill: (watched, count, round) => {
      handshakes(watched, count, round);
      watched.deliver((sink, time) => {
        for (let port = 1; port <= count; port++)
          sendHandshake(sink, { from: `${NODE_ADDRESS}:${round * 10_000 + port}`, to: MEMBER, time });
      });
    },
  },
  {
    table: 'programs that are no raylet',
    size: MAX_FOREIGN_ACTIVITIES,
    agent: {
      find: ({ localPort }) =>
        Promise.resolve({
          isRaylet: false,
          description: { process: { pid: localPort, name: 'nc', executable: `/tmp/nc-${localPort}` } },
        }),
    },
    fill: async (watched, count, round) => {
      // So many looks in a second, so the connections stay open for as long.
      for (let port = 1; port <= count; port++) {
        watched.deliver((sink, time) =>
          sendHandshake(sink, { from: `${NODE_ADDRESS}:${round * 2000 + port}`, to: MEMBER, time }),
        );
        if (port % LOOKS_A_TICK.outgoing === 0) await watched.pass(1);
      }
    },
    isFull: (watched) =>
      new Set(
        watched
          .anomalies()
          .filter(({ kind }) => kind === 'foreign-process')
          .map(({ id }) => id),
      ).size > MAX_FOREIGN_ACTIVITIES,
  },
  {
    table: 'flows, by forged SYNs',
    size: 1024,
    agent: { maxFlows: 1024 },
    fill: forgedSyns,
    isFull: ({ agent }) => (agent.counters().flows_evicted ?? 0) > 0,
  },
  {
    table: 'flows, by forged segments',
    size: 1024,
    agent: { maxFlows: 1024 },
    fill: forgedSegments,
    isFull: ({ agent }) => (agent.counters().flows_evicted ?? 0) > 0,
  },
  {
    table: 'flows, by real handshakes',
    size: 1024,
    agent: { maxFlows: 1024 },
    fill: handshakes,
    isFull: ({ agent }) => (agent.counters().flows_evicted ?? 0) > 0,
  },
  {
    table: 'reports that wait for the disk',
    size: MAX_WAITING_REPORTS,
    // A second until the disk is tried again.
    within: 3,
    fill: (watched, count, round) => {
      watched.isDiskFull = round === 0;
      handshakes(watched, round === 0 ? 9000 : 100, round);
      forgedSegments(watched, count, round + 100);
    },
    blind: / \d+ reports were lost, because the queue or the spool is full/,
  },
  {
    table: 'spool, by the connections of one peer',
    size: 2000,
    agent: { maxReports: 2000 },
    fill: async (watched, count, round) => {
      watched.deliver((sink, time) => {
        for (let port = 1; port <= count; port++)
          sendConnection(sink, { from: `198.51.100.1:${round * 10_000 + port}`, to: NODE, time });
      });
      if (round === 0) await watched.pass(70);
    },
    blind: / \d+ reports were lost, because the queue or the spool is full/,
  },
  {
    table: 'spool, by forged segments',
    size: 2000,
    agent: { maxReports: 2000 },
    fill: async (watched, count, round) => {
      forgedSegments(watched, count, round);
      await watched.pass(round === 0 ? 20 : 0);
    },
    blind: / \d+ reports were lost, because the queue or the spool is full/,
  },
  {
    table: 'connections of the raylet that are compared with the capture',
    size: MAX_CONNECTIONS,
    fill: async (watched, count) => {
      const [local, remote] = [address(NODE_ADDRESS), address('10.0.0.2')];
      watched.sockets = Array.from({ length: count }, (_, index): ProcessSocket => ({
        local,
        localPort: index & 0xffff,
        remote: { ...remote, w3: remote.w3 + (index >> 16) },
        remotePort: 43_800,
        state: 'established',
        listening: false,
        outgoing: true,
      }));
      await watched.pass(1);
    },
    blind: / 500 connections of the raylet were not compared with the capture/,
  },
  {
    table: 'endpoints that the raylet was seen to connect to',
    size: 1000,
    fill: async (watched, count, round) => {
      const local = address(NODE_ADDRESS);
      watched.sockets = Array.from({ length: count }, (_, index): ProcessSocket => ({
        local,
        localPort: 1000,
        remote: { ...address('198.51.100.0'), w3: address('198.51.100.0').w3 + round * 10_000 + index },
        remotePort: 7000 + index,
        state: 'established',
        listening: false,
        outgoing: true,
      }));
      await watched.pass(1);
    },
  },
];

describe('an unknown peer that takes a megabyte', () => {
  let watched: WatchedAgent | undefined;
  afterEach(() => watched?.stop());

  it.each(BOUNDS)(
    'is reported as critical, with its bytes, though this is full: $table',
    async ({ size, agent, within = 2, fill, isFull, blind }) => {
      watched = await WatchedAgent.start(agent);
      await fill(watched, size + 500, 0);
      watched.deliver((sink, time) => sendHandshake(sink, { from: `${PEER}:5000`, to: NODE, time }));
      await fill(watched, Math.min(500, size), 1);
      takeMegabyte(watched);
      await watched.pass(within);
      expect(reportsOf(watched)[0]).toMatchObject({
        kind: 'unexpected-peer',
        severity: 'critical',
        node: 'w1',
        verdict: { reason: 'no-rule' },
      });
      expect(isFull?.(watched) ?? true).toBe(true);
      await watched.pass(12);
      expect(bytesReported(watched)).toBeGreaterThanOrEqual(MEGABYTE);
      expect(watched.agent.counters().spool_turned_away_invalid).toBe(0);
      const losses = watched.anomalies().find(({ kind }) => kind === 'blind')?.message;
      expect(losses ?? '').toMatch(blind ?? /^/);
    },
  );

  it.each([
    ['forged segments', forgedSegments],
    ['real handshakes', handshakes],
  ])('is recorded as evidence in a flood of %s', async (_name, flood) => {
    watched = await WatchedAgent.start();
    flood(watched, 1000, 0);
    watched.deliver((sink, time) => sendHandshake(sink, { from: `${PEER}:5000`, to: NODE, time }));
    for (let second = 1; second < 12; second++) {
      flood(watched, 100, second);
      takeMegabyte(watched);
      await watched.pass(1);
    }
    takeMegabyte(watched);
    await watched.pass(10);
    const ids = new Set(reportsOf(watched).map(({ id }) => id));
    const evidence = watched
      .reports()
      .filter((report) => report.type === 'evidence' && ids.has(report.anomaly));
    expect(evidence.length).toBeGreaterThanOrEqual(1);
  });

  it('is one of ten thousand whose activity gave way before it took a gigabyte', async () => {
    watched = await WatchedAgent.start();
    watched.deliver((sink, time) => sendHandshake(sink, { from: `${PEER}:5000`, to: NODE, time }));
    await watched.pass(1);
    handshakes(watched, MAX_CONVERSATIONS + 500, 0);
    await watched.pass(1);
    const before = reportsOf(watched).length;
    // The rest of it is what the kernel counts: more segments say no more.
    takeMegabyte(watched);
    await watched.pass(2);
    expect(reportsOf(watched).length).toBeGreaterThan(before);
    expect(reportsOf(watched).at(-1)).toMatchObject({ severity: 'critical' });
    expect(bytesReported(watched)).toBeGreaterThanOrEqual(MEGABYTE);
  });
});

describe('a flood of forged SYNs', () => {
  let watched: WatchedAgent | undefined;
  afterEach(() => watched?.stop());

  it('is one warning beside those of the first peers, and hides nobody while it lasts', async () => {
    const rounds = process.env['PLASMAWATCH_TEST_ROUNDS'];
    const [seconds, perSecond] = rounds === undefined ? [3, 20_000] : [Number(rounds), 100_000];
    watched = await WatchedAgent.start({ maxFlows: 8192 });
    for (let second = 0; second < seconds; second++) {
      if (second === seconds - 2) {
        watched.deliver((sink, time) => sendHandshake(sink, { from: `${PEER}:5000`, to: NODE, time }));
        takeMegabyte(watched);
      }
      forgedSyns(watched, perSecond, second % 10);
      await watched.pass(1);
    }
    expect(reportsOf(watched)[0]).toMatchObject({ kind: 'unexpected-peer', severity: 'critical' });
    await watched.pass(25);
    expect(bytesReported(watched)).toBeGreaterThanOrEqual(MEGABYTE);
    const attempts = watched
      .anomalies()
      .filter(({ kind, flow }) => kind !== 'blind' && flow?.source.ip !== PEER);
    expect(new Set(attempts.map(({ severity }) => severity))).toEqual(new Set(['warning']));
    expect(new Set(attempts.map(({ id }) => id)).size).toBe(MAX_ATTEMPT_ACTIVITIES + 1);
    const sum = attempts.findLast(({ kind }) => kind === 'connection-attempts');
    expect(sum?.attempts?.ports).toEqual([{ port: 43_800, count: sum?.count }]);
    expect(sum?.count).toBeGreaterThan(seconds * perSecond - 2 * MAX_ATTEMPT_ACTIVITIES);
  }, 600_000);
});

function takeMegabyte(watched: WatchedAgent): void {
  watched.deliver((sink, time) => {
    for (let sent = 0; sent < MEGABYTE; sent += SEGMENT_BYTES) {
      const payload = {
        flags: 'ack',
        payloadLength: SEGMENT_BYTES,
        sequence: 2 + sent,
        acknowledgment: 2,
      } as const;
      sendPacket(sink, { from: NODE, to: `${PEER}:5000`, time, ...payload });
    }
  });
}

function reportsOf(watched: WatchedAgent) {
  return watched.anomalies().filter(({ flow }) => flow?.source.ip === PEER);
}

/** Of all activities of the peer, what the last report of each says. */
function bytesReported(watched: WatchedAgent): number {
  const last = new Map(reportsOf(watched).map(({ id, bytes }) => [id, bytes]));
  return [...last.values()].reduce((sum, bytes) => sum + bytes, 0);
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
