import * as fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { ActivityTracker, type ActivityPhase, type EvidenceClaim } from '../../../agent/detect/activities.ts';
import type { Candidate } from '../../../agent/detect/activity.ts';
import type { Standing } from '../../../agent/flow/standing.ts';
import { anomalySchema, type Anomaly } from '../../../common/event.ts';
import { describeFake, FakeFlow, manyPeers } from '../../support/fake-flow.ts';

const START = Date.UTC(2026, 10, 23, 12) / 1000;
const NODE = '10.0.0.1:43800';
const ROOM = 20;

describe('ActivityTracker', () => {
  let reports: (Anomaly & { phase: ActivityPhase })[];
  let recorded: { peer: string; claim: EvidenceClaim }[];
  let hasEvidenceRoom: boolean;
  let tracker: ActivityTracker<undefined>;
  let second: number;

  beforeEach(() => {
    reports = [];
    recorded = [];
    hasEvidenceRoom = true;
    second = START;
    let ids = 0;
    tracker = new ActivityTracker(
      {
        node: 'w1',
        createId: () => `a${++ids}`,
        report: (anomaly, phase) => {
          if (reports.length < 100) anomalySchema.parse(anomaly);
          reports.push({ ...anomaly, phase });
        },
        record: (_id, flow, claim) => {
          if (hasEvidenceRoom) recorded.push({ peer: describeFake(flow, '').source.ip, claim });
          return hasEvidenceRoom;
        },
        firstEnded: () => {},
        describe: describeFake,
      },
      ROOM,
    );
  });

  function candidate(flow: FakeFlow, standing: Standing): Candidate<undefined> {
    const { source } = describeFake(flow.flow, '');
    return {
      flow: flow.flow,
      key: source.ip,
      standing,
      open: () => ({
        kind: 'unexpected-peer',
        severity: standing === 'attempt' ? 'warning' : 'critical',
        verdict: { allowed: false, rule: null, reason: 'no-rule' },
        service: 'object-manager',
        message: `${source.ip} ${standing}`,
      }),
    };
  }

  /** A connection that is added now. */
  function connect(from: string, standing: Standing = 'answered', bytes = 0): FakeFlow {
    const flow = new FakeFlow(from, NODE, second);
    flow.move(bytes);
    tracker.add(candidate(flow, standing), second * 1000);
    return flow;
  }

  function tick(seconds = 1): void {
    for (let passed = 0; passed < seconds; passed++) tracker.tick(++second * 1000);
  }

  function phasesOf(peer: string): string[] {
    return reports.filter(({ flow }) => flow?.source.ip === peer).map(({ phase }) => phase);
  }

  function isOpen(flow: FakeFlow): boolean {
    return tracker.of(flow.flow) !== undefined;
  }

  it('turns nobody away who was answered, and reports the last numbers of those that give way', () => {
    const flows = Array.from({ length: ROOM }, (_, index) => connect(manyPeers(index)));
    flows[0]?.move(500);
    connect('192.0.2.9:5000');
    expect(phasesOf('192.0.2.9')).toEqual(['opened']);
    expect(tracker.size).toBe(ROOM);
    expect(reports.filter(({ phase }) => phase === 'over')).toHaveLength(1);
    expect(tracker.suppressed).toBe(1);
  });

  it('lets unproven activities give way before answered ones, whatever they claim to have moved', () => {
    const answered = Array.from({ length: ROOM - 2 }, (_, index) => connect(manyPeers(index)));
    const forged = [connect('198.51.100.1:1', 'unproven', 1e9), connect('198.51.100.2:1', 'unproven', 1e9)];
    connect('192.0.2.8:5000');
    connect('192.0.2.9:5000');
    expect(forged.map(isOpen)).toEqual([false, false]);
    expect(answered.every(isOpen)).toBe(true);
  });

  it('lets those give way that moved least, then those that are quiet for longest', () => {
    const heavy = connect(manyPeers(0), 'answered', 1e6);
    second += 5;
    const old = connect(manyPeers(1));
    second += 5;
    const others = Array.from({ length: ROOM - 2 }, (_, index) => connect(manyPeers(index + 2)));
    connect('192.0.2.9:5000');
    expect([heavy, old, ...others].filter((flow) => !isOpen(flow))).toEqual([old]);
  });

  it('does not take one for a victim that has grown since it was chosen', () => {
    const flows = Array.from({ length: ROOM }, (_, index) => connect(manyPeers(index)));
    connect(manyPeers(100));
    // Two are chosen at a time: the next one is now a thief.
    const [, next] = flows;
    next?.move(1e9);
    connect(manyPeers(101));
    expect(next !== undefined && isOpen(next)).toBe(true);
    expect(phasesOf('172.0.0.101')).toEqual(['opened']);
  });

  it('reports a connection again that moves data after its activity gave way, without counting bytes twice', () => {
    const thief = connect('192.0.2.9:5000', 'answered', 140);
    for (let index = 0; index < ROOM; index++) connect(manyPeers(index), 'answered', 1e4);
    expect(isOpen(thief)).toBe(false);
    tick();
    expect(phasesOf('192.0.2.9')).toEqual(['opened', 'over']);
    thief.move(1e9, second);
    tick();
    expect(phasesOf('192.0.2.9')).toEqual(['opened', 'over', 'opened']);
    expect(reports.filter(({ flow }) => flow?.source.ip === '192.0.2.9').map(({ bytes }) => bytes)).toEqual([
      200, 200, 1e9,
    ]);
    expect(isOpen(thief)).toBe(true);
  });

  it('reports what a connection moved that ended before it could come back', () => {
    const thief = connect('192.0.2.9:5000');
    for (let index = 0; index < ROOM; index++) connect(manyPeers(index), 'answered', 1e4);
    thief.move(5e6);
    tracker.flowEnded(thief.flow);
    expect(reports.at(-1)).toMatchObject({ phase: 'opened', severity: 'critical', bytes: 5e6 });
    expect(tracker.of(thief.flow)).toBeUndefined();
  });

  it('says nothing more of a connection that is allowed meanwhile', () => {
    const member = connect('192.0.2.9:5000');
    for (let index = 0; index < ROOM; index++) connect(manyPeers(index), 'answered', 1e4);
    tracker.release(member.flow);
    member.move(1e9);
    tick(2);
    expect(phasesOf('192.0.2.9')).toEqual(['opened', 'over']);
  });

  it('reports at once when a connection proves more', () => {
    const flow = connect('192.0.2.9:5000', 'attempt');
    tracker.add(candidate(flow, 'unproven'), second * 1000);
    tracker.add(candidate(flow, 'answered'), second * 1000);
    tracker.add(candidate(flow, 'answered'), second * 1000);
    expect(reports.map(({ phase, severity, message, id }) => [phase, severity, message, id])).toEqual([
      ['opened', 'warning', '192.0.2.9 attempt', 'a1'],
      ['raised', 'critical', '192.0.2.9 unproven', 'a1'],
      ['raised', 'critical', '192.0.2.9 answered', 'a1'],
    ]);
  });

  it('is not marked by what was forged before: who is answered is an activity of its own, with its own evidence', () => {
    connect('192.0.2.9:1', 'unproven');
    const forged = connect('192.0.2.9:2', 'unproven');
    recorded.length = 0;
    const real = connect('192.0.2.9:3', 'answered', 1e6);
    expect(reports.at(-1)).toMatchObject({ id: 'a2', phase: 'opened', flow: { source: { port: 3 } } });
    expect(recorded).toEqual([{ peer: '192.0.2.9', claim: 'answered' }]);
    // What one of several proves later is no other matter.
    forged.move(40);
    tracker.add(candidate(forged, 'answered'), second * 1000);
    expect(tracker.of(forged.flow)?.id).toBe('a2');
    for (const { flow } of [real, forged]) tracker.flowEnded(flow);
    tracker.end(second * 1000);
    const last = new Map(reports.map(({ id, bytes }) => [id, bytes]));
    expect([...last]).toEqual([
      ['a1', 60 + 100],
      ['a2', 1e6 + 60],
    ]);
  });

  it('takes what proves less into the activity of a peer that was answered', () => {
    connect('192.0.2.9:1');
    connect('192.0.2.9:2', 'unproven');
    expect([tracker.size, reports.length]).toEqual([1, 1]);
  });

  it('goes on where the clock is set back', () => {
    for (let index = 0; index < 2000; index++) connect(manyPeers(index), 'unproven');
    second -= 3600;
    tick(2);
    const flow = connect('192.0.2.9:5000', 'unproven', 1000);
    tick();
    expect(isOpen(flow)).toBe(true);
  });

  it('reports so many forged peers in a second and no more, those that moved most first', () => {
    for (let index = 0; index < 3000; index++) connect(manyPeers(index), 'unproven');
    expect(reports.filter(({ phase }) => phase === 'opened')).toHaveLength(1000);
    const thief = connect('192.0.2.9:5000', 'unproven');
    expect(isOpen(thief)).toBe(false);
    thief.move(100_000);
    tick();
    expect(phasesOf('192.0.2.9')).toEqual(['opened']);
    tick(20);
    expect(reports.filter(({ phase }) => phase === 'opened').length).toBeLessThanOrEqual(1000 + 21 * 100);
    expect(tracker.suppressed).toBeGreaterThanOrEqual(2001);
  });

  it('lets who moved data come back in a flood of forged peers that never stops', () => {
    const flood = (count: number): void => {
      for (let index = 0; index < count; index++)
        connect(manyPeers(count * (second - START) + index), 'unproven');
    };
    flood(2000);
    const thief = connect('192.0.2.9:5000', 'unproven', 100_000);
    for (let passed = 0; passed < 3; passed++) {
      flood(500);
      tick();
    }
    expect(phasesOf('192.0.2.9')[0]).toBe('opened');
    expect(isOpen(thief)).toBe(true);
  });

  it('lets who moved data come back in a flood of whole handshakes that never stops', () => {
    let next = 0;
    const flood = (count: number): void => {
      for (let index = 0; index < count; index++) connect(manyPeers(next++), 'answered');
    };
    flood(25_000);
    expect(reports.filter(({ phase }) => phase === 'opened')).toHaveLength(20_000);
    const thief = connect('192.0.2.9:5000', 'answered', 100_000);
    for (let passed = 0; passed < 3; passed++) {
      flood(2000);
      tick();
    }
    expect(phasesOf('192.0.2.9')[0]).toBe('opened');
    thief.move(1e9);
    tick(2);
    expect(isOpen(thief)).toBe(true);
    expect(reports.filter(({ phase }) => phase === 'opened').length).toBeLessThanOrEqual(20_000 + 6 * 1100);
  });

  it('admits at once who was not let in unproven and is answered now', () => {
    for (let index = 0; index < 1000; index++) connect(manyPeers(index), 'unproven');
    const flow = connect('192.0.2.9:5000', 'unproven');
    tracker.add(candidate(flow, 'answered'), second * 1000);
    expect(phasesOf('192.0.2.9')).toEqual(['opened']);
  });

  it('bounds the reports of connections that take each other the place', () => {
    const flows = Array.from({ length: 50 * ROOM }, (_, index) => connect(manyPeers(index)));
    const before = reports.length;
    for (let passed = 0; passed < 10; passed++) {
      for (const flow of flows) flow.move(1000, second);
      tick();
    }
    // What comes back takes another's place: two reports each, beside those of the growing ones.
    expect(reports.length - before).toBeLessThanOrEqual(2 * (100 + 10 * 100) + ROOM);
  });

  it('keeps the packets of who moves much, though there was no room for its first', () => {
    hasEvidenceRoom = false;
    const thief = connect('192.0.2.9:5000');
    hasEvidenceRoom = true;
    thief.move(2e6, second);
    tick(10);
    expect(recorded).toEqual([{ peer: '192.0.2.9', claim: 'heavy' }]);
    thief.move(2e6, second);
    tick(10);
    expect(recorded).toHaveLength(1);
  });

  it('looks at a few activities for each that gives way, not at all of them', () => {
    const room = 2000;
    const large = new ActivityTracker<undefined>(
      {
        node: 'w1',
        createId: () => 'a',
        report: () => {},
        record: () => true,
        firstEnded: () => {},
        describe: describeFake,
      },
      room,
    );
    let reads = 0;
    const flood = (from: number, count: number): void => {
      for (let index = from; index < from + count; index++) {
        const flow = new FakeFlow(manyPeers(index), NODE, second);
        Object.defineProperty(flow.initiator, 'bytes', { get: () => (reads++, 60) });
        large.add(candidate(flow, 'answered'), second * 1000);
      }
    };
    flood(0, room);
    reads = 0;
    flood(room, 5000);
    expect(large.size).toBe(room);
    expect(reads / 5000).toBeLessThan(40);
  });

  it('reports every byte of every peer once, in any order of connections, evictions, proofs and ends', () => {
    const step = fc.record({
      what: fc.constantFrom('connect', 'connect', 'move', 'move', 'prove', 'end', 'tick', 'allow'),
      peer: fc.integer({ min: 0, max: 2 * ROOM }),
      bytes: fc.integer({ min: 1, max: 5000 }),
      standing: fc.constantFrom<Standing>('unproven', 'answered'),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 50, maxLength: 300 }), (steps) => {
        reports.length = 0;
        const open: { flow: FakeFlow; standing: Standing }[] = [];
        const moved = new Map<string, number>();
        const leave = (flow: FakeFlow): void => {
          const { source } = describeFake(flow.flow, '');
          moved.set(source.ip, (moved.get(source.ip) ?? 0) + source.bytes);
        };
        for (const { what, peer, bytes, standing } of steps) {
          const index = peer % Math.max(1, open.length);
          const chosen = open[index];
          if (what === 'connect') open.push({ flow: connect(manyPeers(peer), standing, bytes), standing });
          else if (what === 'tick') tick(bytes % 15);
          else if (chosen === undefined) continue;
          else if (what === 'move') chosen.flow.move(bytes, second);
          else if (what === 'prove') {
            chosen.standing = 'answered';
            tracker.add(candidate(chosen.flow, 'answered'), second * 1000);
          } else {
            // Allowed now: what it moved while it was in no activity is nobody's matter.
            if (what === 'allow' && !isOpen(chosen.flow)) continue;
            if (what === 'allow') tracker.release(chosen.flow.flow);
            else tracker.flowEnded(chosen.flow.flow);
            leave(chosen.flow);
            open.splice(index, 1);
          }
        }
        for (const { flow } of open) {
          tracker.flowEnded(flow.flow);
          leave(flow);
        }
        tracker.end(second * 1000);
        const last = new Map(
          reports.map(({ id, flow, bytes }) => [id, [flow?.source.ip ?? '', bytes] as const]),
        );
        const reported = new Map<string, number>();
        for (const [ip, bytes] of last.values()) reported.set(ip, (reported.get(ip) ?? 0) + bytes);
        expect(Object.fromEntries(reported)).toEqual(Object.fromEntries(moved));
      }),
      { numRuns: 100 },
    );
  });
});
