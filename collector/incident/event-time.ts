/** Times of events as numbers that can be compared and shifted. */
import { formatMilliseconds, formatTime } from '../../common/time.ts';

const NANOSECONDS_PER_MILLISECOND = 1_000_000n;
const NANOSECONDS_PER_SECOND = 1_000_000_000n;
/** What InfluxDB and most others can hold: a signed 64-bit count, about the years 1677 to 2262. */
const LIMIT = 2n ** 63n - 1_000_000n;

/** Nanoseconds since the epoch of an RFC 3339 time in UTC; undefined when there is no such day or year. */
export function parseEventTime(text: string): bigint | undefined {
  const match = /^(.+?)(?:\.(\d{1,9}))?Z$/.exec(text);
  const seconds = match?.[1] ?? '';
  const milliseconds = Date.parse(`${seconds}Z`);
  // A day that no month has is taken for one of the next month.
  if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(seconds))
    return undefined;
  const nanoseconds =
    BigInt(milliseconds) * NANOSECONDS_PER_MILLISECOND + BigInt((match?.[2] ?? '').padEnd(9, '0'));
  return nanoseconds > LIMIT || nanoseconds < -LIMIT ? undefined : nanoseconds;
}

/** Whether `a` is before `b`; a time that is none is before every other. */
export function isBefore(a: string, b: string): boolean {
  const timeOfB = parseEventTime(b);
  if (timeOfB === undefined) return false;
  const timeOfA = parseEventTime(a);
  return timeOfA === undefined || timeOfA < timeOfB;
}

/** A time moved on by so many nanoseconds; as it was where the result could not be told, or is before 1970. */
export function shiftEventTime(text: string, byNanoseconds: bigint): string {
  const time = parseEventTime(text);
  if (time === undefined) return text;
  const shifted = time + byNanoseconds;
  if (shifted < 0n || shifted > LIMIT) return text;
  return formatTime(Number(shifted / NANOSECONDS_PER_SECOND), Number(shifted % NANOSECONDS_PER_SECOND));
}

/** A spool may have waited this long for its collector. */
const MAX_AGE_MS = 366 * 86_400_000;
/** Beyond any time zone: a clock that is set to local time instead of UTC is still corrected by nobody. */
const MAX_AHEAD_MS = 86_400_000;

/** A time as it was reported; the time of now where nothing can have happened then, or where it is no time. */
export function plausibleTime(text: string, nowMs: number): string {
  const time = parseEventTime(text);
  if (time === undefined) return formatMilliseconds(nowMs);
  const aheadMs = Number(time / NANOSECONDS_PER_MILLISECOND) - nowMs;
  return aheadMs > MAX_AHEAD_MS || aheadMs < -MAX_AGE_MS ? formatMilliseconds(nowMs) : text;
}
