import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ToldCounts } from '../../../../agent/capture/linux/told-counts.ts';

describe('ToldCounts', () => {
  it('tells what each of many entries has more than before, and nothing twice', () => {
    const told = new ToldCounts();
    const tell = (id: number, total: number): number[] | undefined =>
      told.update(id, total, total * 10, total * 5)
        ? [told.packets, told.bytes, told.payloadBytes]
        : undefined;
    for (let id = 0; id < 5000; id++) expect(tell(id, id + 1)).toEqual([id + 1, (id + 1) * 10, (id + 1) * 5]);
    expect(tell(4999, 5000)).toBeUndefined();
    expect(tell(0, 3)).toEqual([2, 20, 10]);
    expect(tell(1, 2 ** 40)).toEqual([2 ** 40 - 2, (2 ** 40 - 2) * 10, (2 ** 40 - 2) * 5]);
  });

  it('begins anew with an entry that takes the place of one that is gone', () => {
    const told = new ToldCounts();
    told.update(7, 100, 1000, 500);
    told.forget(7);
    told.forget(8);
    expect(told.update(9, 1, 2, 3)).toBe(true);
    expect([told.packets, told.bytes, told.payloadBytes]).toEqual([1, 2, 3]);
  });

  it('tells the same as a map does, whatever comes and goes', () => {
    // Ids that meet in the same buckets, also beyond 32 bits.
    const id = fc
      .tuple(fc.nat(40), fc.constantFrom(0, 1024, 2048, 2 ** 32, 2 ** 40))
      .map(([low, high]) => low + high);
    const step = fc.tuple(id, fc.constantFrom('more', 'more', 'forget'));
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 2000 }), (steps) => {
        const told = new ToldCounts();
        const totals = new Map<number, number>();
        steps.forEach(([entry, what], index) => {
          const total = totals.get(entry) ?? 0;
          if (what === 'forget') told.forget(entry);
          const more = what === 'forget' ? 0 : index;
          const isMore = told.update(entry, more + (what === 'forget' ? 0 : total), 0, 0);
          expect([isMore, told.packets]).toEqual([more > 0, more]);
          totals.set(entry, what === 'forget' ? 0 : total + more);
          expect(told.size).toBe(totals.size);
        });
      }),
      { numRuns: 50 },
    );
  });
});
