import pino from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import { ReportQueue } from '../../../agent/uplink/report-queue.ts';
import { openSpool, type Spool } from '../../../agent/uplink/spool.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import type { Report } from '../../../common/event.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';

let spool: Spool;
let clock: FakeClock;
let queue: ReportQueue;
let stored: Report[];
let log: { level: number; code?: string; msg: string }[];
let tries: number;
let isFull: boolean;

beforeEach(async () => {
  spool = await openSpool({ path: ':memory:', maxBytes: 1e9, maxReports: 100_000 });
  clock = new FakeClock();
  [stored, log, tries, isFull] = [[], [], 0, false];
  const append = spool.append.bind(spool);
  spool.append = (reports) => {
    tries++;
    if (isFull) throw new PlasmawatchError('PW_DISK_FULL', 'cannot append to the spool: disk is full');
    return append(reports);
  };
  queue = new ReportQueue({
    spool,
    clock,
    logger: pino(
      { level: 'info' },
      { write: (line: string) => log.push(JSON.parse(line) as (typeof log)[0]) },
    ),
    stored: (reports) => stored.push(...reports),
  });
});

describe('reports on their way to the disk', () => {
  it('are stored in order, and then told to be', () => {
    const reports = [sampleAnomaly(1), sampleFlowReport(), sampleAnomaly(2)];
    for (const report of reports) queue.push(report);
    expect(stored).toEqual([]);
    queue.flush();
    expect(stored).toEqual(reports);
    expect(spool.counters().pending).toBe(3);
  });

  it('are written together where they are only of flows, and at once with whatever somebody is notified of', () => {
    for (let second = 0; second < 60; second++) {
      queue.push(sampleFlowReport());
      queue.flush();
      clock.advance(1000);
    }
    expect(tries).toBeLessThanOrEqual(12);
    expect(stored.length).toBeGreaterThanOrEqual(54);
    queue.push(sampleAnomaly(1));
    queue.flush();
    expect(stored).toHaveLength(61);
    expect(queue.counters().waiting).toBe(0);
    // No more than one transaction takes waits for the time.
    for (let count = 0; count < 500; count++) queue.push(sampleFlowReport());
    queue.flush();
    expect(queue.counters().waiting).toBe(0);
  });

  it('wait while the disk is full, which is said once, and are stored once there is room', () => {
    isFull = true;
    for (let second = 0; second < 60; second++) {
      queue.push(sampleAnomaly(second));
      queue.flush();
      clock.advance(1000);
    }
    expect(stored).toEqual([]);
    expect(queue.counters()).toEqual({ waiting: 60, isRefused: true, lost: 0 });
    isFull = false;
    queue.flush();
    expect(stored).toHaveLength(60);
    expect(queue.counters()).toEqual({ waiting: 0, isRefused: false, lost: 0 });
    expect(log.map(({ code, msg }) => [code, msg])).toEqual([
      [
        'PW_DISK_FULL',
        'cannot append to the spool: disk is full: the agent watches on, and reports wait in memory until it works',
      ],
      [undefined, 'the spool takes reports again: 60 waited, 0 are lost'],
    ]);
  });

  it('try a full disk once a second, however many packets come', () => {
    isFull = true;
    queue.push(sampleAnomaly(1));
    for (let block = 0; block < 1000; block++) queue.flush();
    clock.advance(999);
    queue.flush();
    expect(tries).toBe(1);
    clock.advance(1);
    queue.flush();
    expect(tries).toBe(2);
  });

  it('are lost and counted beyond the bound, and the last room belongs to anomalies', () => {
    isFull = true;
    for (let index = 0; index < 9000; index++) queue.push(sampleFlowReport());
    for (let index = 0; index < 3000; index++) queue.push(sampleAnomaly(index));
    expect(queue.counters()).toMatchObject({ waiting: 10_000, lost: 2000 });
    isFull = false;
    queue.flush();
    expect(stored.filter(({ type }) => type === 'anomaly')).toHaveLength(2000);
  });

  it('leave the last room to who was answered and to the state of the node, whatever comes before', () => {
    isFull = true;
    const steps = ['flow', 'evidence', 'attempt', 'unproven', 'update', 'first', 'node'] as const;
    const waiting = steps.map((step) => {
      for (let index = 0; index < 11_000; index++) queue.push(sampleAnomaly(index), step);
      return queue.counters().waiting;
    });
    expect(waiting).toEqual([8000, 8000, 8800, 9200, 9600, 10_000, 10_200]);
    expect(queue.counters().lost).toBe(7 * 11_000 - 10_200);
  });

  it('are tried once more at the end, and lost with a word where the disk refuses even then', () => {
    isFull = true;
    queue.push(sampleAnomaly(1));
    queue.flush();
    queue.end();
    expect(tries).toBe(2);
    expect(queue.counters()).toMatchObject({ waiting: 0, lost: 1 });
    expect(log.at(-1)?.msg).toBe('1 reports lost: the spool could not be written before shutdown');
  });
});
