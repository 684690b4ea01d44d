import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const DEPLOY = resolve(import.meta.dirname, '../../deploy');
const UNITS = ['plasmawatch-agent.service', 'plasmawatch-collector.service'];
const isInstalled = spawnSync('systemd-analyze', ['--version']).status === 0;

describe('the systemd units', () => {
  it('give the agent two capabilities and the collector none', () => {
    const [agent = '', collector = ''] = UNITS.map((unit) => readFileSync(join(DEPLOY, unit), 'utf8'));
    expect(agent).toMatch(/^AmbientCapabilities=CAP_NET_RAW CAP_BPF$/m);
    expect(agent).toMatch(/^CapabilityBoundingSet=CAP_NET_RAW CAP_BPF$/m);
    expect(collector).toMatch(/^CapabilityBoundingSet=$/m);
    expect(collector).not.toContain('AmbientCapabilities');
  });
});

describe.skipIf(!isInstalled)('systemd (needs the program systemd-analyze)', () => {
  let folder: string;

  // The program need not be installed where the tests run, so Node stands in for it.
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'plasmawatch-units-'));
    for (const unit of UNITS) {
      const text = readFileSync(join(DEPLOY, unit), 'utf8');
      writeFileSync(join(folder, unit), text.replaceAll('/usr/bin/plasmawatch', process.execPath));
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(UNITS)('understands every line of %s', (unit) => {
    const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', join(folder, unit)], {
      encoding: 'utf8',
    });
    expect(`${stdout}${stderr}`).toBe('');
    expect(status).toBe(0);
  });

  it.each(UNITS)('finds little exposure in %s', (unit) => {
    const options = ['security', '--offline=true', '--no-pager', '--threshold=25', join(folder, unit)];
    expect(execFileSync('systemd-analyze', options, { encoding: 'utf8' })).toContain(
      'Overall exposure level',
    );
  });
});
