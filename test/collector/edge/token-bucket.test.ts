import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TokenBucket, TokenBuckets } from '../../../collector/edge/token-bucket.ts';

describe('a token bucket', () => {
  it('gives its burst at once, and then what refills', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 20 }, 0);
    bucket.take(20, 0);
    expect(bucket.waitMs(0, 0)).toBe(0);
    bucket.take(5, 0);
    expect(bucket.waitMs(0, 0)).toBe(500);
    expect(bucket.waitMs(0, 400)).toBeCloseTo(100);
    expect(bucket.waitMs(0, 500)).toBe(0);
    expect(bucket.waitMs(1, 500)).toBe(100);
  });

  it('holds no more than its burst after any rest, and stands still while the clock goes back', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 20 }, 0);
    bucket.take(21, 1_000_000);
    expect(bucket.waitMs(0, 1_000_000)).toBe(100);
    expect(bucket.waitMs(0, 0)).toBe(100);
  });

  it('never gives more than the burst and the refill to those who wait, for any series of them', () => {
    const step = fc.record({
      cost: fc.integer({ min: 1, max: 30 }),
      waitMs: fc.integer({ min: 0, max: 3000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
        const bucket = new TokenBucket({ perSecond: 10, burst: 20 }, 0);
        let [nowMs, taken] = [0, 0];
        for (const { cost, waitMs } of steps) {
          nowMs += waitMs;
          if (bucket.waitMs(cost, nowMs) > 0) continue;
          bucket.take(cost, nowMs);
          taken += cost;
          expect(taken).toBeLessThanOrEqual(20 + (nowMs / 1000) * 10 + 1e-6);
        }
      }),
    );
  });

  it('is one for each key; of too many keys the longest unused is forgotten', () => {
    const buckets = new TokenBuckets({ perSecond: 1, burst: 1 }, 2);
    for (const key of ['a', 'b']) buckets.of(key, 0).take(3, 0);
    expect(buckets.of('a', 0).waitMs(0, 0)).toBe(2000);
    buckets.of('c', 0);
    expect(buckets.of('a', 0).waitMs(0, 0)).toBe(2000);
    expect(buckets.of('b', 0).waitMs(0, 0)).toBe(0);
  });
});
