/** What a real Prometheus makes of `/metrics`; it is started on free ports and ended by its process id. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../common/clock.ts';
import { silentLogger } from '../../common/log.ts';
import { createCollector, type Collector } from '../../collector/collector.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import { openParts, TEST_EPOCH } from '../support/collector-parts.ts';
import { freePort } from '../support/free-port.ts';
import { sampleAnomaly, sampleFlowReport } from '../support/sample-report.ts';
import { ServerProcess } from '../support/server-process.ts';
import { waitFor } from '../support/wait-for.ts';

const PROMETHEUS = '/usr/bin/prometheus';
const PROMTOOL = '/usr/bin/promtool';
const API_TOKEN = 'ApiTokenOfTheTestOfMetrics';

async function recordStories(count: number) {
  const parts = await openParts({ limits: { maxUnresolved: 10_000 } });
  const { recorder } = parts;
  for (let number = 1; number <= count; number++) {
    const node = `node-${number}`;
    const ip = `10.9.${Math.floor(number / 250)}.${(number % 250) + 1}`;
    const anomaly = sampleAnomaly(number, `about ${ip}`);
    if (anomaly.flow === null) throw new Error('the sample has a flow');
    // A service of its own, so that no stranger is one of a burst.
    const plasmawatch = { ...anomaly.flow.plasmawatch, service: `service-${number}` };
    const flow = { ...anomaly.flow, source: { ...anomaly.flow.source, ip }, plasmawatch };
    recorder.record(node, TEST_EPOCH, [
      { sequence: 1, report: { ...anomaly, node, flow } },
      { sequence: 2, report: { ...sampleFlowReport(), node } },
    ]);
  }
  return await parts.metrics.registry.metrics();
}

const seriesIn = (text: string): string[] =>
  text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.slice(0, line.lastIndexOf(' ')))
    .toSorted();

describe('the metrics', () => {
  it('have as many series after a thousand strangers on a thousand nodes as after one, and name none of them', async () => {
    const many = await recordStories(1000);
    expect(seriesIn(many)).toEqual(seriesIn(await recordStories(1)));
    expect(many).toContain('plasmawatch_incidents_total{event="opened"} 1000');
    expect(many).not.toMatch(/10\.9\.|node-\d|service-\d/);
  });

  it.skipIf(!existsSync(PROMTOOL))('are named as Prometheus wants it (needs promtool)', async () => {
    const { status, stdout, stderr } = spawnSync(PROMTOOL, ['check', 'metrics'], {
      input: await recordStories(3),
      encoding: 'utf8',
    });
    expect({ status, said: `${stdout}${stderr}` }).toEqual({ status: 0, said: '' });
  });
});

describe.skipIf(!existsSync(PROMETHEUS))(`with Prometheus (needs ${PROMETHEUS})`, () => {
  let folder: string;
  let collector: Collector;
  let address: string;
  let server: ServerProcess | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-prometheus-'));
    collector = await createCollector({
      config: collectorConfigSchema.parse({ listen: { port: 0 }, store: { path: ':memory:' } }),
      secrets: {
        apiTokens: [{ name: 'prometheus', role: 'viewer', token: API_TOKEN }],
        receivers: new Map(),
      },
      clock: systemClock,
      logger: silentLogger,
      fetch,
      random: () => 0.5,
    });
    address = (await collector.start()).url.slice('http://'.length);
    await writeFile(join(folder, 'token'), API_TOKEN);
    await writeFile(
      join(folder, 'prometheus.yml'),
      `global: { scrape_interval: 200ms, scrape_timeout: 200ms }
scrape_configs:
  - job_name: plasmawatch
    authorization: { credentials_file: ${join(folder, 'token')} }
    static_configs: [{ targets: ['${address}'] }]
`,
    );
  });
  afterEach(async () => {
    await server?.stop();
    await collector.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('is scraped with a token, and all of it is taken', async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    server = await ServerProcess.start(
      PROMETHEUS,
      [
        `--config.file=${join(folder, 'prometheus.yml')}`,
        `--storage.tsdb.path=${join(folder, 'data')}`,
        `--web.listen-address=${url.slice('http://'.length)}`,
      ],
      { cwd: folder, isReady: ServerProcess.answers(`${url}/-/ready`) },
    );
    const query = async (expression: string): Promise<string[]> => {
      const answer = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expression)}`);
      const { data } = (await answer.json()) as { data: { result: { value: [number, string] }[] } };
      return data.result.map(({ value }) => value[1]);
    };
    await waitFor(async () => (await query('up{job="plasmawatch"}'))[0] === '1', 'a scrape');
    expect(await query('plasmawatch_agents_connected')).toEqual(['0']);
    const targets = (await (await fetch(`${url}/api/v1/targets`)).json()) as {
      data: { activeTargets: { health: string; lastError: string }[] };
    };
    expect(targets.data.activeTargets).toMatchObject([{ health: 'up', lastError: '' }]);
  });
});
