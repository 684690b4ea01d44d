import { describe, expect, it } from 'vitest';
import { createCollectorMetrics } from '../../collector/metrics.ts';

describe('the metrics', () => {
  it('are named by the conventions of Prometheus, and explained', async () => {
    const metrics = await createCollectorMetrics().registry.getMetricsAsJSON();
    for (const { name, help, type } of metrics) {
      expect(name).toMatch(
        String(type) === 'counter' ? /^plasmawatch_[a-z_]+_total$/ : /^plasmawatch_[a-z_]+$/,
      );
      expect(help).toMatch(/^[A-Z].*\.$/);
    }
    expect(metrics.length).toBeGreaterThan(15);
  });

  it('are separate for two collectors in one process', async () => {
    const [first, second] = [createCollectorMetrics(), createCollectorMetrics()];
    first.reportsRepeated.inc(3);
    expect((await second.reportsRepeated.get()).values[0]?.value).toBe(0);
  });
});
