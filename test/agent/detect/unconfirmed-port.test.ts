import { describe, expect, it } from 'vitest';
import { UnconfirmedPortDetector } from '../../../agent/detect/unconfirmed-port.ts';
import type { OwnPort } from '../../../agent/membership/own-port.ts';
import { anomalySchema, type Anomaly } from '../../../common/event.ts';

const MINUTE_MS = 60_000;
const START_MS = Date.UTC(2026, 10, 23, 12);
const GUESS: OwnPort = { source: 'guess', ports: [43_800], doubt: 'no raylet is seen here' };
const CONFIRMED: OwnPort = { source: 'raylet', ports: [36_875] };

function setUp() {
  const reports: Anomaly[] = [];
  let ids = 0;
  const detector = new UnconfirmedPortDetector(
    { node: 'w1', createId: () => `port-${++ids}`, report: (anomaly) => reports.push(anomaly) },
    5 * MINUTE_MS,
  );
  const observe = (minute: number, port: OwnPort): void =>
    detector.observe(port, START_MS + minute * MINUTE_MS);
  return { reports, observe };
}

describe('UnconfirmedPortDetector', () => {
  it('is silent about a guess that is confirmed in time, and about none', () => {
    const { reports, observe } = setUp();
    for (let minute = 0; minute < 30; minute++) observe(minute, minute % 5 === 4 ? CONFIRMED : GUESS);
    for (const source of ['rules', 'not expected'] as const)
      for (let minute = 30; minute < 50; minute++) observe(minute, { source, ports: [] });
    expect(reports).toEqual([]);
  });

  it('reports a guess of five minutes, again each minute, and its end', () => {
    const { reports, observe } = setUp();
    observe(0, CONFIRMED);
    for (let minute = 1; minute <= 8; minute++) observe(minute, GUESS);
    observe(9, CONFIRMED);
    observe(10, CONFIRMED);
    expect(reports).toHaveLength(3 + 1);
    expect(new Set(reports.map(({ id }) => id))).toEqual(new Set(['port-1']));
    expect(reports[0]).toMatchObject({
      kind: 'unconfirmed-port',
      severity: 'warning',
      first: '2026-11-23T12:01:00.000000000Z',
      last: '2026-11-23T12:06:00.000000000Z',
      message:
        'Node w1 may be watched at the wrong port: object-manager port 43800 guessed, not confirmed: no raylet is seen here',
    });
    expect(reports.map(({ ended }) => ended)).toEqual([undefined, undefined, undefined, true]);
    for (const report of reports) expect(anomalySchema.safeParse(report).success).toBe(true);
  });
});
