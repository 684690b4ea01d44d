import { beforeEach, describe, expect, it } from 'vitest';
import { MAX_SILENCES, Silences, type SilenceRequest } from '../../../collector/incident/silences.ts';
import type { Silence } from '../../../collector/store/silence-table.ts';
import { openParts, sampleIncident } from '../../support/collector-parts.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

let parts: Awaited<ReturnType<typeof openParts>>;
beforeEach(async () => {
  parts = await openParts();
});

/** Asks for a silence of scans, one day long. */
function add(changes: Partial<SilenceRequest> = {}) {
  const { silences, clock } = parts;
  const request = { matchers: { kind: ['scan' as const] }, reason: 'a drill', endMs: clock.now() + DAY_MS };
  return silences.add({ ...request, ...changes }, 'on-call');
}

const mutedBy = () => parts.silences.mutedBy(sampleIncident({ kind: 'scan' }), parts.clock.now());

describe('a silence', () => {
  it('has an author, a reason and an end, also after a restart', () => {
    const startMs = parts.clock.now();
    expect(add()).toEqual({
      silence: {
        id: 'SIL-1',
        matchers: { kind: ['scan'] },
        author: 'on-call',
        reason: 'a drill',
        createdMs: startMs,
        startMs,
        endMs: startMs + DAY_MS,
        endedBy: null,
        isStartRelative: true,
      },
    });
    const restarted = new Silences(parts);
    expect(restarted.mutedBy(sampleIncident({ kind: 'scan' }), startMs)).toBe('silence SIL-1');
  });

  it('silences from its start up to its end, and not at it', () => {
    add({ startMs: parts.clock.now() + MINUTE_MS, endMs: parts.clock.now() + 2 * MINUTE_MS });
    expect(mutedBy()).toBeUndefined();
    expect(parts.silences.activeCount()).toBe(0);
    parts.clock.advance(MINUTE_MS);
    expect(mutedBy()).toBe('silence SIL-1');
    expect(parts.silences.activeCount()).toBe(1);
    parts.clock.advance(MINUTE_MS - 1);
    expect(mutedBy()).toBe('silence SIL-1');
    parts.clock.advance(1);
    expect(mutedBy()).toBeUndefined();
  });

  it('that would have begun in the past begins now', () => {
    expect(add({ startMs: 0 })).toMatchObject({ silence: { startMs: parts.clock.now() } });
  });

  it('lasts exactly as long as was asked, while the clock goes on', () => {
    let nowMs = parts.clock.now();
    const silences = new Silences({ ...parts, clock: { now: () => nowMs++ } });
    const request = { matchers: { kind: ['scan' as const] }, reason: 'a drill', durationMs: MINUTE_MS };
    for (const startMs of [undefined, 0, nowMs + DAY_MS]) {
      const { silence } = silences.add({ ...request, startMs }, 'on-call') as { silence: Silence };
      expect(silence.endMs - silence.startMs).toBe(MINUTE_MS);
    }
    expect(silences.add({ ...request, durationMs: 0 }, 'on-call')).toMatchObject({ refusal: 'time' });
  });

  it('can be ended once before its time, by name', () => {
    add();
    parts.clock.advance(MINUTE_MS);
    const endMs = parts.clock.now();
    expect(parts.silences.end('SIL-1', 'admin')).toMatchObject({ endMs, endedBy: 'admin' });
    expect(mutedBy()).toBeUndefined();
    parts.clock.advance(MINUTE_MS);
    expect(parts.silences.end('SIL-1', 'somebody')).toMatchObject({ endMs, endedBy: 'admin' });
    expect(parts.silences.end('SIL-2', 'admin')).toBeUndefined();
  });

  it.each([
    ['ends before it begins', { startMs: 2e12, endMs: 1.9e12 }, 'it would end before it begins'],
    ['has ended already', { endMs: 1000 }, 'it would end before it begins'],
    ['lasts longer than 90 days', { endMs: Date.UTC(2027, 2, 1) }, 'it may begin within 90 days and last'],
    [
      'begins later than in 90 days',
      { startMs: Date.UTC(2027, 2, 1), endMs: Date.UTC(2027, 2, 2) },
      'it may begin within 90 days and last',
    ],
  ])('is refused when it %s', (_what, changes, message) => {
    expect(add(changes)).toEqual({ refusal: 'time', message: expect.stringContaining(message) as string });
    expect(parts.store.silences.current(0)).toEqual([]);
  });

  it('is one of a thousand at most; more are refused and counted until some have ended', async () => {
    for (let count = 0; count < MAX_SILENCES; count++) add();
    expect(add()).toMatchObject({ refusal: 'full' });
    expect(await parts.metrics.silencesTurnedAway.get()).toMatchObject({ values: [{ value: 1 }] });
    parts.silences.end('SIL-7', 'admin');
    expect(add()).toMatchObject({ silence: { id: `SIL-${MAX_SILENCES + 1}` } });
  });

  it('stands in the audit log, with its end', () => {
    add();
    parts.silences.end('SIL-1', 'admin');
    parts.silences.end('SIL-1', 'admin');
    expect(parts.store.audit.entries({ limit: 10 }).entries).toMatchObject([
      { actor: 'admin', action: 'silence.end', subject: 'SIL-1' },
      {
        actor: 'on-call',
        action: 'silence.add',
        subject: 'SIL-1',
        details: { matchers: { kind: ['scan'] }, reason: 'a drill', end: '2026-11-24T09:00:00.000000000Z' },
      },
    ]);
  });
});
