import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isSameFingerprint } from '../../cli/connection/server-certificate.ts';
import { hasOpenssl, makeCertificate } from '../support/certificate.ts';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';

const TOKEN = 'token-of-the-responder';

describe('plasmawatch login', () => {
  let collector: RunningCollector;
  let home: string;

  beforeAll(async () => {
    collector = await startCollector();
  });
  afterAll(() => collector.stop());
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'plasmawatch-login-'));
    return () => rm(home, { recursive: true });
  });

  const run = (words: readonly string[], stdin = '') =>
    runCli(words, { env: { XDG_CONFIG_HOME: home }, stdin: Buffer.from(stdin) });

  it('keeps URL and token in files that nobody else can read, and every command uses them', async () => {
    const umask = process.umask(0);
    try {
      const { status, stdout, stderr } = await run(['login', collector.url, '--token-stdin'], `${TOKEN}\n`);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toContain(`logged in to ${collector.url}; profile: ${home}/plasmawatch/config.yaml`);
      expect((await readdir(join(home, 'plasmawatch'))).toSorted()).toEqual(['config.yaml', 'token']);
      for (const name of ['config.yaml', 'token'])
        expect((await stat(join(home, 'plasmawatch', name))).mode & 0o777).toBe(0o600);
      expect((await stat(join(home, 'plasmawatch'))).mode & 0o777).toBe(0o700);
      expect(await readFile(join(home, 'plasmawatch', 'config.yaml'), 'utf8')).not.toContain(TOKEN);
    } finally {
      process.umask(umask);
    }
    expect(await run(['incidents'])).toEqual({
      status: 0,
      stdout: 'No unresolved incidents.\n',
      stderr: '',
    });
  });

  it('names a file that stays where it is', async () => {
    const file = join(home, 'own-token');
    await writeFile(file, `${TOKEN}\n`, { mode: 0o600 });
    expect((await run(['login', collector.url, '--token-file', file])).status).toBe(0);
    expect(await readFile(join(home, 'plasmawatch', 'config.yaml'), 'utf8')).toContain(`tokenFile: ${file}`);
    expect((await run(['agents'])).status).toBe(0);
  });

  it.each([
    ['a wrong token', ['--token-stdin'], 'wrong\n', 'does not know the token'],
    ['no token', [], '', 'asks for a token'],
    ['an empty one', ['--token-stdin'], '', 'API token: nothing came on standard input'],
    ['two lines', ['--token-stdin'], 'a\nb\n', 'expected one line of printable ASCII'],
    ['two ways', ['--token-stdin', '--token-file', 'x'], TOKEN, 'either --token-stdin or --token-file'],
    ['a token as an argument', ['--token', TOKEN], '', 'unknown: --token'],
  ])('writes nothing for %s', async (_what, flags, stdin, problem) => {
    const { status, stdout, stderr } = await run(['login', collector.url, ...flags], stdin);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(problem);
    expect(await readdir(home)).toEqual([]);
  });

  it('replaces a profile that is damaged or of another collector', async () => {
    await run(['login', collector.url, '--token-stdin'], TOKEN);
    await writeFile(join(home, 'plasmawatch', 'config.yaml'), 'url: https://old.example.com\n');
    const again = await run(['login', collector.url, '--token-stdin'], TOKEN);
    expect(again.stdout).toContain('(in place of https://old.example.com)');
    await writeFile(join(home, 'plasmawatch', 'config.yaml'), ': [');
    expect((await run(['agents'])).stderr).toContain('plasmawatch login URL');
    expect((await run(['login', collector.url, '--token-stdin'], TOKEN)).status).toBe(0);
    expect((await run(['agents'])).status).toBe(0);
  });
});

describe.skipIf(!hasOpenssl)('plasmawatch login over TLS (needs /usr/bin/openssl)', () => {
  let home: string;
  beforeEach(async () => {
    home = await mkdtemp(join(tmpdir(), 'plasmawatch-login-'));
    return () => rm(home, { recursive: true });
  });

  it('shows the fingerprint of a certificate that is not trusted, and trusts that one where it is given', async () => {
    const tls = await makeCertificate();
    const collector = await startCollector({}, { secrets: { tls } });
    const login = (...flags: string[]) =>
      runCli(['login', collector.url, '--token-stdin', ...flags], {
        env: { XDG_CONFIG_HOME: home },
        stdin: Buffer.from(TOKEN),
      });
    try {
      const shown = await login();
      expect([shown.status, shown.stdout]).toEqual([2, '']);
      const fingerprint = /SHA-256 ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})\n/.exec(shown.stderr)?.[1] ?? '';
      expect(fingerprint).not.toBe('');
      const wrong = await login('--fingerprint', '00'.repeat(32));
      expect(wrong.status).toBe(2);
      expect(wrong.stderr).toContain('another fingerprint than --fingerprint');
      expect(await readdir(home)).toEqual([]);
      expect((await login('--fingerprint', `sha256:${fingerprint.toLowerCase()}`)).status).toBe(0);
      const listed = await runCli(['incidents'], { env: { XDG_CONFIG_HOME: home } });
      expect(listed).toEqual({ status: 0, stdout: 'No unresolved incidents.\n', stderr: '' });
    } finally {
      await collector.stop();
    }
  });

  it('keeps a client certificate, without which a collector that asks for one refuses every command', async () => {
    const tls = await makeCertificate();
    const client = await makeCertificate();
    const collector = await startCollector({}, { secrets: { tls: { ...tls, clientCa: client.cert } } });
    for (const [name, text] of [
      ['ca.pem', tls.cert],
      ['client.pem', client.cert],
      ['client.key', client.key],
    ] as const)
      await writeFile(join(home, name), text, { mode: 0o600 });
    const flags = ['--ca-file', join(home, 'ca.pem')];
    const proof = ['--cert', join(home, 'client.pem'), '--key', join(home, 'client.key')];
    const login = (...more: string[]) =>
      runCli(['login', collector.url, '--token-stdin', ...flags, ...more], {
        env: { XDG_CONFIG_HOME: home },
        stdin: Buffer.from(TOKEN),
      });
    try {
      const refused = await login();
      expect(refused.status).toBe(2);
      expect(refused.stderr).toContain(
        'a client certificate is needed; give it with --cert and --key, or keep it: plasmawatch login (HTTP 403)',
      );
      expect((await login(...proof)).status).toBe(0);
      expect((await runCli(['agents'], { env: { XDG_CONFIG_HOME: home } })).status).toBe(0);
      const env = {
        PLASMAWATCH_URL: collector.url,
        PLASMAWATCH_API_TOKEN: TOKEN,
        PLASMAWATCH_CA_FILE: join(home, 'ca.pem'),
      };
      expect((await runCli(['agents', ...proof], { env })).status).toBe(0);
      const mixed = await runCli(
        ['agents', '--cert', join(home, 'client.pem'), '--key', join(home, 'ca.pem')],
        { env },
      );
      expect(mixed.status).toBe(2);
      expect(mixed.stderr).toContain('--cert and --key');
    } finally {
      await collector.stop();
    }
  });
});

describe('a fingerprint', () => {
  it.each([
    ['AA:'.repeat(31).concat('AA'), 'aa'.repeat(32), true],
    [`SHA256=${'AA:'.repeat(31)}AA`, 'aa'.repeat(32), true],
    ['aa'.repeat(31), 'aa'.repeat(31), false],
    ['', '', false],
    ['aa'.repeat(32), 'ab'.repeat(32), false],
  ])('%s and %s are the same: %s', (left, right, expected) => {
    expect(isSameFingerprint(left, right)).toBe(expected);
  });
});
