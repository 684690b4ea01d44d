import { describe, expect, it } from 'vitest';
import { isBefore, parseEventTime, shiftEventTime } from '../../../collector/incident/event-time.ts';

describe('parseEventTime', () => {
  it.each([
    ['1970-01-01T00:00:01Z', 1_000_000_000n],
    ['1970-01-01T00:00:00.5Z', 500_000_000n],
    ['1970-01-01T00:00:00.000000001Z', 1n],
    ['2026-11-23T09:42:12.260000123Z', 1_795_426_932_260_000_123n],
    ['2026-13-23T09:42:12Z', undefined],
    ['9999-12-31T23:59:59Z', undefined],
    ['999999-12-31T23:59:59Z', undefined],
    ['yesterday', undefined],
  ])('of %s', (text, expected) => {
    expect(parseEventTime(text)).toBe(expected);
  });
});

describe('isBefore', () => {
  it.each([
    ['2026-11-23T09:42:12Z', '2026-11-23T09:42:12.000000001Z', true],
    ['2026-11-23T09:42:12.1Z', '2026-11-23T09:42:12.10Z', false],
    ['2026-11-23T09:42:12.2Z', '2026-11-23T09:42:12.10Z', false],
    ['2026-99-99T09:42:12Z', '2026-11-23T09:42:12Z', true],
    ['2026-11-23T09:42:12Z', '2026-99-99T09:42:12Z', false],
  ])('%s before %s: %s', (a, b, expected) => {
    expect(isBefore(a, b)).toBe(expected);
  });
});

describe('shiftEventTime', () => {
  it.each([
    ['2026-11-23T09:42:12.000000001Z', -1n, '2026-11-23T09:42:12.000000000Z'],
    ['2026-11-23T23:59:59.5Z', 1_500_000_000n, '2026-11-24T00:00:01.000000000Z'],
    ['1970-01-01T00:00:01Z', -2_000_000_000n, '1970-01-01T00:00:01Z'],
    ['2262-01-01T00:00:00Z', 2n ** 62n, '2262-01-01T00:00:00Z'],
    ['2026-99-99T09:42:12Z', 1n, '2026-99-99T09:42:12Z'],
  ])('%s by %d ns is %s', (text, byNanoseconds, expected) => {
    expect(shiftEventTime(text, byNanoseconds)).toBe(expected);
  });
});
