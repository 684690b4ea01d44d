import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { createCollectorMetrics } from '../../collector/metrics.ts';
import { packagePath } from '../../common/package.ts';

const PROMTOOL = '/usr/bin/promtool';
const FILE = packagePath('deploy/prometheus-rules.yaml');
const text = readFileSync(FILE, 'utf8');

interface Rule {
  readonly alert: string;
  readonly expr: string;
}
const { groups } = parse(text) as { groups: { rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);

/** Which alerts fire after an hour in which the metrics stood at these values. */
function firing(metrics: Readonly<Record<string, string>>): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-alerts-'));
  try {
    const input_series = Object.entries(metrics).map(([series, values]) => ({ series, values }));
    const alert_rule_test = rules.map(({ alert }) => ({ eval_time: '1h', alertname: alert, exp_alerts: [] }));
    const tests = [{ interval: '1m', input_series, alert_rule_test }];
    writeFileSync(join(folder, 'test.yaml'), stringify({ rule_files: [FILE], tests }));
    const { stdout, stderr } = spawnSync(PROMTOOL, ['test', 'rules', join(folder, 'test.yaml')], {
      encoding: 'utf8',
    });
    return Array.from(`${stdout}${stderr}`.matchAll(/alertname: *(\w+)/g), ([, alert = '']) => alert);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('deploy/prometheus-rules.yaml', () => {
  it('asks for metrics that there are, and for what the page says', async () => {
    const known = (await createCollectorMetrics().registry.getMetricsAsJSON()).map(({ name }) => name);
    const page = readFileSync(packagePath('docs/monitoring.md'), 'utf8');
    for (const { alert, expr } of rules) {
      const names = expr.match(/plasmawatch_\w+/g) ?? [];
      expect(known).toEqual(expect.arrayContaining([...new Set(names)]));
      expect(page).toContain(`| \`${alert}\``);
      expect(page).toContain(`\`${expr}\``);
    }
  });

  it.skipIf(!existsSync(PROMTOOL))('is understood by Prometheus (needs promtool)', () => {
    const answer = execFileSync(PROMTOOL, ['check', 'rules', '--lint-fatal', FILE], { encoding: 'utf8' });
    expect(answer).toContain(`${rules.length} rules found`);
  });

  it.skipIf(!existsSync(PROMTOOL)).each([
    ['all is well and no agent shares a view', {}, []],
    ['the collector is gone', { 'up{job="plasmawatch"}': '0x60' }, ['PlasmawatchCollectorGone']],
    ['an agent went away', { plasmawatch_agents_connected: '3x30 2x30' }, ['PlasmawatchAgentGone']],
    [
      'a view is old',
      { plasmawatch_members_oldest_view_timestamp_seconds: '60x60' },
      ['PlasmawatchMembershipStale'],
    ],
    ['the disk is full', { plasmawatch_store_refusing: '1x60' }, ['PlasmawatchStoreRefusing']],
    [
      'a notification failed',
      { 'plasmawatch_notifications_total{outcome="failed"}': '0x30 1x30' },
      ['PlasmawatchNotificationFailed'],
    ],
  ])('fires as it should when %s (needs promtool)', (_what, changes, alerts) => {
    const well = {
      'up{job="plasmawatch"}': '1x60',
      plasmawatch_agents_connected: '3x60',
      plasmawatch_members_oldest_view_timestamp_seconds: '0x60',
      plasmawatch_store_refusing: '0x60',
    };
    expect(firing({ ...well, ...changes })).toEqual(alerts);
  });
});
