import { describe, expect, it, vi } from 'vitest';
import { CaptureLoop } from '../../../agent/capture/loop.ts';
import { PortSet } from '../../../agent/capture/source.ts';
import { silentLogger } from '../../../common/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeSource } from '../../support/fake-source.ts';

const SINK = { frame: () => {}, counts: () => {}, blockEnd: () => {} };

describe('CaptureLoop', () => {
  it('opens a source again after a fault, with the counters of the one before and what was asked for', async () => {
    const sources = [new FakeSource(), new FakeSource()] as const;
    let opened = 0;
    const clock = new FakeClock();
    const loop = new CaptureLoop({
      open: (ports) => {
        const source = sources[opened++] ?? sources[1];
        source.setPorts(ports);
        return Promise.resolve(source);
      },
      sink: SINK,
      clock,
      logger: silentLogger,
    });
    await loop.start(new PortSet([1]));
    loop.wantFirstPackets(4);
    loop.setPorts(new PortSet([2]));
    sources[0].received = 10;
    sources[0].dropped = 3;
    sources[0].fail(new Error('gone'));
    await vi.waitFor(() => expect(loop.isCapturing).toBe(false));
    clock.advance(2000);
    await vi.waitFor(() => expect(loop.isCapturing).toBe(true));
    sources[1].received = 5;
    sources[1].dropped = 1;
    expect(loop.counters()).toEqual({ received: 15, dropped: 4, overflowed: 0 });
    expect([sources[1].firstPackets, sources[1].ports.has(2), loop.restarts]).toEqual([4, true, 1]);
    await loop.stop();
  });

  it('is stuck when a source neither opens nor fails, and not while it fails again and again', async () => {
    const source = new FakeSource();
    let attempts = 0;
    let isHanging = false;
    const clock = new FakeClock();
    const loop = new CaptureLoop({
      open: () => {
        attempts++;
        if (attempts === 1) return Promise.resolve(source);
        return isHanging ? new Promise<FakeSource>(() => {}) : Promise.reject(new Error('no such interface'));
      },
      sink: SINK,
      clock,
      logger: silentLogger,
    });
    await loop.start(new PortSet([1]));
    expect(loop.isStuck).toBe(false);
    source.fail(new Error('gone'));
    for (let times = 2; times < 30; times++) {
      await vi.waitFor(() => expect(clock.pending).toBe(1));
      clock.advance(2000);
      await vi.waitFor(() => expect(attempts).toBe(times));
    }
    expect(loop.isStuck).toBe(false);
    isHanging = true;
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(2000);
    expect(loop.isStuck).toBe(false);
    clock.advance(31_000);
    expect(loop.isStuck).toBe(true);
  });
});
