import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const PROJECT = resolve(import.meta.dirname, '../..');
const isInstalled = spawnSync('docker-compose', ['version']).status === 0;
const SECRETS = ['agent-token', 'api-token', 'influxdb-password'];

interface Composition {
  readonly services: Record<string, Record<string, unknown>>;
  readonly secrets: Record<string, { readonly file: string }>;
}

/** The file as docker-compose understands it. */
function resolved(): Composition {
  return parse(execFileSync('docker-compose', ['config'], { cwd: PROJECT, encoding: 'utf8' })) as Composition;
}

describe.skipIf(!isInstalled)('docker-compose.yml (needs the program docker-compose)', () => {
  it('runs agent and collector without privileges but the two that capturing needs', () => {
    const { agent, collector } = resolved().services;
    const hardened = { cap_drop: ['ALL'], read_only: true, security_opt: ['no-new-privileges:true'] };
    expect(agent).toMatchObject({
      ...hardened,
      cap_add: ['NET_RAW', 'BPF'],
      network_mode: 'host',
      pid: 'host',
    });
    expect(collector).toMatchObject(hardened);
    expect(collector).not.toHaveProperty('cap_add');
    expect(collector).not.toHaveProperty('user');
    for (const service of [agent, collector]) expect(service).not.toHaveProperty('privileged');
  });

  it('publishes the collector on loopback and nothing else', () => {
    const published = Object.entries(resolved().services).map(([name, { ports }]) => [name, ports]);
    expect(Object.fromEntries(published)).toEqual({
      agent: undefined,
      collector: ['127.0.0.1:9440:9440/tcp'],
      influxdb: undefined,
    });
  });

  it('checks the health of every service and takes secrets from files that git ignores', () => {
    const { services, secrets } = resolved();
    for (const service of Object.values(services)) expect(service).toHaveProperty('healthcheck.test');
    expect(Object.keys(secrets).toSorted()).toEqual(SECRETS);
    for (const { file } of Object.values(secrets)) {
      expect(spawnSync('git', ['check-ignore', '--quiet', file], { cwd: PROJECT }).status).toBe(0);
    }
  });
});

describe('deploy/make-secrets.sh', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'plasmawatch-secrets-'));
    for (const file of ['make-secrets.sh', 'secrets/README.md']) {
      cpSync(join(PROJECT, 'deploy', file), join(folder, file));
    }
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const make = (): string => execFileSync(join(folder, 'make-secrets.sh'), { cwd: '/', encoding: 'utf8' });
  const read = (): string[] => SECRETS.map((name) => readFileSync(join(folder, 'secrets', name), 'utf8'));

  it('makes 256 random bits for each secret, in a folder for the owner only', () => {
    expect(make()).toBe(SECRETS.map((name) => `made ${name}\n`).join(''));
    const secrets = read();
    for (const secret of secrets) expect(secret).toMatch(/^[0-9a-f]{64}$/);
    expect(new Set(secrets).size).toBe(SECRETS.length);
    expect(statSync(join(folder, 'secrets')).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, 'secrets', 'agent-token')).mode & 0o777).toBe(0o444);
  });

  it('keeps what is there', () => {
    make();
    const before = read();
    expect(make()).toBe(SECRETS.map((name) => `kept ${name}\n`).join(''));
    expect(read()).toEqual(before);
  });
});
