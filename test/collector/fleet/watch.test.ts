import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { OwnStories } from '../../../collector/fleet/own-stories.ts';
import { FleetWatch, LOOK_INTERVAL_MS } from '../../../collector/fleet/watch.ts';
import { Recorder } from '../../../collector/incident/recorder.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const QUIET_MS = 10 * MINUTE_MS;

let parts: Awaited<ReturnType<typeof openParts>>;

beforeEach(async () => {
  parts = await openParts();
  parts.recorder.start();
  parts.fleet.start();
});
afterEach(() => {
  parts.fleet.stop();
  parts.recorder.stop();
  parts.store.close();
});

function hello(...names: string[]): void {
  for (const name of names) {
    parts.store.greetAgent({ name, epoch: TEST_EPOCH, version: '0.1.0', capture: 'ring' }, parts.clock.now());
    parts.fleet.heard(name);
  }
}

/** Time in which these agents are heard. */
function pass(durationMs: number, ...heard: string[]): void {
  for (let passedMs = 0; passedMs < durationMs; passedMs += LOOK_INTERVAL_MS) {
    parts.clock.advance(LOOK_INTERVAL_MS);
    for (const name of heard) parts.fleet.heard(name);
  }
}

function told(): string[] {
  return parts.events.map(
    ({ type, incident }) => `${type} ${incident.severity} ${incident.kind} ${incident.nodes.join()}`,
  );
}

describe('a missing agent', () => {
  /** Another run of the collector on the same store. */
  function nextRun(): FleetWatch {
    const { store, guard, clock, recorder } = parts;
    const next = new FleetWatch({
      store,
      guard,
      stories: new OwnStories({ store, recorder, clock, quietMs: QUIET_MS }),
      clock,
      missingAfterMs: MINUTE_MS,
      stoppedAfterMs: HOUR_MS,
    });
    next.start();
    return next;
  }

  it('is one incident within the stated time, which stays open and ends at once when it is back', () => {
    hello('w1', 'w2');
    pass(MINUTE_MS - LOOK_INTERVAL_MS, 'w2');
    expect(told()).toEqual([]);
    pass(LOOK_INTERVAL_MS, 'w2');
    expect(told()).toEqual(['opened critical missing w1']);
    expect(parts.events[0]?.incident).toMatchObject({
      title: 'Nothing is heard of the agent on w1',
      first: '2026-11-23T09:00:00.000000000Z',
      peer: null,
    });
    pass(2 * QUIET_MS, 'w2');
    expect(told()).toHaveLength(1);
    parts.clock.advance(1000);
    hello('w1');
    expect(told()).toEqual(['opened critical missing w1', 'resolved critical missing w1']);
    expect(parts.events[1]?.incident.message).toBe('The agent on w1 is heard again');
  });

  it('is heard again without a new connection, too', () => {
    hello('w1');
    pass(MINUTE_MS);
    parts.fleet.heard('w1');
    expect(told()).toEqual(['opened critical missing w1', 'resolved critical missing w1']);
  });

  it('that goes missing again is the same incident again', () => {
    hello('w1');
    pass(MINUTE_MS);
    hello('w1');
    pass(MINUTE_MS);
    expect(told()).toEqual([
      'opened critical missing w1',
      'resolved critical missing w1',
      'reopened critical missing w1',
    ]);
  });

  it('is none while the collector itself is away, and is found by the next run', () => {
    hello('w1', 'w2');
    parts.fleet.stop();
    parts.clock.advance(HOUR_MS);
    const next = nextRun();
    parts.clock.advance(MINUTE_MS / 2);
    expect(told()).toEqual([]);
    hello('w2');
    next.heard('w2');
    parts.clock.advance(MINUTE_MS / 2);
    expect(told()).toEqual(['opened critical missing w1']);
    next.stop();
  });

  it('that a collector missed ends in the next run, though it restarted in between', () => {
    hello('w1');
    pass(MINUTE_MS);
    parts.fleet.stop();
    const next = nextRun();
    next.heard('w1');
    expect(told()).toEqual(['opened critical missing w1', 'resolved critical missing w1']);
    next.stop();
  });

  it('is told when the store can be written again', () => {
    hello('w1');
    const { recordOwn } = Recorder.prototype;
    parts.recorder.recordOwn = () => {
      throw new PlasmawatchError('PW_STORE', 'cannot use the store: database or disk is full');
    };
    pass(2 * MINUTE_MS);
    expect(told()).toEqual([]);
    parts.recorder.recordOwn = recordOwn;
    pass(LOOK_INTERVAL_MS);
    expect(told()).toEqual(['opened critical missing w1']);
  });

  it('is no story any more once it was retired, or forgotten', () => {
    hello('w1', 'w2');
    pass(MINUTE_MS);
    expect(parts.fleet.retire('w1', 'admin')).toBe(true);
    expect(parts.fleet.retire('w3', 'admin')).toBe(false);
    expect(told().at(-1)).toBe('resolved critical missing w1');
    pass(MINUTE_MS);
    parts.store.remove({ beforeMs: parts.clock.now(), maxReports: 1000, maxRows: 100 });
    pass(LOOK_INTERVAL_MS);
    expect(told().at(-1)).toBe('resolved critical missing w2');
    expect(told()).toHaveLength(4);
    hello('w1');
    pass(MINUTE_MS);
    expect(told().at(-1)).toBe('opened critical missing w1');
  });
});

