import { describe, expect, it } from 'vitest';
import { UnknownMembershipDetector, type MembershipState } from '../../../agent/detect/unknown-membership.ts';
import { anomalySchema, type Anomaly } from '../../../common/event.ts';

const START_MS = Date.UTC(2026, 10, 23, 12);
const MINUTE_MS = 60_000;
const NODE = '10.0.0.2';

function setUp() {
  const reports: Anomaly[] = [];
  let ids = 0;
  const detector = new UnknownMembershipDetector(
    {
      node: 'w1',
      createId: () => `unknown-${++ids}`,
      report: (anomaly) => reports.push(anomalySchema.parse(anomaly)),
    },
    5 * MINUTE_MS,
  );
  const observe = (from: number, to: number, state: Partial<MembershipState> = {}): void => {
    for (let second = from; second < to; second += 10) {
      const nowMs = START_MS + second * 1000;
      detector.observe({ awaitedSinceMs: START_MS, peers: [], isOverdue: false, ...state }, nowMs);
    }
  };
  const told = () => reports.map(({ id, severity, count, ended }) => [id, severity, count, ended === true]);
  return { detector, reports, observe, told };
}

describe('UnknownMembershipDetector', () => {
  it('is silent in a roll-out that takes two minutes, whoever is pending', () => {
    const { observe, reports } = setUp();
    observe(0, 150, { peers: [NODE] });
    observe(150, 160, { awaitedSinceMs: undefined });
    expect(reports).toEqual([]);
  });

  it('is a warning after 150 s with pending peers, once a minute, and ends with the list', () => {
    const { observe, told } = setUp();
    observe(0, 280, { peers: [NODE, '10.0.0.3'] });
    observe(280, 300, { awaitedSinceMs: undefined });
    expect(told()).toEqual([
      ['unknown-1', 'warning', 2, false],
      ['unknown-1', 'warning', 2, false],
      ['unknown-1', 'warning', 2, false],
      ['unknown-1', 'warning', 2, true],
    ]);
  });

  it('is a warning after the given time without any peer, and stays one however long it takes', () => {
    const { observe, reports } = setUp();
    observe(0, 300);
    expect(reports).toEqual([]);
    observe(300, 3600, { isOverdue: true });
    expect(new Set(reports.map(({ severity }) => severity))).toEqual(new Set(['warning']));
  });

  it('is critical at once when the wait for pending peers is over, though none is pending any more', () => {
    const { observe, told } = setUp();
    observe(0, 130, { peers: [NODE] });
    observe(130, 140, { isOverdue: true });
    expect(told()).toEqual([['unknown-1', 'critical', 1, false]]);
  });

  it('goes on while peers are pending, though no raylet needs the list at the moment', () => {
    const { observe, told } = setUp();
    observe(0, 160, { peers: [NODE] });
    observe(160, 200, { peers: [NODE], awaitedSinceMs: undefined });
    expect(told()).toEqual([['unknown-1', 'warning', 1, false]]);
  });

  it('names ten of many peers', () => {
    const { observe, reports } = setUp();
    observe(150, 160, {
      peers: Array.from({ length: 5000 }, (_, index) => `fd00:1234:5678:9abc:def0:1234:5678:${index}`),
    });
    expect(reports[0]?.count).toBe(5000);
    expect(reports[0]?.message).toMatch(
      /5000 peers may be members \(fd00:.* and 4990 more\): pending until the list is there$/,
    );
  });
});
