import { describe, expect, it, vi } from 'vitest';
import { openKernelFlows } from '../../agent/capture/linux/kernel-flows.ts';
import { PortSet } from '../../agent/capture/source.ts';
import { systemClock } from '../../common/clock.ts';
import { silentLogger } from '../../common/log.ts';

describe('smoke', () => {
  it('loads', async () => {
    const source = await openKernelFlows({
      ports: new PortSet([43800]),
      clock: systemClock,
      logger: silentLogger,
    });
    console.log(source.name, source.counters());
    source.stop();
  });
});
