import { beforeEach, describe, expect, it } from 'vitest';
import { BlindDetector, type Unrecorded } from '../../../agent/detect/blind.ts';
import type { Anomaly } from '../../../common/event.ts';

const INTERVAL_MS = 10_000;
const NOTHING: Unrecorded = { connections: 0, fragments: 0, processes: 0, unchecked: 0, reports: 0 };

describe('BlindDetector', () => {
  let reports: Anomaly[];
  let detector: BlindDetector;
  let nowMs: number;
  let received: number;
  let lost: number;
  let unseenConnections: number;
  let unrecorded: Unrecorded;

  beforeEach(() => {
    reports = [];
    nowMs = Date.UTC(2026, 10, 23);
    received = 0;
    lost = 0;
    unseenConnections = 0;
    unrecorded = NOTHING;
    let ids = 0;
    detector = new BlindDetector({
      node: 'w1',
      createId: () => `blind-${++ids}`,
      report: (a) => reports.push(a),
    });
  });

  /** One interval with so many packets, of which so many were lost. */
  function interval(packets: number, lostPackets: number, isCapturing = true, unseen = 0): void {
    nowMs += INTERVAL_MS;
    received += packets;
    lost += lostPackets;
    unseenConnections += unseen;
    detector.observe({ received, lost, isCapturing, unseenConnections, unrecorded }, nowMs);
  }

  it('is silent while nothing, or next to nothing, is lost', () => {
    interval(0, 0);
    interval(100_000, 0);
    interval(100_000, 1000);
    expect(reports).toEqual([]);
  });

  it('reports once when more than one packet in a hundred was lost', () => {
    interval(1000, 0);
    interval(1000, 11);
    interval(1000, 11);
    expect(reports).toHaveLength(1);
    expect(reports[0]).toMatchObject({
      kind: 'blind',
      severity: 'warning',
      node: 'w1',
      count: 11,
      flow: null,
      message: 'Node w1 is partly blind: 11 packets were lost before they could be judged',
    });
  });

  it('goes on as one story, told again once a minute, until three calm intervals have passed', () => {
    for (let minute = 0; minute < 12; minute++) interval(1000, 500);
    expect(reports.map(({ id }) => id)).toEqual(['blind-1', 'blind-1']);
    interval(1000, 0);
    interval(1000, 0);
    expect(detector.isBlind).toBe(true);
    interval(1000, 0);
    expect(detector.isBlind).toBe(false);
  });

  it('does not end between the two thresholds', () => {
    interval(1000, 100);
    for (let count = 0; count < 10; count++) interval(1000, 5);
    expect(detector.isBlind).toBe(true);
  });

  it('begins a new story after the end of one', () => {
    interval(1000, 100);
    for (let count = 0; count < 3; count++) interval(1000, 0);
    interval(1000, 200);
    expect(reports.map(({ id, count, ended }) => [id, count, ended])).toEqual([
      ['blind-1', 100, undefined],
      ['blind-1', 100, true],
      ['blind-2', 200, undefined],
    ]);
    expect(reports[1]?.message).toBe('Node w1 sees everything again; 100 packets were lost');
  });

  it('reports a capture that stands still, though nothing is counted as lost', () => {
    interval(0, 0, false);
    expect(reports[0]?.message).toBe('Node w1 is partly blind: the capture stands still');
  });

  it('reports a capture that runs and does not show what the raylet does, until packets come again', () => {
    interval(0, 0, true, 2);
    expect(reports.map(({ message }) => message)).toEqual([
      'Node w1 is partly blind: the raylet has 2 connections that the capture does not show',
    ]);
    for (let count = 0; count < 5; count++) interval(0, 0);
    expect(detector.isBlind).toBe(true);
    for (let count = 0; count < 3; count++) interval(10, 0);
    expect(detector.isBlind).toBe(false);
    expect(reports.at(-1)).toMatchObject({ id: 'blind-1', ended: true });
  });

  it.each([
    ['connections', '7 unexpected connections found no room among the activities'],
    ['fragments', '7 packets in pieces found no room'],
    ['processes', '7 connections of this node ended before their program could be looked up'],
    ['unchecked', '7 connections of the raylet were not compared with the capture'],
    ['reports', '7 reports were lost, because the queue or the spool is full'],
  ] as const)('reports %s that found no room, however many packets came', (loss, words) => {
    interval(1_000_000, 0);
    unrecorded = { ...NOTHING, [loss]: 7 };
    interval(1_000_000, 0);
    expect(reports).toMatchObject([{ count: 7, message: `Node w1 is partly blind: ${words}` }]);
    for (let count = 0; count < 3; count++) interval(1_000_000, 0);
    expect(reports.at(-1)).toMatchObject({
      ended: true,
      message: `Node w1 sees everything again; 0 packets were lost; ${words}`,
    });
  });

  it('goes on while anything finds no room, a little at a time', () => {
    for (let connections = 1; connections < 20; connections++) {
      unrecorded = { ...NOTHING, connections };
      interval(1_000_000, 0);
    }
    expect(detector.isBlind).toBe(true);
    expect(new Set(reports.map(({ id }) => id)).size).toBe(1);
  });
});
