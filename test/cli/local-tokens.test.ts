/** Where the token of a collector on this machine is read from, and what is refused there. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chown, chmod, link, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findApiToken, makeToken, publishApiToken, sharedAgentToken } from '../../cli/local-tokens.ts';

const URL_OF_API = new URL('http://127.0.0.1:59440');
const NAME = 'api-token-127.0.0.1-59440';

describe('the token of a collector on this machine', () => {
  let home: string;
  let folder: string;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'plasmawatch-tokens-'));
    folder = join(home, 'plasmawatch');
    await mkdir(folder, { mode: 0o700 });
  });
  afterEach(() => rm(home, { recursive: true }));

  const find = () => findApiToken(URL_OF_API, { XDG_STATE_HOME: home });

  it('is found where it was published', async () => {
    const token = makeToken();
    const file = await publishApiToken(token, { url: URL_OF_API.href, folders: [folder] });
    expect(await find()).toEqual({ token, file });
  });

  it('is one for all who make it at the same time', async () => {
    const tokens = await Promise.all(Array.from({ length: 40 }, () => sharedAgentToken([folder])));
    expect(new Set(tokens).size).toBe(1);
  });

  const secret = makeToken();
  const traps: readonly [what: string, set: (file: string) => Promise<unknown>, reason: string][] = [
    ['a link to another secret', async (file) => symlink(await keep(secret), file), 'it is a link'],
    ['a link that leads nowhere', (file) => symlink('/nowhere', file), 'it is a link'],
    ['a pipe', (file) => Promise.resolve(execFileSync('mkfifo', ['-m', '600', file])), 'it is no plain file'],
    ['a folder', (file) => mkdir(file, { mode: 0o700 }), 'it is no plain file'],
    [
      'what everybody may read',
      async (file) => {
        await writeFile(file, secret);
        await chmod(file, 0o644);
      },
      'others may use it',
    ],
    [
      'the line of another secret',
      (file) => writeFile(file, 'AKIAIOSFODNN7EXAMPLE', { mode: 0o600 }),
      'it holds no token',
    ],
    [
      'a file without an end',
      (file) => writeFile(file, 'a'.repeat(100_000), { mode: 0o600 }),
      'it holds no token',
    ],
  ];
  const keep = async (text: string): Promise<string> => {
    const file = join(home, 'other-secret');
    await writeFile(file, text, { mode: 0o600 });
    return file;
  };

  it.each(traps)('is not %s', async (_what, set, reason) => {
    await set(join(folder, NAME));
    await expect(find()).rejects.toThrow(reason);
  });
});

const missing = process.platform === 'linux' && process.getuid?.() === 0 ? undefined : 'root on Linux';

/** Root looks in the home of whoever listens there; this is a user of the machine with a home of his own. */
describe.skipIf(missing !== undefined)('the token in a listener’s home (needs root on Linux)', () => {
  it('is not a file of root that he put there', async () => {
    const home = await mkdtemp(join(tmpdir(), 'plasmawatch-home-'));
    await chmod(home, 0o755);
    const [listener, port] = await listenAs(USER);
    const state = join(home, '.local/state/plasmawatch');
    await mkdir(state, { recursive: true });
    const file = join(state, `api-token-127.0.0.1-${port}`);
    try {
      const rootsOwn = join(home, 'root-secret');
      const secret = makeToken();
      await writeFile(rootsOwn, secret, { mode: 0o600 });
      await link(rootsOwn, file);
      for (const folder of ['.local', '.local/state', '.local/state/plasmawatch'])
        await chown(join(home, folder), USER, USER);
      const find = () =>
        findApiToken(
          new URL(`http://127.0.0.1:${port}`),
          { XDG_STATE_HOME: '/nowhere' },
          `u:x:${USER}:${USER}::${home}:/bin/sh\n`,
        );
      await expect(find()).rejects.toThrow('it belongs to user 0');
      await rm(file);
      const own = makeToken();
      await writeFile(file, own, { mode: 0o600 });
      await chown(file, USER, USER);
      expect(await find()).toEqual({ token: own, file });
      expect(await readFile(rootsOwn, 'utf8')).toBe(secret);
    } finally {
      listener.kill();
      await rm(home, { recursive: true });
    }
  });
});

const USER = 54_321;

async function listenAs(user: number): Promise<[ChildProcess, number]> {
  const script = `const server = require('node:net').createServer();
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ['-e', script], {
    uid: user,
    gid: user,
    cwd: '/',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  return [child, Number(port)];
}
