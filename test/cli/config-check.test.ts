import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeCertificate, hasOpenssl } from '../support/certificate.ts';
import { runCli } from '../support/run-cli.ts';

const TOKEN = 'a-token-that-is-long-enough';

describe('plasmawatch config check', () => {
  let folder: string;
  let file: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-check-'));
    file = join(folder, 'settings');
    await writeFile(join(folder, 'token'), TOKEN, { mode: 0o640 });
  });
  afterEach(() => rm(folder, { recursive: true }));

  const check = async (text: string, ...words: string[]) => {
    await writeFile(file, text.replaceAll('FOLDER', folder));
    return await runCli(['config', 'check', file, ...words]);
  };

  const agent = 'collector: { url: "ws://127.0.0.1:9440", tokenFile: FOLDER/token }\n';
  const collector = 'listen: { port: 0 }\nagentTokenFile: FOLDER/token\n';

  it.each([
    ['agent', agent],
    ['collector', collector],
  ])('knows the settings of the %s by their keys, and says that they are right', async (service, text) => {
    const { status, stdout, stderr } = await check(text);
    expect({ status, stdout, stderr }).toEqual({
      status: 0,
      stdout: `${file}: ok, settings of the ${service}\n`,
      stderr: '',
    });
    const json = JSON.parse((await check(text, '--json')).stdout) as object;
    expect(json).toEqual({ type: 'config', path: file, service, ok: true, errors: [], warnings: [] });
  });

  it('asks whose settings they are where the keys do not say, and takes the answer', async () => {
    const text = 'membership: {}\n';
    const { status, stderr } = await check(text);
    expect([status, stderr]).toEqual([2, expect.stringContaining('give --agent or --collector')]);
    expect((await check(text, '--collector')).status).toBe(0);
    expect((await check(text, '--agent')).stderr).toContain('collector');
  });

  it.each([
    ['a mistake, with its place', `${agent}capture: { maxFlows: 1 }\n`, 'settings:2:22: error: `maxFlows`'],
    ['a secret that is not there', agent.replace('token }', 'none }'), 'agent token: cannot read'],
    ['a token in clear', agent.replace('127.0.0.1', '198.18.0.1'), 'would cross the network in clear'],
    ['wrong rules', `${agent}rules: FOLDER/none.yaml\n`, 'none.yaml'],
    ['a user that does not exist', `${agent}ray: { user: nobody-of-this-name }\n`, 'has no user'],
    ['a key of another kind', agent.replace(' }', ', rulesKeyFile: FOLDER/token }'), 'expected PEM'],
    ['a collector that is open to all', 'listen: { host: 0.0.0.0 }\n', 'without an agent token'],
    [
      'rules that cannot be handed out',
      `${collector}rules: { path: FOLDER/none, keyFile: FOLDER/token }\n`,
      'none',
    ],
    [
      'a certificate that is none',
      `${collector}tls: { cert: FOLDER/token, key: FOLDER/token }\n`,
      'expected PEM',
    ],
    [
      'a receiver without its secret',
      `${collector}receivers: [{ name: a, type: slack, urlFile: FOLDER/none }]\n`,
      'receiver a',
    ],
    ['a route to nobody', `${collector}routes: [{ receivers: [nobody] }]\n`, 'nobody'],
  ])('finds %s', async (_what, text, message) => {
    const { status, stdout, stderr } = await check(text);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).not.toContain(TOKEN);
  });

  it('finds every problem at once', async () => {
    const { stderr } = await check(
      `${collector.replace('token', 'none')}rules: { path: FOLDER/none, keyFile: FOLDER/token }\n`,
    );
    expect(stderr).toContain('agent token');
    expect(stderr).toContain(`${folder}/none`);
  });

  it.skipIf(!hasOpenssl)('finds a key that is not that of its certificate (needs openssl)', async () => {
    const [one, other] = [await makeCertificate(), await makeCertificate()];
    await writeFile(join(folder, 'cert'), one.cert);
    await writeFile(join(folder, 'key'), other.key, { mode: 0o640 });
    const { status, stderr } = await check(`${collector}tls: { cert: FOLDER/cert, key: FOLDER/key }\n`);
    expect([status, stderr]).toEqual([2, expect.stringContaining('cannot use the TLS certificate and key')]);
  });

  it('warns of a secret that everybody may read, and does not fail', async () => {
    await chmod(join(folder, 'token'), 0o644);
    const { status, stderr } = await check(agent);
    expect([status, stderr]).toEqual([0, expect.stringContaining('can be read by everybody')]);
  });

  it.skipIf(process.getuid?.() !== 0)('warns of a secret that only root can read (needs root)', async () => {
    await chmod(join(folder, 'token'), 0o600);
    const { status, stderr } = await check(agent);
    expect([status, stderr]).toEqual([0, expect.stringContaining('only root can read')]);
  });

  it('makes no token of its own for an agent beside a collector on loopback', async () => {
    const state = join(folder, 'state');
    await writeFile(file, 'collector: { url: "ws://127.0.0.1:9440" }\n');
    expect((await runCli(['config', 'check', file], { env: { XDG_STATE_HOME: state } })).status).toBe(0);
    await expect(rm(state, { recursive: true })).rejects.toThrow('ENOENT');
  });

  it('fails on a file that cannot be read', async () => {
    expect(await runCli(['config', 'check', join(folder, 'none')])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('no such file') as string,
    });
  });
});
