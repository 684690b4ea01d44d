/**
 * Hours of the week in a time zone, as a rule says them: `mon-fri 08:00-18:00, sat 10:00-12:00 Europe/Berlin`.
 *
 * A window is days (all when left out) and times; the end is not part of it. One that ends before it begins goes over
 * midnight and belongs to the day on which it begins. The zone stands once, at the end; UTC when left out. Summer
 * time is the zone's business: the wall clock counts.
 */
import { nearestWord } from '../common/diagnostic.ts';
import { zoneDoubt, zoneInPlaceOf } from './time-zone.ts';

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] as const;
const DAY_MINUTES = 24 * 60;

/** Part of a week; `from` and `to` are minutes of the day, `to` up to 1440 and below `from` over midnight. */
interface Window {
  /** Whether the window begins on a day, Sunday first. */
  readonly days: readonly boolean[];
  readonly from: number;
  readonly to: number;
}

/** Whether a time (ms since the epoch) is within the hours. */
export type Hours = (timeMs: number) => boolean;

/** The hours that `text` names, with what is doubtful about its zone; or what is wrong with it in one line. */
export function parseHours(
  text: string,
): { hours: Hours; doubt: string | undefined; problem?: undefined } | { problem: string } {
  const { clauses, zone } = splitZone(text);
  // Newer releases of Node take `+02:00` for a zone, older ones do not.
  const wallClock = /^[a-z]/i.test(zone) ? createWallClock(zone) : undefined;
  if (wallClock === undefined) {
    const other = zoneInPlaceOf(zone);
    if (other !== undefined) return { problem: `unknown time zone \`${zone}\`; ${other}` };
    const near = nearestWord(zone, Intl.supportedValuesOf('timeZone'));
    return {
      problem: `unknown time zone \`${zone}\`${near === undefined ? '' : `; did you mean \`${near}\`?`}`,
    };
  }
  const windows: Window[] = [];
  for (const clause of clauses) {
    const window = parseWindow(clause);
    if (typeof window === 'string') return { problem: window };
    windows.push(window);
  }
  return {
    doubt: zoneDoubt(zone),
    hours: (timeMs) => {
      const { day, minute } = wallClock(timeMs);
      return windows.some((window) => isWithin(window, day, minute));
    },
  };
}

function isWithin({ days, from, to }: Window, day: number, minute: number): boolean {
  const beganToday = days[day] === true;
  if (from < to) return beganToday && minute >= from && minute < to;
  const beganYesterday = days[(day + 6) % 7] === true;
  return (beganToday && minute >= from) || (beganYesterday && minute < to);
}

/** The zone is the last word when times stand before it. */
function splitZone(text: string): { clauses: string[]; zone: string } {
  const words = text.trim().split(/\s+/);
  const last = words.at(-1) ?? '';
  const hasZone = /\d$/.test(words.at(-2) ?? '') && /^[A-Za-z<:+-]/.test(last);
  const clauses = (hasZone ? words.slice(0, -1) : words).join(' ').split(/,\s+/);
  return { clauses, zone: hasZone ? last : 'UTC' };
}

function parseWindow(clause: string): Window | string {
  const example = 'expected days and times such as `mon-fri 08:00-18:00`';
  const words = clause.split(' ');
  const times = /^(\d\d):(\d\d)-(\d\d):(\d\d)$/.exec(words.at(-1) ?? '');
  if (times === null || words.length > 2) {
    const hasZone = times === null && words.some((word) => word.includes(':'));
    return `${example}, got \`${clause}\`${hasZone ? '; the time zone stands once, at the end' : ''}`;
  }
  const days = words.length === 2 ? parseDays(words[0] ?? '') : DAYS.map(() => true);
  if (days === undefined)
    return `expected days such as \`mon-fri\` or \`sat,sun\`, got \`${words[0] ?? ''}\``;
  const [fromHour = 0, fromMinute = 0, toHour = 0, toMinute = 0] = times.slice(1).map(Number);
  const from = fromHour * 60 + fromMinute;
  const to = toHour * 60 + toMinute;
  if (fromMinute > 59 || toMinute > 59 || from >= DAY_MINUTES || to > DAY_MINUTES) {
    return `expected times from 00:00 to 24:00, got \`${times[0]}\``;
  }
  if (from === to) return `\`${times[0]}\` is no time at all; write \`00:00-24:00\` for the whole day`;
  return { days, from, to };
}

/** Days by number, of `mon`, `mon-fri`, `sat,sun` or a mix; undefined when the text is none of these. */
function parseDays(text: string): boolean[] | undefined {
  const days = DAYS.map(() => false);
  for (const part of text.toLowerCase().split(',')) {
    const [first, last, ...rest] = part.split('-').map((day) => DAYS.indexOf(day as (typeof DAYS)[number]));
    if (first === undefined || first < 0 || last === -1 || rest.length > 0) return undefined;
    const length = last === undefined ? 1 : ((last - first + 7) % 7) + 1;
    for (let step = 0; step < length; step++) days[(first + step) % 7] = true;
  }
  return days;
}

type WallClock = (timeMs: number) => { day: number; minute: number };

/** Day and minute of the day in a zone; undefined where no such zone is known. Made once: a formatter is costly. */
function createWallClock(timeZone: string): WallClock | undefined {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
  } catch {
    return undefined;
  }
  return (timeMs) => {
    const parts = format.formatToParts(timeMs);
    const find = (type: string): string => parts.find((part) => part.type === type)?.value ?? '';
    return {
      day: DAYS.indexOf(find('weekday').toLowerCase() as (typeof DAYS)[number]),
      minute: Number(find('hour')) * 60 + Number(find('minute')),
    };
  };
}
