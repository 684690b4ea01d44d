import { describe, expect, it } from 'vitest';
import { StaleMembershipDetector } from '../../../agent/detect/stale-membership.ts';
import { anomalySchema, type Anomaly } from '../../../common/event.ts';

const MINUTE_MS = 60_000;
const START_MS = Date.UTC(2026, 10, 23, 12);

function setUp() {
  const reports: Anomaly[] = [];
  let ids = 0;
  const detector = new StaleMembershipDetector(
    {
      node: 'w1',
      createId: () => `stale-${++ids}`,
      report: (anomaly) => reports.push(anomaly),
    },
    5 * MINUTE_MS,
  );
  return { reports, detector };
}

describe('StaleMembershipDetector', () => {
  it('is silent while the source answers now and then', () => {
    const { reports, detector } = setUp();
    for (let minute = 0; minute < 20; minute++) detector.observe((minute % 6) * MINUTE_MS, START_MS);
    expect(reports).toEqual([]);
  });

  it('tells one story of ten minutes without an answer, and its end', () => {
    const { reports, detector } = setUp();
    for (let second = 0; second <= 600; second += 10)
      detector.observe(second * 1000, START_MS + second * 1000);
    detector.observe(2000, START_MS + 610_000);
    detector.observe(12_000, START_MS + 620_000);
    expect(new Set(reports.map(({ id }) => id))).toEqual(new Set(['stale-1']));
    // At 5:10, then once a minute, then the end.
    expect(reports).toHaveLength(1 + 4 + 1);
    expect(reports[0]).toMatchObject({
      kind: 'stale-membership',
      severity: 'warning',
      first: '2026-11-23T12:00:00.000000000Z',
      last: '2026-11-23T12:05:10.000000000Z',
    });
    expect(reports.map(({ ended }) => ended)).toEqual([...Array(5).fill(undefined), true]);
    for (const report of reports) expect(anomalySchema.safeParse(report).success).toBe(true);
  });
});
