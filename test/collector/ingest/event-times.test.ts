import { describe, expect, it } from 'vitest';
import { MAX_AGE_MS, withPossibleTimes } from '../../../collector/ingest/event-times.ts';
import type { Anomaly } from '../../../common/event.ts';
import { sampleAnomaly, sampleEvidence, sampleFlowReport } from '../../support/sample-report.ts';

const NOW = '2026-11-23T10:00:00.000000000Z';
const EARLIEST = '2026-10-24T10:00:00.000000000Z';
const BEFORE = '2026-11-23T09:59:58.208000000Z';
const bounds = { nowMs: Date.parse(NOW), maxSkewMs: 1000 };

describe('the times of a report', () => {
  it.each([
    ['of a moment ago', BEFORE, NOW, BEFORE, NOW],
    ['within the skew of a clock', BEFORE, '2026-11-23T10:00:00.9Z', BEFORE, '2026-11-23T10:00:00.9Z'],
    ['that waited in a spool for days', '2026-11-01T00:00:00Z', '2026-11-01T00:00:01Z', 'same', 'same'],
    ['beyond the skew', BEFORE, '2026-11-23T10:00:01.1Z', BEFORE, NOW],
    ['of the year 2200', '2200-01-01T00:00:00Z', '2200-01-01T00:00:01Z', NOW, NOW],
    ['of the year 9999', BEFORE, '9999-12-31T23:59:59Z', BEFORE, NOW],
    ['of a year with six digits', BEFORE, '275760-01-01T00:00:00Z', BEFORE, NOW],
    ['of 1970', '1970-01-01T00:00:00Z', '1970-01-01T00:00:01Z', EARLIEST, NOW],
    ['of the year 0', '0000-01-01T00:00:00Z', NOW, NOW, NOW],
    ['of a connection open for years', '2020-01-01T00:00:00Z', BEFORE, EARLIEST, BEFORE],
    ['just too long ago', '2026-10-24T09:59:59Z', '2026-10-24T09:59:59.999Z', EARLIEST, NOW],
    ['on no day', '2026-13-41T00:00:00Z', '2026-02-31T25:00:00Z', NOW, NOW],
    ['that end before they start', NOW, BEFORE, BEFORE, BEFORE],
    ['that start in the future', '2026-11-24T00:00:00Z', BEFORE, BEFORE, BEFORE],
    ['by a leap second', BEFORE, '2026-11-23T09:59:60Z', BEFORE, NOW],
  ])('%s', (_name, start, end, expectedStart, expectedEnd) => {
    const expected = expectedStart === 'same' ? [start, end] : [expectedStart, expectedEnd];
    const anomaly = sampleAnomaly(1);
    const flow = anomaly.flow === null ? null : { ...anomaly.flow, event: { start, end } };
    const bad: Anomaly = { ...anomaly, flow, first: start, last: end };
    const good = withPossibleTimes(bad, bounds) as Anomaly;
    expect([good.first, good.last]).toEqual(expected);
    expect([good.flow?.event.start, good.flow?.event.end]).toEqual(expected);
    const report = { ...sampleFlowReport(), flow: { ...sampleFlowReport().flow, event: { start, end } } };
    expect(withPossibleTimes(report, bounds)).toEqual({
      ...report,
      flow: { ...report.flow, event: { start: expected[0], end: expected[1] } },
    });
    // What is possible is not even copied.
    expect(withPossibleTimes(good, bounds)).toBe(good);
  });

  it('of a process are kept where they are possible, and left out where not', () => {
    const startOf = (start: string) =>
      (
        withPossibleTimes(
          { ...sampleAnomaly(1), first: BEFORE, last: BEFORE, process: { pid: 1, name: 'x', start } },
          bounds,
        ) as Anomaly
      ).process?.start;
    expect(startOf('2019-01-01T00:00:00Z')).toBe('2019-01-01T00:00:00Z');
    for (const start of ['2200-01-01T00:00:00Z', '1969-01-01T00:00:00Z', '2026-99-99T00:00:00Z']) {
      expect(startOf(start)).toBeUndefined();
    }
  });

  it('are none in evidence', () => {
    const evidence = sampleEvidence('w1-1');
    expect(withPossibleTimes(evidence, bounds)).toBe(evidence);
    expect(MAX_AGE_MS).toBe(Date.parse(NOW) - Date.parse(EARLIEST));
  });
});
