import { describe, expect, it } from 'vitest';
import { ClockWatch } from '../../common/clock-watch.ts';
import type { Logger } from '../../common/log.ts';
import { CLOCK_STEPS } from '../support/clock-disturbances.ts';
import { FakeClock } from '../support/fake-clock.ts';

const HOUR_MS = 3_600_000;

function openWatch(stepped: (byMs: number, beforeMs: number) => boolean = () => true) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const steps: number[] = [];
  const pauses: number[] = [];
  const logger = {
    warn: ({ seconds }: { seconds: number }, text: string) => lines.push(`${seconds} ${text}`),
  } as unknown as Logger;
  const watch = new ClockWatch({
    clock,
    logger,
    stepped: (byMs, beforeMs) => {
      steps.push(byMs);
      return stepped(byMs, beforeMs);
    },
    paused: (forMs) => pauses.push(forMs),
  });
  watch.start();
  return { clock, lines, steps, pauses, watch };
}

describe('a wall clock that is watched', () => {
  it.each(CLOCK_STEPS)('and $name is told of once, with the size', ({ byMs, apply }) => {
    const { clock, lines, steps, pauses } = openWatch();
    apply(clock);
    clock.advance(10_000);
    expect(steps).toEqual([byMs]);
    expect(pauses).toEqual([]);
    expect(lines).toEqual([`${byMs / 1000} the wall clock was set: waits and ages are not affected`]);
  });

  it('is told of again until that was taken into account', () => {
    const answers = [false, false, true];
    const { clock, lines, steps } = openWatch(() => answers.shift() ?? true);
    clock.step(HOUR_MS);
    clock.advance(10_000);
    expect(steps).toEqual([HOUR_MS, HOUR_MS, HOUR_MS]);
    expect(lines).toHaveLength(1);
  });

  it('tells what it showed before', () => {
    const before: number[] = [];
    const { clock } = openWatch((_byMs, beforeMs) => before.push(beforeMs) > 0);
    const startMs = clock.now();
    clock.step(-HOUR_MS);
    clock.advance(1000);
    expect(before).toEqual([startMs + 1000]);
  });

  it('and is set every second is logged once a minute, with every step taken into account', () => {
    const { clock, lines, steps } = openWatch();
    for (let second = 0; second < 150; second++) {
      clock.step(second % 2 === 0 ? HOUR_MS : -HOUR_MS);
      clock.advance(1000);
    }
    expect(steps).toHaveLength(150);
    expect(lines).toHaveLength(3);
  });

  it('may differ by a second', () => {
    const { clock, lines } = openWatch();
    clock.step(1000);
    clock.advance(10_000);
    expect(lines).toEqual([]);
  });
});

describe('a pause of the process', () => {
  it('is told apart from a step', () => {
    const { clock, lines, steps, pauses } = openWatch();
    clock.pause(HOUR_MS);
    clock.advance(10_000);
    expect(pauses).toEqual([HOUR_MS]);
    expect(steps).toEqual([]);
    expect(lines).toEqual(['3600 the process did not run for a while: waits go on from here']);
  });

  it('in which the clock was set is both', () => {
    const { clock, steps, pauses } = openWatch();
    clock.step(-6 * HOUR_MS);
    clock.pause(HOUR_MS);
    expect(pauses).toEqual([HOUR_MS]);
    expect(steps).toEqual([-6 * HOUR_MS]);
  });
});
