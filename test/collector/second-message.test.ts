/** One short connection is one message: its first packets are notified, and the rest of the same second is no news. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../collector/incident/timing.ts';
import { openParts, sampleIncident, TEST_EPOCH, TEST_TIMING } from '../support/collector-parts.ts';
import { contactOf } from '../support/unknown-peer.ts';

const MINUTE_MS = 60_000;

describe('an incident of one connection', () => {
  it.each([
    ['a few headers', 280, 1431, false],
    ['less than any object in a store', 280, 99_999, false],
    ['an object', 280, 100_000, true],
    ['an object, and not twice as much', 60_000, 100_000, false],
    ['twice an object', 100_000, 200_000, true],
  ])('that goes on to %s: %d bytes, then %d', (_what, first, then, isNews) => {
    const incident = sampleIncident({ count: 1, bytes: then, highlights: [] });
    const numbers = { severity: 'critical', breadth: 'story', nodeCount: 1, peerCount: 1, count: 1 } as const;
    const told = { type: 'opened', atMs: incident.openedMs, ...numbers, bytes: first } as const;
    const afterMs = incident.openedMs + TEST_TIMING.updateIntervalMs;
    const decision = decide(incident, { told, dueMs: null }, TEST_TIMING, afterMs);
    expect('tell' in decision).toBe(isNews);
  });

  it.each([
    ['its own end', { bytes: 1431 }, ['opened']],
    ['a second connection', { bytes: 1431, count: 2 }, ['opened', 'updated']],
  ])('notifies a receiver of %s within half an hour as it should', async (_what, later, types) => {
    const { recorder, announcer, clock, store } = await openParts();
    const told = () => store.pending('ops', 100).map(({ type }) => type);
    recorder.record('w1', TEST_EPOCH, [
      { sequence: 1, report: contactOf({ peer: '10.77.9.66', bytes: 280 }) },
    ]);
    recorder.record('w1', TEST_EPOCH, [{ sequence: 2, report: contactOf({ peer: '10.77.9.66', ...later }) }]);
    for (let minute = 0; minute < 30; minute++) {
      clock.advance(MINUTE_MS);
      announcer.tellDue();
    }
    expect(told()).toEqual(types);
    store.close();
  });
});
