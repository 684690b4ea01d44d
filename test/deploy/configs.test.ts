import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { agentConfigSchema } from '../../agent/config.ts';
import { resolveEndpoint } from '../../agent/uplink/endpoint.ts';
import { checkExposure, collectorConfigSchema } from '../../collector/config.ts';
import { loadYamlFile } from '../../common/config-file.ts';

const PROJECT = resolve(import.meta.dirname, '../..');

async function load<Schema extends z.ZodType>(schema: Schema, file: string): Promise<z.output<Schema>> {
  const { value, diagnostics } = await loadYamlFile(schema, resolve(PROJECT, file));
  expect(diagnostics).toEqual([]);
  if (value === undefined) throw new Error(`${file} holds nothing`);
  return value;
}

describe.each(['deploy/agent.yaml', 'deploy/compose/agent.yaml'])('%s', (file) => {
  it('is accepted, and names a collector to which the token may travel', async () => {
    const { collector } = await load(agentConfigSchema, file);
    expect(collector.tokenFile).toMatch(/\/agent-token$/);
    expect(resolveEndpoint({ ...collector, token: 'a-token' }).port).toBe('9440');
  });
});

describe.each(['deploy/collector.yaml', 'deploy/compose/collector.yaml'])('%s', (file) => {
  it('is accepted, and listens to the network with both tokens only', async () => {
    const config = await load(collectorConfigSchema, file);
    expect([config.agentTokenFile, config.apiTokenFile]).not.toContain(undefined);
    expect(() =>
      checkExposure(config, {
        agentToken: 'one',
        apiTokens: [{ name: 'admin', role: 'admin', token: 'another' }],
      }),
    ).not.toThrow();
    expect(() => checkExposure(config, { agentToken: 'one' })).toThrow('API token');
  });
});

describe.each([
  ['plasmawatch-agent.service', 'deploy/agent.yaml'],
  ['plasmawatch-collector.service', 'deploy/collector.yaml'],
])('%s', (unit, config) => {
  it('reads the settings, checks the same at a reload, and keeps state and secrets where they put them', async () => {
    const [unitText, configText] = await Promise.all(
      [`deploy/${unit}`, config].map((file) => readFile(resolve(PROJECT, file), 'utf8')),
    );
    const service = /^plasmawatch-(\w+)/.exec(unit)?.[1];
    const secrets = [...(configText ?? '').matchAll(/^ *(?:\w*[tT]okenFile|key): (.+)$/gm)].map(
      ([, path]) => path,
    );
    expect(secrets.length).toBeGreaterThan(0);
    for (const path of secrets) expect(path).toMatch(new RegExp(`^/etc/plasmawatch/${service}/`));
    expect(unitText).toContain(`config check --${service} /etc/plasmawatch/${config.split('/')[1]}`);
    const state = /^StateDirectory=(\S+)$/m.exec(unitText ?? '')?.[1];
    expect(configText).toMatch(new RegExp(`^  path: /var/lib/${state}/`, 'm'));
    expect(unitText).toContain(`--config /etc/plasmawatch/${config.split('/')[1]}`);
  });
});
