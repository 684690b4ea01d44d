import { describe, expect, it, vi } from 'vitest';
import { silentLogger } from '../../../common/log.ts';
import { Refusals } from '../../../collector/edge/refusals.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('refusals', () => {
  it('are all counted, and logged once a minute for each reason with their number', async () => {
    const clock = new FakeClock();
    const metrics = createCollectorMetrics();
    const logger = silentLogger.child({});
    const lines: unknown[] = [];
    vi.spyOn(logger, 'warn').mockImplementation((line: unknown) => void lines.push(line));
    const refusals = new Refusals({ clock, logger, metrics });
    for (let index = 0; index < 1000; index++) refusals.note('wrong-token', '10.0.0.9');
    refusals.note('no-hello', '10.0.0.9');
    clock.advance(60_000);
    refusals.note('wrong-token', '10.0.0.9');
    expect(lines).toMatchObject([
      { reason: 'wrong-token', count: 1 },
      { reason: 'no-hello', count: 1 },
      { reason: 'wrong-token', count: 1000 },
    ]);
    const { values } = await metrics.peersRefused.get();
    expect(values.map(({ value }) => value)).toEqual([1001, 1]);
  });
});
