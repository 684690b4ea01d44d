import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseYaml } from '../../common/config-file.ts';
import {
  checkExposure,
  collectorConfigSchema,
  defaultCollectorConfig,
  type CollectorConfig,
} from '../../collector/config.ts';
import type { ApiToken } from '../../collector/api/access.ts';
import { loadCollectorSecrets } from '../../collector/secrets.ts';

const ADMIN: ApiToken = { name: 'admin', role: 'admin', token: 'api-token-of-the-test' };

function parse(text: string): { value?: CollectorConfig | undefined; problems: string[] } {
  const { value, diagnostics } = parseYaml(collectorConfigSchema, text, 'collector.yaml');
  return { value, problems: diagnostics.map(({ line, message }) => `${line}: ${message}`) };
}

describe('the settings', () => {
  it('have defaults that validate, and listen on loopback only', () => {
    const config = defaultCollectorConfig();
    expect(config.listen).toEqual({ host: '127.0.0.1', port: 9440, allowedHosts: [] });
    expect(config).toMatchObject({ receivers: [], store: { keepDays: 30 }, incidents: { quietMinutes: 15 } });
  });

  it('describe every field, for editors and the manual', () => {
    const undescribed: string[] = [];
    const visit = (schema: Record<string, unknown>, path: string): void => {
      for (const [name, field] of Object.entries((schema['properties'] ?? {}) as Record<string, never>)) {
        if (!('description' in (field as object))) undescribed.push(`${path}.${name}`);
        visit(field, `${path}.${name}`);
        visit((field as Record<string, never>)['items'] ?? {}, `${path}.${name}[]`);
      }
      for (const variant of [
        ...((schema['oneOf'] ?? []) as never[]),
        ...((schema['anyOf'] ?? []) as never[]),
      ]) {
        visit(variant, path);
      }
    };
    visit(z.toJSONSchema(collectorConfigSchema, { io: 'input' }), '');
    expect(undescribed).toEqual([]);
  });

  it('take receivers of both kinds', () => {
    const { value, problems } = parse(`
receivers:
  - { name: ops, type: slack, urlFile: /run/secrets/slack }
  - { name: siem, type: webhook, url: "https://siem.example.com/in", secretFile: /run/secrets/siem, minimumSeverity: critical }
`);
    expect(problems).toEqual([]);
    expect(value?.receivers.map(({ minimumSeverity }) => minimumSeverity)).toEqual(['warning', 'critical']);
  });

  it.each([
    ['listen: { prot: 1 }', 'prot'],
    ['listen: { port: 70000 }', '70000'],
    ['receivers: [{ name: ops, type: slack }]', 'url'],
    ['receivers: [{ name: ops, type: slack, url: "https://a.example", urlFile: b }]', 'url'],
    ['receivers: [{ name: ops, type: pigeon, url: "https://a.example" }]', 'slack'],
    [
      'receivers: [{ name: ops, type: slack, urlFile: a }, { name: ops, type: slack, urlFile: b }]',
      'different name',
    ],
    ['apiTokens: [{ name: root, role: owner, tokenFile: a }]', 'owner|role'],
    ['apiTokens: [{ name: admin, role: admin, tokenFile: a }]', 'taken'],
    ['store: { keepDays: 0 }', 'keepDays|0'],
  ])('say what is wrong with %s', (text, expected) => {
    const { value, problems } = parse(text);
    expect(value).toBeUndefined();
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(expected));
  });
});

function at(host: string): CollectorConfig {
  return collectorConfigSchema.parse({ listen: { host } });
}

describe('being open to the network', () => {
  it('needs no agent token where every agent needs a key of its own', () => {
    const config = collectorConfigSchema.parse({ listen: { host: '::' }, fleet: { enrolledOnly: true } });
    expect(() => checkExposure(config, { apiTokens: [ADMIN] })).not.toThrow();
  });

  it.each(['0.0.0.0', '::', '10.1.2.3', 'watch.example.com'])('on %s needs both tokens', (host) => {
    expect(() => checkExposure(at(host), {})).toThrow(
      `will not listen on ${host}, beyond this machine, without an agent token (agentTokenFile), keys (fleet.enrolledOnly) or certificates (tls.clientCa) and an API token (apiTokenFile); or listen on 127.0.0.1`,
    );
    expect(() => checkExposure(at(host), { agentToken: 'a' })).toThrow('without an API token');
    expect(() => checkExposure(at(host), { apiTokens: [ADMIN] })).toThrow('without an agent token');
    expect(() => checkExposure(at(host), { agentToken: 'a', apiTokens: [ADMIN] })).not.toThrow();
  });

  it('needs no agent token where agents need certificates', () => {
    const tls = { cert: 'cert.pem', key: 'key.pem', clientCa: 'ca.pem' };
    const config = collectorConfigSchema.parse({ listen: { host: '0.0.0.0' }, tls });
    expect(() => checkExposure(config, { apiTokens: [ADMIN] })).not.toThrow();
    expect(() => checkExposure(config, {})).toThrow('without an API token (apiTokenFile);');
  });

  it.each(['127.0.0.1', '127.9.9.9', '::1', 'localhost'])('is not the case on %s', (host) => {
    expect(() => checkExposure(at(host), {})).not.toThrow();
  });
});

