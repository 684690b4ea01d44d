import { describe, expect, it } from 'vitest';
import { inWallTime } from '../../agent/report-times.ts';
import { sampleAnomaly, sampleEvidence, sampleFlowReport } from '../support/sample-report.ts';

describe('the times of a report', () => {
  it.each([
    [3_600_000, '2026-11-23T10:42:10.208000000Z', '2026-11-23T10:42:12.260000000Z'],
    [-86_400_000, '2026-11-22T09:42:10.208000000Z', '2026-11-22T09:42:12.260000000Z'],
    [900, '2026-11-23T09:42:11.108000000Z', '2026-11-23T09:42:13.160000000Z'],
    [-300, '2026-11-23T09:42:09.908000000Z', '2026-11-23T09:42:11.960000000Z'],
    [0, '2026-11-23T09:42:10.208000000Z', '2026-11-23T09:42:12.260000000Z'],
  ])('with a wall clock that is %i ms ahead', (aheadMs, start, end) => {
    expect(inWallTime(sampleAnomaly(1), aheadMs)).toMatchObject({
      first: start,
      last: end,
      flow: { event: { start, end } },
    });
    expect(inWallTime(sampleFlowReport(), aheadMs)).toMatchObject({ flow: { event: { start, end } } });
  });

  it('are times even where the wall clock was set before 1970', () => {
    const { first } = inWallTime(sampleAnomaly(1), -90 * 365 * 86_400_000) as ReturnType<
      typeof sampleAnomaly
    >;
    expect(first).toBe('1970-01-01T00:00:00.208000000Z');
  });

  it('are none in evidence', () => {
    const evidence = sampleEvidence('w1-1');
    expect(inWallTime(evidence, 3_600_000)).toBe(evidence);
  });
});
