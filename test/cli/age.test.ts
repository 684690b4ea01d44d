import { describe, expect, it } from 'vitest';
import { formatAge, timeFormat } from '../../cli/age.ts';

const NOW = Date.parse('2026-11-23T12:00:00Z');

describe('how long ago', () => {
  it.each([
    ['2026-11-23T12:00:00.000000000Z', 'now'],
    ['2026-11-23T11:59:59.500000000Z', 'now'],
    ['2026-11-23T11:59:01.000000000Z', '59 s ago'],
    ['2026-11-23T11:57:00.500000000Z', '2 min ago'],
    ['2026-11-23T11:00:00Z', '1 h ago'],
    ['2026-11-20T11:00:00Z', '3 d ago'],
    ['2026-11-23T14:00:00Z', 'in 2 h'],
    ['yesterday', 'yesterday'],
  ])('%s is %s', (time, expected) => {
    expect(formatAge(time, NOW)).toBe(expected);
  });

  it.each([
    [{ columns: 80 }, false, '1 h ago'],
    [{ columns: 80 }, true, '2026-11-23T11:00:00Z'],
    [{}, false, '2026-11-23T11:00:00Z'],
  ])('is written on a terminal, and not where the text is kept: %j, wide %s', (terminal, wide, expected) => {
    expect(timeFormat(terminal, { wide, nowMs: NOW })('2026-11-23T11:00:00.000000000Z')).toBe(expected);
  });
});
