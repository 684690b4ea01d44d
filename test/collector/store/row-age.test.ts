import { describe, expect, it } from 'vitest';
import { RowAge } from '../../../collector/store/row-age.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const YEAR_MS = 365 * 24 * HOUR_MS;
const KEEP_MS = 3 * HOUR_MS;

function open(startMs?: number) {
  const clock = new FakeClock(startMs);
  const age = new RowAge(clock, KEEP_MS);
  age.note();
  clock.every(MINUTE_MS, () => age.note());
  return { clock, isOver: (stampMs: number) => stampMs < age.stampBefore(KEEP_MS) };
}

/** Whether a row is over, a minute before and after it has been kept for its time. */
function aroundEnd({ clock, isOver }: ReturnType<typeof open>, stampMs: number, keptMs: number): boolean[] {
  clock.advance(KEEP_MS - keptMs - MINUTE_MS);
  const isOverBefore = isOver(stampMs);
  clock.advance(3 * MINUTE_MS);
  return [isOverBefore, isOver(stampMs)];
}

describe('the age of a row', () => {
  it('is the time that has passed', () => {
    const opened = open();
    expect(aroundEnd(opened, opened.clock.now(), 0)).toEqual([false, true]);
  });

  it.each([HOUR_MS, 10 * YEAR_MS])('does not grow by a step forward of %i ms', (byMs) => {
    const opened = open();
    const stampMs = opened.clock.now();
    opened.clock.advance(HOUR_MS);
    opened.clock.step(byMs);
    expect(aroundEnd(opened, stampMs, HOUR_MS)[0]).toBe(false);
  });

  it('is that of a clock that was set from 1970 to now, for what was stamped since', () => {
    const opened = open(5000);
    opened.clock.advance(MINUTE_MS);
    opened.clock.step(56 * YEAR_MS);
    opened.clock.advance(5 * MINUTE_MS);
    expect(aroundEnd(opened, opened.clock.now(), 0)).toEqual([false, true]);
  });

  it('is no greater, and as great in the end, while somebody sets the clock again and again', () => {
    const opened = open();
    const stampMs = opened.clock.now();
    for (let minute = 0; minute < 60; minute++) {
      opened.clock.step(minute % 2 === 0 ? HOUR_MS : -HOUR_MS);
      opened.clock.advance(MINUTE_MS);
    }
    expect(aroundEnd(opened, stampMs, HOUR_MS)).toEqual([false, true]);
  });

  it('grows with a pause, and is less for as long as the clock was set back by', () => {
    const opened = open();
    const stampMs = opened.clock.now();
    opened.clock.pause(HOUR_MS);
    opened.clock.step(-HOUR_MS);
    expect(aroundEnd(opened, stampMs, HOUR_MS)).toEqual([false, false]);
    opened.clock.advance(HOUR_MS);
    expect(opened.isOver(stampMs)).toBe(true);
  });
});
