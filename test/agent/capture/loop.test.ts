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
});
