import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseHours, type Hours } from '../../rules/hours.ts';

function hoursOf(text: string): Hours {
  const parsed = parseHours(text);
  if (parsed.problem !== undefined) throw new Error(parsed.problem);
  return parsed.hours;
}

/** Minutes of the day as `HH:MM`. */
function clock(minutes: number): string {
  return `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;
}

describe('parseHours', () => {
  // 2026-11-23 is a Monday.
  it.each([
    ['08:00-18:00', '2026-11-28T08:00:00Z', true],
    ['08:00-18:00', '2026-11-28T07:59:59.999Z', false],
    ['08:00-18:00', '2026-11-28T17:59:59.999Z', true],
    ['08:00-18:00', '2026-11-28T18:00:00Z', false],
    ['mon-fri 08:00-18:00', '2026-11-27T12:00:00Z', true],
    ['mon-fri 08:00-18:00', '2026-11-28T12:00:00Z', false],
    ['Mon-Fri 08:00-18:00', '2026-11-23T12:00:00Z', true],
    ['sat,sun 00:00-24:00', '2026-11-29T23:59:59Z', true],
    ['sat,sun 00:00-24:00', '2026-11-30T00:00:00Z', false],
    ['sat-mon 10:00-11:00', '2026-11-29T10:30:00Z', true],
    ['sat-mon 10:00-11:00', '2026-11-24T10:30:00Z', false],
    ['mon-fri 08:00-18:00, sat 10:00-12:00', '2026-11-28T11:00:00Z', true],
    ['mon-fri 08:00-18:00, sat 10:00-12:00', '2026-11-28T12:30:00Z', false],
    ['fri 22:00-06:00', '2026-11-27T23:00:00Z', true],
    ['fri 22:00-06:00', '2026-11-28T05:59:00Z', true],
    ['fri 22:00-06:00', '2026-11-28T06:00:00Z', false],
    ['fri 22:00-06:00', '2026-11-27T05:00:00Z', false],
    ['sat 22:00-06:00', '2026-11-29T03:00:00Z', true],
    ['08:00-09:00 America/New_York', '2026-11-23T13:30:00Z', true],
    ['mon 08:00-09:00 Asia/Kolkata', '2026-11-23T02:45:00Z', true],
    ['mon 00:00-01:00 Pacific/Auckland', '2026-11-22T11:30:00Z', true],
    ['08:00-09:00 Etc/GMT-2', '2026-11-23T06:30:00Z', true],
  ])('of `%s` at %s says %s', (text, time, isWithin) => {
    expect(hoursOf(text)(Date.parse(time))).toBe(isWithin);
  });

  it('follows the wall clock through the change to summer time and back', () => {
    const hours = hoursOf('08:00-18:00 Europe/Berlin');
    const openings = [
      '2027-03-27T07:00:00Z',
      '2027-03-28T06:00:00Z',
      '2027-10-30T06:00:00Z',
      '2027-10-31T07:00:00Z',
    ];
    for (const opening of openings.map(Date.parse)) {
      expect([hours(opening - 1), hours(opening)]).toEqual([false, true]);
    }
  });

  it('takes the hour that comes twice both times, and the one that is left out not at all', () => {
    const hours = hoursOf('sun 02:00-03:00 Europe/Berlin');
    const twice = ['2027-10-31T00:30:00Z', '2027-10-31T01:30:00Z'].map((time) => hours(Date.parse(time)));
    expect(twice).toEqual([true, true]);
    const start = Date.parse('2027-03-28T00:00:00Z');
    const minutes = Array.from({ length: 24 * 60 }, (_, minute) => hours(start + minute * 60_000));
    expect(minutes.some(Boolean)).toBe(false);
  });

  it('agrees with the day and minute in UTC for any window', () => {
    const minute = fc.nat(1439);
    const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
    const time = fc.integer({ min: Date.UTC(1971, 0), max: Date.UTC(2100, 0) });
    fc.assert(
      fc.property(
        fc.subarray([0, 1, 2, 3, 4, 5, 6], { minLength: 1 }),
        minute,
        minute,
        time,
        (set, from, to, timeMs) => {
          fc.pre(from !== to);
          const hours = hoursOf(`${set.map((day) => days[day]).join(',')} ${clock(from)}-${clock(to)}`);
          // Minutes since the beginning of each of the two days that a window can reach this time from.
          const at = new Date(timeMs);
          const sinceToday = at.getUTCHours() * 60 + at.getUTCMinutes();
          const length = (to - from + 1440) % 1440;
          const expected = [0, 1].some((daysAgo) => {
            const since = sinceToday + daysAgo * 1440 - from;
            return set.includes((at.getUTCDay() + 7 - daysAgo) % 7) && since >= 0 && since < length;
          });
          expect(hours(timeMs)).toBe(expected);
        },
      ),
    );
  });

  it.each([
    ['', 'expected days and times'],
    ['mon-fri', 'expected days and times'],
    ['8:00-18:00', 'expected days and times'],
    ['08:00-18:00,mon', 'expected days and times'],
    ['mon-fri 08:00-18:60', 'expected times from 00:00 to 24:00'],
    ['24:00-06:00', 'expected times from 00:00 to 24:00'],
    ['monday 08:00-18:00', 'expected days such as'],
    ['mon-tue-wed 08:00-18:00', 'expected days such as'],
    ['08:00-18:00 Nowhere/Land', 'unknown time zone `Nowhere/Land`'],
    ['08:00-18:00 UTC, 19:00-20:00', 'the time zone stands once, at the end'],
  ])('refuses %j: %s', (text, problem) => {
    expect(parseHours(text).problem).toContain(problem);
  });
});
