import { describe, expect, it } from 'vitest';
import { parseHours } from '../../rules/hours.ts';
import { zoneDoubt } from '../../rules/time-zone.ts';

describe('zoneDoubt', () => {
  it.each([
    ['EST', 'UTC-05:00 all year, without summer time'],
    ['est', 'UTC-05:00 all year, without summer time'],
    ['MST', 'UTC-07:00 all year, without summer time'],
    ['HST', 'UTC-10:00 all year, without summer time'],
    ['EST5EDT', 'UTC-05:00, in July UTC-04:00'],
    ['CST6CDT', 'UTC-06:00, in July UTC-05:00'],
    ['PST8PDT', 'UTC-08:00, in July UTC-07:00'],
    ['CET', 'UTC+01:00, in July UTC+02:00'],
    ['WET', 'UTC+00:00, in July UTC+01:00'],
    ['Etc/GMT+5', '5 h behind UTC, its sign is that of POSIX; `Etc/GMT-5` is the other side'],
    ['Etc/GMT-11', '11 h ahead of UTC, its sign is that of POSIX; `Etc/GMT+11` is the other side'],
    ['etc/gmt+5', '5 h behind UTC'],
  ])('says what %s means', (zone, meaning) => {
    expect(zoneDoubt(zone)).toContain(meaning);
  });

  it.each([
    'UTC',
    'GMT',
    'Zulu',
    'Etc/UTC',
    'Etc/GMT',
    'Etc/GMT+0',
    'Europe/Berlin',
    'America/New_York',
    'America/Argentina/Ushuaia',
    'Asia/Kolkata',
    'US/Eastern',
    'Japan',
    'PRC',
  ])('has none about %s', (zone) => {
    expect(zoneDoubt(zone)).toBeUndefined();
  });

  it.each([
    ['GMT+5', '`Etc/GMT-5` is 5 h ahead of UTC'],
    ['UTC-03:00', '`Etc/GMT+3` is 3 h behind UTC'],
    ['UTC+05:30', 'write a place such as `Asia/Kolkata`'],
    ['UTC+05', '`Etc/GMT-5` is 5 h ahead of UTC'],
    ['utc-12', '`Etc/GMT+12` is 12 h behind UTC'],
    ['UTC-13', 'write a place'],
    ['GMT+15', 'write a place'],
    ['+02:00', '`Etc/GMT-2` is 2 h ahead of UTC'],
    ['-0500', '`Etc/GMT+5` is 5 h behind UTC'],
    ['EST5', 'unknown time zone `EST5`; write a place'],
    ['<+03>-3', 'unknown time zone `<+03>-3`; write a place'],
    ['EST5EDT,M3.2.0,M11.1.0', 'write a place'],
    [':Europe/Berlin', 'write a place'],
  ])('is not needed for %s, which is refused with what to write', (zone, hint) => {
    expect(parseHours(`08:00-18:00 ${zone}`).problem).toContain(hint);
  });
});
