/** What other users of the machine can do at a collector on loopback for which nobody configured a token: nothing. */
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { INGEST_PATH } from '../../common/protocol.ts';
import { freePort } from '../support/free-port.ts';
import { Program } from '../support/program.ts';
import { upgrade } from '../support/raw-web-socket.ts';
import { waitFor } from '../support/wait-for.ts';

const NOBODY = 65_534;
const missing = process.platform === 'linux' && process.getuid?.() === 0 ? undefined : 'root on Linux';

/** Every way to look or act. */
const REQUESTS: readonly [method: string, path: string, body?: string][] = [
  ['GET', '/api/incidents'],
  ['GET', '/api/incidents/INC-1'],
  ['GET', '/api/incidents/INC-1/evidence'],
  ['GET', '/api/incidents/INC-1/evidence/1.pcapng'],
  ['POST', '/api/incidents/INC-1/acknowledge'],
  ['POST', '/api/incidents/INC-1/resolve'],
  ['GET', '/api/silences'],
  ['POST', '/api/silences', '{"match":["kind=unexpected-peer"],"for":"90d","comment":"quiet"}'],
  ['DELETE', '/api/silences/1'],
  ['GET', '/api/agents'],
  ['POST', '/api/agents/evil/enrol'],
  ['DELETE', '/api/agents/w1'],
  ['GET', '/api/members'],
  ['GET', '/api/audit'],
  ['GET', '/metrics'],
];

describe.skipIf(missing !== undefined)(`other users of the machine (needs root on Linux)`, () => {
  let folder: string;
  let program: Program | undefined;
  let url: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-local-'));
    // Others may pass through, as through most homes.
    await chmod(folder, 0o755);
  });
  afterEach(async () => {
    await program?.kill();
    await rm(folder, { recursive: true });
  });

  const tokenFiles = async (): Promise<string[]> =>
    (await readdir(join(folder, 'plasmawatch'))).filter((name) => name.includes('token'));
  const env = () => ({ XDG_STATE_HOME: folder, HOME: folder });

  const start = {
    up: async () => {
      program = new Program(['up', '--demo', '--api-port', '0'], { env: env() });
      await program.said('INCIDENT  INC-1 opened');
      return /http:\/\/[\d.:]+/.exec(program.stdout.join('\n'))?.[0] ?? '';
    },
    collector: async () => {
      const port = await freePort();
      const config = join(folder, 'collector.yaml');
      const store = join(folder, 'store', 'collector.db');
      await writeFile(config, JSON.stringify({ listen: { port }, store: { path: store } }));
      program = new Program(['collector', '--config', config], { env: env() });
      await program.said('listening on');
      return `http://127.0.0.1:${port}`;
    },
  };

  it.each(['up', 'collector'] as const)('get nothing of `plasmawatch %s` but its health', async (command) => {
    url = await start[command]();
    expect(await (await fetch(`${url}/api/health`)).json()).toEqual({ status: 'ok' });
    for (const [method, path, body] of REQUESTS) {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(url + path, { method, headers, body: body ?? null });
      expect(answer.status, `${method} ${path}`).toBe(401);
    }
    const { status } = await upgrade(url.replace('http', 'ws') + INGEST_PATH, {});
    expect(status).toBe(401);
  });

  it.each(['up', 'collector'] as const)('cannot read the token of `plasmawatch %s`', async (command) => {
    url = await start[command]();
    await waitFor(async () => (await tokenFiles()).some((name) => name.startsWith('api-')), 'the token');
    for (const name of await tokenFiles()) {
      const { mode, uid } = await stat(join(folder, 'plasmawatch', name));
      expect({ name, mode: mode & 0o777, uid }).toEqual({ name, mode: 0o600, uid: 0 });
    }
    const words = ['incidents', '--collector', url];
    const stranger = new Program(words, { env: env(), user: NOBODY });
    expect(await stranger.ended()).toBe(2);
    expect(stranger.stderr.join()).toContain('run this as the user who started it, or with sudo');
    const owner = new Program(words, { env: env() });
    expect(await owner.ended()).toBe(command === 'up' ? 1 : 0);
    expect(owner.stdout.join()).toContain(command === 'up' ? 'INC-1' : 'No unresolved incidents.');
    // The arguments of a process are there for all to read.
    const token = await readFile(
      join(folder, 'plasmawatch', (await tokenFiles()).find((name) => name.startsWith('api-')) ?? ''),
      'utf8',
    );
    expect(await readFile(`/proc/${program?.pid}/cmdline`, 'utf8')).not.toContain(token.trim());
    await program?.stop();
    expect((await tokenFiles()).filter((name) => name.startsWith('api-'))).toEqual([]);
  });

  it('do not get the token by listening on the other address of localhost', async () => {
    url = await start.up();
    const { port } = new URL(url);
    const asked: (string | undefined)[] = [];
    const trap = createServer((request, response) => {
      asked.push(request.headers.authorization);
      response.end('{}');
    });
    trap.listen(Number(port), '::1');
    await once(trap, 'listening');
    try {
      for (const host of ['localhost', '[::1]', '127.0.0.1']) {
        const client = new Program(['incidents', '--collector', `http://${host}:${port}`], { env: env() });
        await client.ended();
      }
    } finally {
      trap.close();
    }
    expect(asked.filter((header) => header !== undefined)).toEqual([]);
  });

  it('see commands that ask with the token of a file, and work when they are copied', async () => {
    const state = join(folder, "a folder's name");
    program = new Program(['up', '--demo', '--api-port', '0', '--state-dir', state], { env: env() });
    await program.said('INCIDENT  INC-1 opened');
    const command = (name: string): string =>
      program?.stdout
        .find((line) => line.startsWith(`  ${name}`))
        ?.slice(name.length + 2)
        .trim() ?? '';
    const run = async (line: string): Promise<string> =>
      (await promisify(execFile)('/bin/sh', ['-c', line], { env: { ...process.env, ...env() } })).stdout;
    expect(await run(`${command('API')} -s`)).toContain('"INC-1"');
    const listing = command('list').replace(/^plasmawatch/, `${process.execPath} dist/cli/main.cjs`);
    expect(await run(`${listing} || true`)).toContain('INC-1');
  });
});
