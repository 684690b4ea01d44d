import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { pino } from 'pino';
import { agentConfigSchema } from '../../agent/config.ts';
import { AgentRules } from '../../cli/agent-rules.ts';
import { waitFor } from '../support/wait-for.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-agent-rules-'));
});
afterEach(() => rm(folder, { recursive: true }));

function rulesWith(port: number): string {
  return JSON.stringify({
    version: 1,
    services: { 'object-manager': port },
    groups: { cluster: { hosts: ['10.0.0.1'] } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
  });
}

it('says that rules were taken over once they are in force, and not before', async () => {
  const path = join(folder, 'rules.yaml');
  await writeFile(path, rulesWith(43_800));
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const config = agentConfigSchema.parse({ rules: path, collector: { url: 'ws://127.0.0.1:1' } });
  const rules = await AgentRules.open(config, { stderr: process.stderr }, logger);
  let applied = 0;
  let release = (): void => {};
  rules?.follow(async () => {
    applied++;
    await new Promise<void>((resolve) => {
      release = resolve;
    });
  });
  await writeFile(path, rulesWith(43_801));
  await waitFor(() => applied === 1, 'the rules to be taken over');
  expect(lines.join('')).not.toContain('taken over');
  release();
  await waitFor(() => lines.join('').includes('rules taken over'), 'the line that says so');
  await rules?.close();
});
