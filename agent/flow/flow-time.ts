/** From the earliest packet of a flow to the latest. */
import type { Frame } from '../capture/source.ts';
import { stretchOf } from './expiry.ts';
import {
  FIRST_NANOSECONDS,
  FIRST_SECONDS,
  LAST_NANOSECONDS,
  LAST_SECONDS,
  type FlowStore,
} from './flow-store.ts';

/**
 * Widens the flow's time to the frame's. Frames of several interfaces may be a little out of order. Returns whether
 * the flow's last packet is in a later stretch of time now (see expiry.ts).
 */
export function noteTime(
  { words, doubles }: FlowStore,
  record: number,
  { seconds, nanoseconds }: Frame,
): boolean {
  const lastSeconds = doubles[(record >> 1) + LAST_SECONDS] as number;
  const lastNanoseconds = words[record + LAST_NANOSECONDS] as number;
  if (seconds > lastSeconds || (seconds === lastSeconds && nanoseconds > lastNanoseconds)) {
    doubles[(record >> 1) + LAST_SECONDS] = seconds;
    words[record + LAST_NANOSECONDS] = nanoseconds;
    return stretchOf(seconds) > stretchOf(lastSeconds);
  }
  noteEarlierTime(words, doubles, record, seconds, nanoseconds);
  return false;
}

function noteEarlierTime(
  words: Int32Array,
  doubles: Float64Array,
  record: number,
  seconds: number,
  nanoseconds: number,
): void {
  const firstSeconds = doubles[(record >> 1) + FIRST_SECONDS] as number;
  const isEarlier =
    seconds < firstSeconds ||
    (seconds === firstSeconds && nanoseconds < (words[record + FIRST_NANOSECONDS] as number));
  if (!isEarlier) return;
  doubles[(record >> 1) + FIRST_SECONDS] = seconds;
  words[record + FIRST_NANOSECONDS] = nanoseconds;
}