describe('secrets', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-secrets-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };

  it('come from files and the environment', async () => {
    const config = collectorConfigSchema.parse({
      agentTokenFile: await write('agent', 'agent-token-of-the-test\n'),
      apiTokens: [
        { name: 'grafana', role: 'viewer', tokenFile: await write('grafana', 'viewer-token-of-the-test\n') },
      ],
      receivers: [
        {
          name: 'ops',
          type: 'slack',
          urlFile: await write('slack', 'https://hooks.example/services/T/B/x\n'),
        },
        {
          name: 'siem',
          type: 'webhook',
          url: 'https://siem.example/in',
          secretFile: await write('siem', 'whsec_MDEy'),
        },
      ],
    });
    expect(await loadCollectorSecrets(config, { PLASMAWATCH_API_TOKEN: ADMIN.token })).toEqual({
      agentToken: 'agent-token-of-the-test',
      apiTokens: [ADMIN, { name: 'grafana', role: 'viewer', token: 'viewer-token-of-the-test' }],
      tls: undefined,
      receivers: new Map([
        ['ops', { url: 'https://hooks.example/services/T/B/x' }],
        ['siem', { url: 'https://siem.example/in', signingSecret: 'whsec_MDEy' }],
      ]),
      influxPassword: undefined,
      deadManUrl: undefined,
    });
    const url = 'https://hc-ping.example/5ecret';
    const deadMan = collectorConfigSchema.parse({
      deadMan: { urlFile: await write('dead-man', `${url}\n`) },
    });
    expect((await loadCollectorSecrets(deadMan, {})).deadManUrl).toBe(url);
    const environment = { PLASMAWATCH_DEAD_MAN_URL: 'http://hc-ping.example/5ecret' };
    await expect(loadCollectorSecrets(collectorConfigSchema.parse({}), environment)).rejects.toThrow(
      'dead-man URL: expected https, or a secret would travel in clear',
    );
  });

  it('come from one place only', async () => {
    const config = collectorConfigSchema.parse({ agentTokenFile: await write('agent', 'token-in-file') });
    const loading = loadCollectorSecrets(config, { PLASMAWATCH_AGENT_TOKEN: 'token-in-environment' });
    await expect(loading).rejects.toMatchObject({
      code: 'PW_SECRET',
      message: expect.stringContaining('not both'),
    });
    await expect(loading).rejects.not.toThrow(/token-in/);
  });

  it.each([
    ['ftp://SECRET.example/x', 'expected an http or https URL'],
    ['SECRET', 'expected an http or https URL'],
    ['https://user:SECRET@hooks.example/x', 'user and password in a URL are not supported'],
  ])('are checked and not shown: the URL %s', async (url, problem) => {
    const config = collectorConfigSchema.parse({ receivers: [{ name: 'ops', type: 'slack', url }] });
    await expect(loadCollectorSecrets(config, {})).rejects.toThrow(`URL of receiver ops: ${problem}`);
    await expect(loadCollectorSecrets(config, {})).rejects.not.toThrow(/SECRET/);
  });

  it('are long, and another one for each caller', async () => {
    const tokenFile = await write('twin', ADMIN.token);
    const twin = collectorConfigSchema.parse({ apiTokens: [{ name: 'grafana', role: 'viewer', tokenFile }] });
    const environment = { PLASMAWATCH_API_TOKEN: ADMIN.token };
    await expect(loadCollectorSecrets(twin, environment)).rejects.toThrow(
      'API token of grafana: it is that of admin, too',
    );
    const short = collectorConfigSchema.parse({ apiTokenFile: await write('short', 'fifteen-letters') });
    await expect(loadCollectorSecrets(short, {})).rejects.toThrow('expected at least 16 characters, got 15');
  });

  it('of TLS must be PEM', async () => {
    const file = await write('cert.pem', 'no certificate');
    const config = collectorConfigSchema.parse({ tls: { cert: file, key: file } });
    await expect(loadCollectorSecrets(config, {})).rejects.toThrow(
      `TLS certificate ${file}: expected PEM (-----BEGIN …)`,
    );
  });
});
