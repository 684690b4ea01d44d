import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../../support/run-cli.ts';

describe('doctor with the settings of an agent', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-doctor-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  async function doctor(settings: object, ...words: readonly string[]) {
    const path = join(folder, 'agent.yaml');
    await writeFile(path, JSON.stringify({ collector: { url: 'ws://127.0.0.1:9440' }, ...settings }));
    return runCli(['doctor', '--config', path, ...words]);
  }

  it('asks the sources of its rules, and looks at the disk of its spool', async () => {
    const rules = join(folder, 'rules.yaml');
    await writeFile(rules, '{ version: 1, groups: { cluster: { cidr: [10.9.0.0/24] } } }');
    const { stdout } = await doctor({ rules, spool: { path: join(folder, 'spool.db') } });
    expect(stdout).toMatch(/membership +cluster, cidr: 1 range/);
    expect(stdout).toContain(join(folder, 'spool.db'));
  });

  it.each([
    ['settings', { heartbeatInterval: 'never' }, 'heartbeatInterval'],
    ['rules', { rules: '/nowhere/rules.yaml' }, '/nowhere/rules.yaml'],
  ])('answers with status 2 where the %s are wrong', async (_what, settings, problem) => {
    const { status, stderr, stdout } = await doctor(settings);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain(problem);
  });
});
