/** Times for people: how long ago, on a terminal; the time itself where the text is kept or asked for. */
import { shortTime } from '../common/time.ts';

const STEPS: readonly (readonly [seconds: number, unit: string])[] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/** `3 min ago`, `in 2 h`, `now`; rounded down to one unit. A text that is no time stays as it is. */
export function formatAge(time: string, nowMs: number): string {
  const atMs = Date.parse(time.replace(/(\.\d{3})\d+Z$/, '$1Z'));
  if (Number.isNaN(atMs)) return time;
  const seconds = Math.floor(Math.abs(nowMs - atMs) / 1000);
  const [size, unit] = STEPS.find(([least]) => seconds >= least) ?? [1, 's'];
  if (seconds === 0) return 'now';
  const words = `${Math.floor(seconds / size)} ${unit}`;
  return atMs > nowMs ? `in ${words}` : `${words} ago`;
}

/** How a command writes its times. */
export type TimeFormat = (time: string) => string;

/** What is written to a file says the time: "3 min ago" means nothing tomorrow. */
export function timeFormat(
  { columns }: { readonly columns?: number | undefined },
  { wide, nowMs }: { readonly wide: boolean; readonly nowMs: number },
): TimeFormat {
  return wide || columns === undefined ? shortTime : (time) => formatAge(time, nowMs);
}
