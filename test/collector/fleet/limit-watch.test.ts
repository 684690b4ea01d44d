/** A limit of the collector that turns something away is an incident, as long as that goes on. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LimitWatch, type OwnLimit } from '../../../collector/fleet/limit-watch.ts';
import { writePlainly } from '../../../collector/notify/wording.ts';
import { openParts } from '../../support/collector-parts.ts';

let parts: Awaited<ReturnType<typeof openParts>>;
beforeEach(async () => {
  parts = await openParts();
  parts.recorder.start();
  parts.announcer.start();
  parts.ownLimits.start();
});
afterEach(() => {
  parts.ownLimits.stop();
  parts.announcer.stop();
  parts.recorder.stop();
});

function incidents() {
  return parts.store.incidents({ limit: 10 }).incidents;
}

describe('a limit of the collector', () => {
  it.each<[limit: OwnLimit, severity: string, words: string]>([
    ['agents', 'critical', 'agents with new names are turned away'],
    ['connections', 'critical', 'connections of agents are turned away'],
    ['store', 'warning', 'the store is full'],
  ])(
    '%s: is told once while it is reached, and ends when nothing is turned away',
    (limit, severity, words) => {
      for (let second = 0; second < 600; second++) {
        parts.ownLimits.note(limit);
        parts.clock.advance(1000);
      }
      expect(incidents()).toMatchObject([
        { state: 'open', severity, title: 'The collector is at its limits' },
      ]);
      const messages = parts.store.pending('ops', 10).map((message) => writePlainly(message).body);
      expect(messages).toEqual([expect.stringContaining(words)]);
      parts.clock.advance(310_000);
      expect(incidents()).toMatchObject([{ state: 'resolved' }]);
    },
  );

  it('is told apart from nodes that are blind, however many', () => {
    const nodes = Array.from({ length: 20 }, (_, number) => `w${number}`);
    const blind = {
      kind: 'blind',
      severity: 'critical',
      sinceMs: parts.clock.now(),
      message: 'blind',
    } as const;
    for (const node of nodes) parts.stories.tell([{ ...blind, node }]);
    parts.ownLimits.note('agents');
    parts.clock.advance(6000);
    const titles = parts.store.pending('ops', 50).map(({ incident }) => incident.title);
    expect(titles).toContain('The collector is at its limits');
  });

  it('goes on after a restart, and ends where nothing is turned away since', () => {
    parts.ownLimits.note('agents');
    parts.clock.advance(5000);
    const later = new LimitWatch({ ...parts });
    parts.ownLimits.stop();
    later.start();
    parts.clock.advance(290_000);
    expect(incidents()).toMatchObject([{ state: 'open' }]);
    parts.clock.advance(15_000);
    expect(incidents()).toMatchObject([{ state: 'resolved' }]);
    later.stop();
  });

  it('is none where nothing is turned away', () => {
    parts.clock.advance(3_600_000);
    expect(incidents()).toEqual([]);
  });
});