describe('an agent that somebody stopped', () => {
  it('is a note first, and a warning after a longer time', () => {
    hello('w1');
    pass(MINUTE_MS, 'w1');
    parts.fleet.stopped('w1');
    pass(MINUTE_MS);
    expect(told()).toEqual(['opened info missing w1']);
    pass(HOUR_MS - 2 * MINUTE_MS);
    expect(told()).toHaveLength(1);
    pass(2 * MINUTE_MS);
    expect(told()).toEqual(['opened info missing w1', 'escalated warning missing w1']);
    hello('w1');
    expect(told().at(-1)).toBe('resolved warning missing w1');
    expect(parts.store.fleet.agent('w1')?.stoppedMs).toBeNull();
  });

  it('and started again is not worth a word', () => {
    hello('w1');
    parts.fleet.stopped('w1');
    pass(MINUTE_MS / 2);
    hello('w1');
    pass(HOUR_MS, 'w1');
    expect(told()).toEqual([]);
  });
});

describe('an agent whose disk refuses its reports', () => {
  it('is an incident at its first heartbeat, which ends when the disk works', () => {
    hello('w1');
    parts.fleet.noteCounters('w1', { capture_running: 1, spool_refused: 1 });
    parts.fleet.noteCounters('w1', { capture_running: 1, spool_refused: 1 });
    expect(told()).toEqual(['opened warning blind w1']);
    expect(parts.events[0]?.incident.message).toBe(
      'The disk of the agent on w1 is full or broken: what the agent sees is not told until it works',
    );
    parts.fleet.noteCounters('w1', { capture_running: 1, spool_refused: 0 });
    expect(told()).toEqual(['opened warning blind w1', 'resolved warning blind w1']);
  });
});

describe('an agent that captures nothing', () => {
  it('is an incident at its first heartbeat, which ends with the first one that captures', () => {
    hello('w1');
    parts.fleet.noteCounters('w1', { capture_running: 1 });
    parts.fleet.noteCounters('w1', { capture_running: 0 });
    parts.fleet.noteCounters('w1', { capture_running: 0 });
    expect(told()).toEqual(['opened warning blind w1']);
    parts.fleet.noteCounters('w1', { capture_running: 1 });
    expect(told()).toEqual(['opened warning blind w1', 'resolved warning blind w1']);
  });

  it('is one incident with what the agent itself reports of it', () => {
    hello('w1');
    parts.fleet.noteCounters('w1', { capture_running: 0 });
    const anomaly = {
      type: 'anomaly',
      id: 'a',
      kind: 'blind',
      severity: 'warning',
      node: 'w1',
      verdict: null,
      flow: null,
      count: 0,
      bytes: 0,
      first: '2026-11-23T09:00:00Z',
      last: '2026-11-23T09:00:00Z',
      message: 'Node w1 is partly blind: the capture stands still',
    } as const;
    parts.recorder.record('w1', TEST_EPOCH, [{ sequence: 1, report: anomaly }]);
    parts.fleet.noteCounters('w1', { capture_running: 1 });
    expect(told()).toEqual(['opened warning blind w1']);
    parts.recorder.record('w1', TEST_EPOCH, [{ sequence: 2, report: { ...anomaly, ended: true } }]);
    expect(told()).toEqual(['opened warning blind w1', 'resolved warning blind w1']);
  });

  it('and goes missing is only missing', () => {
    hello('w1');
    parts.fleet.noteCounters('w1', { capture_running: 0 });
    pass(MINUTE_MS);
    expect(told()).toEqual([
      'opened warning blind w1',
      'resolved warning blind w1',
      'opened critical missing w1',
    ]);
  });
});
