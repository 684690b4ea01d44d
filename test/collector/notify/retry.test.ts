import { describe, expect, it } from 'vitest';
import { parseRetryAfter, retryDelayMs } from '../../../collector/notify/retry.ts';

const middle = (): number => 0.5;

describe('retryDelayMs', () => {
  it('doubles up to a quarter of an hour', () => {
    const delays = [1, 2, 3, 7, 8, 9, 1000].map((attempts) => retryDelayMs(attempts, middle));
    expect(delays).toEqual([5000, 10_000, 20_000, 320_000, 640_000, 900_000, 900_000]);
  });

  it('varies by a fifth either way', () => {
    expect(retryDelayMs(1, () => 0)).toBe(4000);
    expect(retryDelayMs(1, () => 0.999_999)).toBe(6000);
  });

  it('is never less than the receiver asked for, up to an hour', () => {
    expect(retryDelayMs(1, () => 0, 30_000)).toBe(30_000);
    expect(retryDelayMs(1, middle, 1000)).toBe(5000);
    expect(retryDelayMs(1, middle, 86_400_000)).toBe(3_600_000);
  });
});

describe('parseRetryAfter', () => {
  const nowMs = Date.UTC(2026, 10, 23, 9, 0, 0);
  it.each([
    ['120', 120_000],
    ['0', 0],
    ['Mon, 23 Nov 2026 09:00:30 GMT', 30_000],
    ['Mon, 23 Nov 2026 08:00:00 GMT', 0],
    ['-5', undefined],
    ['1.5', undefined],
    ['2027', 2_027_000],
    ['2027-01-01', undefined],
    ['soon', undefined],
    ['', undefined],
  ])('of %j is %s milliseconds', (header, expected) => {
    expect(parseRetryAfter(header, nowMs)).toBe(expected);
  });

  it('of an answer without the header is none', () => {
    expect(parseRetryAfter(null, nowMs)).toBeUndefined();
  });
});
