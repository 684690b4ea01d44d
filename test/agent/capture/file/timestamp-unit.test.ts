import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TimestampUnit } from '../../../../agent/capture/file/timestamp-unit.ts';

/** The time by integers of any size. */
function exactTime(resolution: number, high: number, low: number) {
  const perSecond = ((resolution & 0x80) === 0 ? 10n : 2n) ** BigInt(resolution & 0x7f);
  const units = (BigInt(high) << 32n) | BigInt(low);
  return {
    seconds: Number(units / perSecond),
    nanoseconds: Number(((units % perSecond) * 1_000_000_000n) / perSecond),
  };
}

describe('TimestampUnit', () => {
  it('counts exactly in every unit', () => {
    const word = fc.integer({ min: 0, max: 0xffff_ffff });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), word, word, (resolution, high, low) => {
        const time = { seconds: 0, nanoseconds: 0 };
        new TimestampUnit(resolution).toTime(high, low, time);
        expect(time).toEqual(exactTime(resolution, high, low));
      }),
      { numRuns: 5000 },
    );
  });
});
