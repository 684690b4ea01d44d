/** When to try again. */

/** The first wait; each further one is twice as long, up to the longest. */
const FIRST_DELAY_MS = 5000;
const LONGEST_DELAY_MS = 15 * 60_000;
/** A receiver that asks for more patience than this is tried after it all the same. */
const LONGEST_RETRY_AFTER_MS = 3_600_000;
/** Waits vary by this part, so that receivers that failed together are not tried together for ever. */
const JITTER = 0.2;

/**
 * Milliseconds to wait after failed attempt number `attempts` (from 1). Never less than the receiver asked for.
 * @param random from 0 to 1, 1 excluded
 * @param scheduleMs the receiver's own waits, the last of which stays
 */
export function retryDelayMs(
  attempts: number,
  random: () => number,
  afterMs = 0,
  scheduleMs: readonly number[] = [],
): number {
  const doubled = Math.min(FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 20), LONGEST_DELAY_MS);
  const delayMs = scheduleMs[Math.min(attempts, scheduleMs.length) - 1] ?? doubled;
  const varied = delayMs * (1 - JITTER + 2 * JITTER * random());
  return Math.round(Math.max(varied, patienceMs(afterMs)));
}

/** As much of what a receiver asked for as it gets. */
export function patienceMs(afterMs: number): number {
  return Math.min(afterMs, LONGEST_RETRY_AFTER_MS);
}

/** Milliseconds of a Retry-After header, in seconds or as an HTTP date (RFC 9110, section 10.2.3); undefined when it is none. */
export function parseRetryAfter(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  // An HTTP date starts with the name of a day; Date.parse alone would take much that is none.
  const dateMs = /^(mon|tue|wed|thu|fri|sat|sun)/i.test(header.trim()) ? Date.parse(header) : NaN;
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}
