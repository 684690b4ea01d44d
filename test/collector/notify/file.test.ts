import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFileNotifier } from '../../../collector/notify/file.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

const MOUNT = '/usr/bin/mount';
const signal = new AbortController().signal;

describe('a file of alerts', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-file-'));
    path = join(folder, 'alerts.jsonl');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const idsIn = async (file: string): Promise<string[]> =>
    (await readFile(file, 'utf8'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { data: { id: string } }).data.id);

  const notification = (number: number) =>
    sampleNotification({ id: `msg_${number}`, incident: sampleIncident({ id: `INC-${number}` }) });

  it('has a line of JSON for each notification, in order, and is readable for its group only', async () => {
    const notifier = createFileNotifier({ path, format: 'plasmawatch' });
    expect(await notifier.send(notification(1), signal)).toEqual({ outcome: 'delivered' });
    expect(await notifier.batch.send([notification(2), notification(3)], signal)).toEqual({
      outcome: 'delivered',
    });
    expect(await idsIn(path)).toEqual(['INC-1', 'INC-2', 'INC-3']);
    expect((await stat(path)).mode & 0o007).toBe(0);
  });

  it('may be rotated at any time: what comes later is in the new one', async () => {
    const notifier = createFileNotifier({ path, format: 'plasmawatch' });
    await notifier.send(notification(1), signal);
    await rename(path, `${path}.1`);
    await notifier.send(notification(2), signal);
    expect(await idsIn(`${path}.1`)).toEqual(['INC-1']);
    expect(await idsIn(path)).toEqual(['INC-2']);
  });

  it('does not wait for a reader of a pipe', async () => {
    execFileSync('/usr/bin/mkfifo', [path]);
    const notifier = createFileNotifier({ path, format: 'plasmawatch' });
    expect(await notifier.send(notification(1), signal)).toEqual({
      outcome: 'retry',
      reason: 'cannot write the file (ENXIO)',
    });
  });

  it.skipIf(process.getuid?.() !== 0 || !existsSync(MOUNT))(
    'has no half line of a disk that was full, and goes on when there is room (needs root)',
    async () => {
      const disk = join(folder, 'disk');
      await mkdir(disk);
      execFileSync(MOUNT, ['-t', 'tmpfs', '-o', 'size=16k', 'none', disk]);
      try {
        const full = join(disk, 'alerts.jsonl');
        const notifier = createFileNotifier({ path: full, format: 'plasmawatch' });
        let written = 0;
        while ((await notifier.send(notification(++written), signal)).outcome === 'delivered');
        expect(await notifier.send(notification(written), signal)).toEqual({
          outcome: 'retry',
          reason: 'cannot write the file (ENOSPC)',
        });
        const kept = await idsIn(full);
        expect(kept).toEqual(Array.from({ length: written - 1 }, (_, index) => `INC-${index + 1}`));
        await rename(full, join(folder, 'rotated.jsonl')).catch(() => undefined);
        await rm(full, { force: true });
        expect(await notifier.send(notification(written), signal)).toEqual({ outcome: 'delivered' });
        expect(await idsIn(full)).toEqual([`INC-${written}`]);
      } finally {
        execFileSync('/usr/bin/umount', [disk]);
      }
    },
  );
});
