import { describe, expect, it } from 'vitest';
import { BackOff } from '../../../agent/uplink/back-off.ts';

describe('the back-off', () => {
  it('doubles its ceiling from 0.5 s to 30 s and begins again after a reset', () => {
    const backOff = new BackOff(() => 1);
    const ceilings = Array.from({ length: 8 }, () => backOff.nextDelayMs());
    expect(ceilings).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    backOff.reset();
    expect(backOff.nextDelayMs()).toBe(500);
  });

  it('draws from zero up to the ceiling', () => {
    const draws = [0, 0.5, 0.25];
    const backOff = new BackOff(() => draws.shift() ?? 0);
    expect([backOff.nextDelayMs(), backOff.nextDelayMs(), backOff.nextDelayMs()]).toEqual([0, 500, 500]);
  });

  it('waits 30 s to 60 s where only a person can help', () => {
    expect([new BackOff(() => 0).slowDelayMs(), new BackOff(() => 1).slowDelayMs()]).toEqual([
      30_000, 60_000,
    ]);
  });
});
