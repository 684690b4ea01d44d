import { describe, expect, it } from 'vitest';
import { PacketTime } from '../../../agent/capture/packet-time.ts';
import { FlowCounts, Frame } from '../../../agent/capture/source.ts';
import { CLOCK_STEPS, DISTURBANCES } from '../../support/clock-disturbances.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const HOUR_MS = 3_600_000;

function openTime() {
  const clock = new FakeClock();
  const times: number[] = [];
  const note = ({ seconds, nanoseconds }: Frame | FlowCounts): void => {
    expect(nanoseconds).toBeGreaterThanOrEqual(0);
    expect(nanoseconds).toBeLessThan(1e9);
    times.push(seconds * 1000 + nanoseconds / 1e6 - clock.monotonic());
  };
  const time = new PacketTime({ frame: note, counts: note, blockEnd: () => {} }, clock);
  /** A block of packets with these stamps; by the kernel's clock. */
  const deliver = (...stampsMs: number[]): void => {
    for (const [index, stampMs] of stampsMs.entries()) {
      const stamped = index % 2 === 0 ? new Frame() : new FlowCounts();
      stamped.seconds = Math.floor(stampMs / 1000);
      stamped.nanoseconds = Math.round((stampMs % 1000) * 1e6);
      if (stamped instanceof Frame) time.frame(stamped);
      else time.counts(stamped);
    }
    time.blockEnd();
  };
  return { clock, times, deliver };
}

describe('the time of packets', () => {
  it('is that of their stamps while no clock is disturbed, however old they are', () => {
    const { clock, times, deliver } = openTime();
    deliver(clock.now() - 40, clock.now() - 30, clock.now() - 9 * HOUR_MS);
    clock.advance(500);
    deliver(clock.now() - 1);
    expect(times).toEqual([-40, -30, -9 * HOUR_MS, -1]);
  });

  it.each(DISTURBANCES)('goes on while the clock is $name', ({ apply }) => {
    const { clock, times, deliver } = openTime();
    deliver(clock.now() - 40, clock.now() - 20);
    clock.advance(500);
    const before = clock.now() - 20;
    apply(clock);
    clock.advance(10);
    // The first was captured before.
    deliver(before, clock.now() - 5);
    for (let second = 0; second < 30; second++) {
      clock.advance(1000);
      deliver(clock.now() - 40, clock.now() - 20);
    }
    expect(times.slice(0, 4)).toEqual([-40, -20, -30, -5]);
    expect(new Set(times.slice(4))).toEqual(new Set([-40, -20]));
  });

  it.each(CLOCK_STEPS)('is right though nothing comes for long after the clock was $name', ({ apply }) => {
    const { clock, times, deliver } = openTime();
    deliver(clock.now() - 40);
    apply(clock);
    clock.advance(HOUR_MS);
    deliver(clock.now() - 40);
    clock.advance(HOUR_MS);
    deliver(clock.now() - 40);
    expect(times).toEqual([-40, -40, -40]);
  });

  // As where only the clock that a process reads is set: in a sandbox, or by a library.
  it.each(CLOCK_STEPS)('is right where the stamps are not by the clock that was $name', ({ apply }) => {
    const { clock, times, deliver } = openTime();
    deliver(clock.now() - 40);
    apply(clock);
    for (let second = 0; second < 30; second++) {
      clock.advance(1000);
      deliver(clock.monotonic() - 40, clock.monotonic() - 20);
    }
    expect(new Set(times)).toEqual(new Set([-40, -20]));
  });
});
