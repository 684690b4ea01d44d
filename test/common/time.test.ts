import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatMilliseconds, formatTime, shortTime } from '../../common/time.ts';

describe('formatTime', () => {
  it.each([
    [0, 0, '1970-01-01T00:00:00.000000000Z'],
    [1_700_000_000, 5, '2023-11-14T22:13:20.000000005Z'],
    [951_782_399, 999_999_999, '2000-02-28T23:59:59.999999999Z'],
    [951_782_400, 100, '2000-02-29T00:00:00.000000100Z'],
    [-1, 0, '1969-12-31T23:59:59.000000000Z'],
    [253_402_300_799, 0, '9999-12-31T23:59:59.000000000Z'],
    [-62_167_219_200, 0, '0000-01-01T00:00:00.000000000Z'],
  ])('writes %d s and %d ns as %s', (seconds, nanoseconds, text) => {
    expect(formatTime(seconds, nanoseconds)).toBe(text);
  });

  it('writes the same seconds as a Date does', () => {
    const seconds = fc.integer({ min: -62_167_219_200, max: 253_402_300_799 });
    fc.assert(
      fc.property(seconds, (second) => {
        const expected = new Date(second * 1000).toISOString().slice(0, 19);
        expect(formatTime(second, 0)).toBe(`${expected}.000000000Z`);
      }),
    );
  });
});

describe('formatMilliseconds', () => {
  it('has the same shape', () => {
    expect(formatMilliseconds(1_700_000_000_123)).toBe('2023-11-14T22:13:20.123000000Z');
  });
});

describe('shortTime', () => {
  it('drops what is below a second', () => {
    expect(shortTime('2026-11-23T12:03:12.987654321Z')).toBe('2026-11-23T12:03:12Z');
  });
});
