import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatSize, parseDuration, parseSize } from '../../common/units.ts';

describe('parseDuration', () => {
  it.each([
    ['0s', 0],
    ['250ms', 250],
    ['1.5s', 1500],
    ['10 m', 600_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
  ])('reads %s as %d ms', (text, milliseconds) => {
    expect(parseDuration(text)).toBe(milliseconds);
  });

  it.each([
    '',
    '30',
    's',
    '-1s',
    '1e3s',
    '1,5s',
    '30 s ',
    '1h30m',
    '10M',
    '30S',
    '5GiB',
    '99999999999999d',
    '5toString',
  ])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });
});

describe('parseSize', () => {
  it.each([
    ['0B', 0],
    ['5kB', 5000],
    ['5KiB', 5120],
    ['1.5MiB', 1_572_864],
    ['5GB', 5_000_000_000],
    ['5GiB', 5_368_709_120],
    ['2 TiB', 2_199_023_255_552],
  ])('reads %s as %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['5', '5gib', '5KB', '5kiB', '-5B', '5PiB', '30s', '99999999999TiB'])('refuses %j', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  it('answers any text with a whole number of bytes or with undefined', () => {
    const nearSizes = fc.stringMatching(/^[0-9.]{1,18} ?[kKMGTi]{0,2}B$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), nearSizes), (text) => {
        const bytes = parseSize(text);
        expect(bytes === undefined || (Number.isSafeInteger(bytes) && bytes >= 0)).toBe(true);
      }),
    );
  });
});

describe('formatSize', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [5_368_709_120, '5 GiB'],
    [1_234_567, '1.18 MiB'],
    [1023 * 1024, '1020 KiB'],
  ])('writes %d as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
