import { execFileSync } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readForeignEnds, readForeignStart } from '../../../agent/process/foreign-files.ts';

const USER = process.getuid?.() ?? 0;

describe('reading a file that another process named', () => {
  let processFolder = '';
  let root = '';
  beforeEach(async () => {
    processFolder = await mkdtemp(join(tmpdir(), 'plasmawatch-foreign-'));
    root = join(processFolder, 'root');
    await mkdir(join(root, 'logs'), { recursive: true });
    await writeFile(join(processFolder, 'outside'), 'a secret');
  });
  afterEach(() => rm(processFolder, { recursive: true }));

  const read = (path: string, userId = USER): Promise<string | undefined> =>
    readForeignStart({ processFolder, path, userId }, 1000);

  it('gives the start and the end of a regular file, however long it is', async () => {
    const path = '/logs/raylet.out';
    await writeFile(join(root, path), 'start');
    expect(await read(path)).toBe('start');
    // A hole of a terabyte costs nothing.
    await truncate(join(root, path), 1e12);
    await appendFile(join(root, path), 'end');
    const ends = await readForeignEnds({ processFolder, path, userId: USER }, 10);
    expect(ends?.startsWith('start')).toBe(true);
    expect(ends?.endsWith('end')).toBe(true);
    expect(ends).toHaveLength(21);
  });

  it('ends although the file grows while it is read', async () => {
    const path = '/logs/raylet.out';
    await writeFile(join(root, path), 'x'.repeat(100));
    const writer = await open(join(root, path), 'a');
    const ended = new AbortController();
    const growing = (async () => {
      while (!ended.signal.aborted) await writer.write('x'.repeat(1000));
    })();
    const text = await readForeignEnds({ processFolder, path, userId: USER }, 50_000);
    ended.abort();
    await growing;
    await writer.close();
    expect(text?.length).toBeLessThanOrEqual(100_001);
  });

  describe('does not wait for, open or follow', () => {
    let server: Server | undefined;
    afterEach(() => server?.close());

    it.each([
      ['a pipe', async (path: string) => execFileSync('mkfifo', [path])],
      [
        'a socket',
        async (path: string) => {
          server = createServer().listen(path);
          await once(server, 'listening');
        },
      ],
      ['a link to a device', (path: string) => symlink('/dev/zero', path)],
      ['a link to a file', (path: string) => symlink(join(processFolder, 'outside'), path)],
      ['a link to itself', (path: string) => symlink(path, path)],
      ['a folder', (path: string) => mkdir(path)],
      ['an empty file', (path: string) => writeFile(path, '')],
      ['nothing', () => Promise.resolve()],
    ])('%s', async (_title, make: (path: string) => Promise<unknown>) => {
      await make(join(root, 'logs/raylet.out'));
      expect(await read('/logs/raylet.out')).toBeUndefined();
    });

    it.skipIf(USER !== 0)('a device (needs root)', async () => {
      execFileSync('mknod', [join(root, 'logs/raylet.out'), 'c', '1', '5']);
      expect(await read('/logs/raylet.out')).toBeUndefined();
    });

    it('a pipe with a writer', async () => {
      const path = join(root, 'logs/raylet.out');
      execFileSync('mkfifo', [path]);
      const writer = await open(path, 'r+');
      await writer.write('Raylet of id, ');
      expect(await read('/logs/raylet.out')).toBeUndefined();
      await writer.close();
    });
  });

  it.each(['/../outside', '/logs/../../outside', 'logs/raylet.out', '..', '/logs/raylet.out\0', ''])(
    'takes no path that leads out of its folder, or from elsewhere: %j',
    async (path) => {
      await writeFile(join(root, 'logs/raylet.out'), 'text');
      expect(await read(path)).toBeUndefined();
    },
  );

  it('takes no file of another user, nor what the kernel writes', async () => {
    await writeFile(join(root, 'logs/raylet.out'), 'text');
    expect(await read('/logs/raylet.out', USER + 1)).toBeUndefined();
    await symlink('/proc/self', join(root, 'proc'));
    expect(await read('/proc/status')).toBeUndefined();
  });
});
