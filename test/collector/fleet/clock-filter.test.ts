import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClockFilter, type Exchange } from '../../../collector/fleet/clock-filter.ts';

interface Way {
  readonly atMs: number;
  /** What the other clock is ahead by. */
  readonly aheadMs: number;
  readonly thereMs: number;
  readonly heldMs: number;
  readonly backMs: number;
}

/** What both sides write down of a question that takes this way, in whole milliseconds. */
function exchange({ atMs, aheadMs, thereMs, heldMs, backMs }: Way): Exchange {
  return {
    originMs: Math.floor(atMs),
    receivedMs: Math.floor(atMs + thereMs + aheadMs),
    sentMs: Math.floor(atMs + thereMs + heldMs + aheadMs),
    arrivedMs: Math.floor(atMs + thereMs + heldMs + backMs),
  };
}

const way = (changes: Partial<Way> = {}): Way => ({
  atMs: 1_000_000,
  aheadMs: 90_000,
  thereMs: 2,
  heldMs: 5,
  backMs: 2,
  ...changes,
});

describe('the offset of a clock', () => {
  it('is unknown before the first answer', () => {
    expect(new ClockFilter().estimate(0)).toBeUndefined();
  });

  it('is what the answer says, and half of the way may be wrong', () => {
    const filter = new ClockFilter();
    filter.add(exchange(way()));
    expect(filter.estimate(1_000_009)).toEqual({ offsetMs: 90_000, uncertaintyMs: 3 });
  });

  it('is within its uncertainty of the truth, whatever the ways take', () => {
    // Whole milliseconds, as both sides tell their times.
    const delay = fc.integer({ min: 0, max: 5000 });
    const ways = fc.array(fc.record({ thereMs: delay, heldMs: delay, backMs: delay }), {
      minLength: 1,
      maxLength: 20,
    });
    fc.assert(
      fc.property(fc.integer({ min: -1e9, max: 1e9 }), ways, (aheadMs, ways) => {
        const filter = new ClockFilter();
        for (const [index, each] of ways.entries()) {
          filter.add(exchange({ ...each, aheadMs, atMs: 2e9 + index * 30_000 }));
        }
        const estimate = filter.estimate(2e9 + ways.length * 30_000);
        expect(Math.abs((estimate?.offsetMs ?? NaN) - aheadMs)).toBeLessThanOrEqual(
          estimate?.uncertaintyMs ?? 0,
        );
      }),
    );
  });

  it('is that of the answer with the shortest way, as long as it is among the last eight', () => {
    const filter = new ClockFilter();
    filter.add(exchange(way()));
    for (let round = 1; round <= 7; round++) {
      filter.add(exchange(way({ atMs: 1_000_000 + round * 30_000, backMs: 400 })));
    }
    expect(filter.estimate(1_210_000)?.offsetMs).toBe(90_000);
    filter.add(exchange(way({ atMs: 1_240_000, backMs: 400 })));
    expect(filter.estimate(1_240_000)?.offsetMs).toBe(89_801);
  });

  it('grows less certain with time', () => {
    const filter = new ClockFilter();
    filter.add(exchange(way()));
    expect(filter.estimate(1_000_009 + 1_000_000)?.uncertaintyMs).toBeCloseTo(3 + 15);
  });

  it('follows at once when the other clock is set', () => {
    const filter = new ClockFilter();
    for (let round = 0; round < 8; round++) filter.add(exchange(way({ atMs: 1_000_000 + round * 30_000 })));
    filter.add(exchange(way({ atMs: 1_240_000, aheadMs: 0, backMs: 400 })));
    expect(filter.estimate(1_240_409)?.offsetMs).toBe(-199);
  });

  it('learns nothing from an answer during which a clock was set', () => {
    const filter = new ClockFilter();
    filter.add({ originMs: 1000, receivedMs: 1000, sentMs: 9000, arrivedMs: 1010 });
    filter.add({ originMs: 1000, receivedMs: 9000, sentMs: 1000, arrivedMs: 900 });
    expect(filter.estimate(1010)).toBeUndefined();
  });
});
