import { describe, expect, it } from 'vitest';
import { Heartbeats } from '../../../collector/ingest/heartbeats.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { openParts } from '../../support/collector-parts.ts';

describe('Heartbeats', () => {
  it('counts the connected agents whose port is a guess', async () => {
    const parts = await openParts();
    const metrics = createCollectorMetrics();
    const heartbeats = new Heartbeats({ ...parts, metrics });
    const guessed = async (): Promise<number | undefined> =>
      (await metrics.portsGuessed.get()).values[0]?.value;
    const note = (agent: string, source?: number): void =>
      heartbeats.note(agent, {
        type: 'heartbeat',
        counters: source === undefined ? {} : { object_manager_port_source: source },
      });
    note('w1', 0);
    note('w2', 0);
    note('w3', 1);
    // One of an earlier version.
    note('w4');
    expect(await guessed()).toBe(2);
    note('w1', 1);
    expect(await guessed()).toBe(1);
    heartbeats.disconnected('w2');
    expect(await guessed()).toBe(0);
    heartbeats.write();
    parts.store.close();
  });
});
