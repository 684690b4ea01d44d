/** Waiting for a condition, never for a fixed time. */
import { setTimeout as delay } from 'node:timers/promises';

/** A collector takes a hundred requests a second of one address. */
const LOOK_INTERVAL_MS = 20;

/** Waits until the condition holds; fails, naming what it waited for, when it does not within the limit. */
export async function waitFor(
  condition: () => boolean | Promise<boolean>,
  what: string,
  limitMs = 20_000,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms for ${what}`);
    await delay(LOOK_INTERVAL_MS);
  }
}
