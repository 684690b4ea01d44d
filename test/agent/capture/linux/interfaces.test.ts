import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Interfaces } from '../../../../agent/capture/linux/interfaces.ts';
import { systemClock } from '../../../../common/clock.ts';

describe('Interfaces', () => {
  let folder = '';
  let nowMs = 0;
  const clock = { ...systemClock, monotonic: () => nowMs };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'plasmawatch-sysfs-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function addInterface(name: string, files: Readonly<Record<string, string>>): void {
    mkdirSync(join(folder, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), text);
  }

  it('finds an interface that came later, but looks once a second only', () => {
    const interfaces = new Interfaces(clock, folder);
    expect(interfaces.nameOf(2)).toBeUndefined();
    addInterface('eth0', { ifindex: '2\n' });
    expect(interfaces.nameOf(2)).toBeUndefined();
    nowMs += 1000;
    expect(interfaces.nameOf(2)).toBe('eth0');
  });

  it('tells whether an interface is up, and of which kind', () => {
    addInterface('eth0', { flags: '0x1003\n', type: '1\n' });
    addInterface('eth1', { flags: '0x1002\n', type: '772\n' });
    const interfaces = new Interfaces(clock, folder);
    expect(['eth0', 'eth1', 'gone'].map((name) => interfaces.isUp(name))).toEqual([true, false, false]);
    expect(['eth0', 'eth1', 'gone'].map((name) => interfaces.hardwareTypeOf(name))).toEqual([1, 772, 0]);
  });

  it('knows no name where there is no sysfs', () => {
    expect(new Interfaces(clock, join(folder, 'none')).nameOf(1)).toBeUndefined();
  });
});
