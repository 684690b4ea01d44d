import { describe, expect, it } from 'vitest';
import { decide, type Decision } from '../../../collector/incident/timing.ts';
import type { Highlight, Incident } from '../../../collector/store/store.ts';
import type { Told } from '../../../collector/store/telling-table.ts';
import { sampleIncident, TEST_TIMING } from '../../support/collector-parts.ts';

const OPENED_MS = sampleIncident().openedMs;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const GB = 1e9;

/** Of a warning about one node, in three connections with 4200 bytes. */
function decideOf(
  changes: Partial<Incident>,
  { told = null, dueMs = null, afterMs = 0 }: { told?: Told | null; dueMs?: number | null; afterMs?: number },
): Decision {
  const incident = sampleIncident({ severity: 'warning', ...changes });
  return decide(incident, { told, dueMs }, TEST_TIMING, OPENED_MS + afterMs);
}

/** What was told when the incident opened. */
function told(changes: Partial<Told> = {}): Told {
  const numbers = { breadth: 'story', peerCount: 1, nodeCount: 1, count: 3, bytes: 4200 } as const;
  return { type: 'opened', atMs: OPENED_MS, severity: 'warning', ...numbers, ...changes };
}

describe('a receiver that knows nothing of an incident', () => {
  it('is told at once where it is critical', () => {
    expect(decideOf({ severity: 'critical' }, {})).toEqual({ tell: 'opened' });
  });

  it('is told after the group wait of what is milder', () => {
    expect(decideOf({}, {})).toEqual({ waitUntilMs: OPENED_MS + 10 * SECOND_MS });
    expect(decideOf({}, { afterMs: 10 * SECOND_MS })).toEqual({ tell: 'opened' });
  });

  it('is not told of one that was over before it was told', () => {
    expect(decideOf({ state: 'resolved' }, { afterMs: HOUR_MS })).toEqual({ waitUntilMs: null });
  });
});

describe('a receiver that was told', () => {
  it('is told at once that it became more severe', () => {
    expect(decideOf({ severity: 'critical' }, { told: told() })).toEqual({ tell: 'escalated' });
    expect(decideOf({ severity: 'warning' }, { told: told({ severity: 'critical' }) })).toEqual({
      waitUntilMs: OPENED_MS + 4 * HOUR_MS,
    });
  });

  it.each([
    ['ten times as many nodes', { nodeCount: 10 }, told()],
    ['the first GB', { bytes: GB }, told({ bytes: GB - 1 })],
    ['ten GB', { bytes: 10 * GB }, told({ bytes: 9 * GB })],
    ['a second node that sees what one had said', { nodeCount: 2 }, told()],
  ])('is told that it is worse after the group wait with %s', (_what, changes, before) => {
    const first = decideOf(changes, { told: before, afterMs: MINUTE_MS });
    const dueMs = OPENED_MS + MINUTE_MS + 10 * SECOND_MS;
    expect(first).toEqual({ waitUntilMs: dueMs });
    const between = { told: before, dueMs, afterMs: MINUTE_MS + 9 * SECOND_MS };
    expect(decideOf(changes, between)).toEqual({ waitUntilMs: dueMs });
    const due = { told: before, dueMs, afterMs: MINUTE_MS + 10 * SECOND_MS };
    expect(decideOf(changes, due)).toEqual({ tell: 'escalated' });
  });

  it.each([
    ['nine times as many nodes', { nodeCount: 18 }, told({ nodeCount: 2 })],
    ['twice the connections', { count: 6 }, told()],
    ['twice the bytes', { bytes: 9 * GB }, told({ bytes: 4 * GB })],
  ])('is told once in five minutes of %s', (_what, changes, before) => {
    expect(decideOf(changes, { told: before, afterMs: SECOND_MS })).toEqual({
      waitUntilMs: OPENED_MS + 5 * MINUTE_MS,
    });
    expect(decideOf(changes, { told: before, afterMs: 5 * MINUTE_MS })).toEqual({ tell: 'updated' });
  });

  it('is not told of what has not doubled, nor of what stays at nothing', () => {
    const hourLater = { afterMs: HOUR_MS };
    const repeat = { waitUntilMs: OPENED_MS + 4 * HOUR_MS };
    expect(decideOf({ count: 5, bytes: 8399 }, { told: told(), ...hourLater })).toEqual(repeat);
    const nothing = { count: 0, bytes: 0 };
    expect(decideOf(nothing, { told: told(nothing), ...hourLater })).toEqual(repeat);
  });

  it('is told again after four hours, unless somebody has acknowledged it', () => {
    const later = { told: told(), afterMs: 4 * HOUR_MS };
    expect(decideOf({}, later)).toEqual({ tell: 'repeated' });
    expect(decideOf({ state: 'acknowledged' }, later)).toEqual({ waitUntilMs: null });
    expect(decideOf({ state: 'acknowledged', count: 6 }, later)).toEqual({ tell: 'updated' });
  });

  it('is told of one more peer of a burst that moved data once in twenty seconds, and of more data at once', () => {
    const highlight: Highlight = {
      agent: 'w1',
      anomalyId: 'a',
      node: 'w1',
      kind: 'unexpected-peer',
      peer: '10.77.9.66',
      service: 'object-manager',
      state: 'established',
      severity: 'critical',
      dataBytes: 2e6,
      text: '',
    };
    const burst = {
      breadth: 'kind',
      severity: 'critical',
      peerCount: 8,
      bytes: 16e6,
      highlights: [highlight],
    } as const;
    const before = told({ breadth: 'kind', severity: 'critical', peerCount: 7, bytes: 14e6, mostBytes: 2e6 });
    const due = OPENED_MS + 20 * SECOND_MS;
    expect(decideOf(burst, { told: before, afterMs: SECOND_MS })).toEqual({ waitUntilMs: due });
    expect(decideOf(burst, { told: before, afterMs: MINUTE_MS })).toEqual({ tell: 'escalated' });
    const worse = { ...burst, highlights: [{ ...highlight, dataBytes: 2e7 }] };
    expect(decideOf(worse, { told: before, afterMs: SECOND_MS })).toEqual({
      waitUntilMs: OPENED_MS + 2 * SECOND_MS,
    });
    const warned = { ...burst, severity: 'warning' } as const;
    const calm = decideOf(warned, { told: told({ ...before, severity: 'warning' }), afterMs: MINUTE_MS });
    expect(calm).toEqual({ waitUntilMs: OPENED_MS + 4 * HOUR_MS });
  });

  it('is told of more attempts only as of more', () => {
    const fingerprint = '["contact-attempt","10.0.0.1","object-manager"]';
    const more = { fingerprint, breadth: 'kind', peerCount: 500, nodeCount: 20, count: 900 } as const;
    expect(decideOf(more, { told: told(), afterMs: MINUTE_MS })).toEqual({
      waitUntilMs: OPENED_MS + 5 * MINUTE_MS,
    });
  });

  it('is told once that it is over', () => {
    const resolved = { state: 'resolved' } as const;
    expect(decideOf(resolved, { told: told() })).toEqual({ tell: 'resolved' });
    expect(decideOf(resolved, { told: told({ type: 'resolved' }) })).toEqual({ waitUntilMs: null });
  });
});
