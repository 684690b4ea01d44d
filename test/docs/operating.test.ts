import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { agentConfigSchema } from '../../agent/config.ts';
import { AGENT_COUNTERS } from '../../agent/metrics.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import { REFUSAL_REASONS } from '../../collector/edge/refusals.ts';
import { createCollectorMetrics } from '../../collector/metrics.ts';
import { receiversSchema } from '../../collector/notify/receivers.ts';
import { parseYaml } from '../../common/config-file.ts';
import { packagePath } from '../../common/package.ts';

const monitoring = readPage('monitoring');
const page = [readPage('install'), readPage('alerts'), monitoring, readPage('troubleshooting')].join('\n');

function readPage(name: string): string {
  return readFileSync(packagePath(`docs/${name}.md`), 'utf8');
}

/** The fenced blocks of a language, without the indentation of a list. */
function blocksOf(language: string): string[] {
  const fences = page.matchAll(new RegExp(`^( *)\`\`\`${language}\n(.*?)^\\1\`\`\`$`, 'gms'));
  return Array.from(fences, ([, indent = '', text = '']) =>
    text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
  );
}

/** The first column of the tables that begin with this heading. */
function rowsOf(heading: string): string[] {
  const table = page.slice(page.indexOf(`| ${heading} `)).split('\n\n')[0] ?? '';
  return Array.from(table.matchAll(/^\| `([\w-]+)` +\|/gm), ([, name = '']) => name);
}

describe("the operators' pages", () => {
  it('has a row for every counter of an agent, and none besides', () => {
    const section = monitoring.slice(monitoring.indexOf('## Counters'));
    const names = Array.from(section.matchAll(/^\| `((?!plasmawatch_)\w+)` +\|/gm), ([, name]) => name);
    expect(names).toEqual(Object.keys(AGENT_COUNTERS));
  });

  it('has a row for every metric of the collector, and none besides', async () => {
    const metrics = await createCollectorMetrics().registry.getMetricsAsJSON();
    expect(rowsOf('metric')).toEqual(metrics.map(({ name }) => name));
  });

  it('has a row for every reason for which peers are turned away, and none besides', () => {
    expect(rowsOf('reason').toSorted()).toEqual([...REFUSAL_REASONS].toSorted());
  });

  const settings = blocksOf('yaml').filter((text) => !text.includes('scrape_configs'));

  it('shows settings for InfluxDB and for every type of receiver', () => {
    const types = receiversSchema.element.options.map(({ shape }) => shape.type.value);
    const shown = settings.flatMap((text) => [...text.matchAll(/^ +type: (\w+)$/gm)].map(([, type]) => type));
    expect(new Set(shown)).toEqual(new Set(types));
    expect(types.length).toBeGreaterThan(8);
    expect(settings.some((text) => text.startsWith('influx:'))).toBe(true);
  });

  it.each(settings)('shows settings that the agent or the collector accepts: %s', (text) => {
    const schema = text.startsWith('# agent.yaml') ? agentConfigSchema : collectorConfigSchema;
    expect(parseYaml(schema, text, 'docs').diagnostics).toEqual([]);
  });

  it('shows a check of signatures that accepts ours and nothing else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-docs-'));
    try {
      const file = join(folder, 'check.mjs');
      await writeFile(file, blocksOf('js')[0] ?? '');
      const { isGenuine } = (await import(pathToFileURL(file).href)) as {
        isGenuine: (secret: string, headers: Record<string, string>, body: string) => boolean;
      };
      const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
      const body = '{"type":"incident.opened"}';
      const sign = (time: Date): Record<string, string> => ({
        'webhook-id': 'msg_1',
        'webhook-timestamp': String(Math.floor(time.getTime() / 1000)),
        'webhook-signature': new Webhook(secret).sign('msg_1', time, body),
      });
      const now = sign(new Date());
      expect(isGenuine(secret, now, body)).toBe(true);
      expect(
        isGenuine(secret, { ...now, 'webhook-signature': `v1,AAAA ${now['webhook-signature']}` }, body),
      ).toBe(true);
      expect(isGenuine(secret, now, `${body} `)).toBe(false);
      expect(isGenuine(secret, { ...now, 'webhook-id': 'msg_2' }, body)).toBe(false);
      expect(isGenuine('whsec_AAAA', now, body)).toBe(false);
      expect(isGenuine(secret, sign(new Date(Date.now() - 3_600_000)), body)).toBe(false);
      expect(isGenuine(secret, {}, body)).toBe(false);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
