import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { settleConnection, type CollectorCommandOptions } from '../../../cli/connection/settings.ts';

const PEM = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n';
const URLS = ['flag', 'variable', 'profile'].map((name) => `https://${name}.example.com:9440`);

let home: string;
let profile: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'plasmawatch-settings-'));
  await mkdir(join(home, 'plasmawatch'));
  profile = join(home, 'plasmawatch', 'config.yaml');
  for (const file of ['flag', 'variable', 'profile']) {
    await writeFile(join(home, 'plasmawatch', `${file}.pem`), `${PEM}${file}\n`);
    await writeFile(join(home, 'plasmawatch', `${file}-token`), `token-of-the-${file}\n`, { mode: 0o600 });
  }
});
afterEach(() => rm(home, { recursive: true }));

const file = (name: string) => join(home, 'plasmawatch', name);
const settle = (options: CollectorCommandOptions = {}, env: Record<string, string> = {}) =>
  settleConnection(options, { XDG_CONFIG_HOME: home, ...env });

/** Each setting in each of the three places; of the URL, all are one place, since a profile belongs to one collector. */
function everywhere(url: string) {
  return {
    profile: `url: ${url}\ntokenFile: profile-token\ncaFile: profile.pem\ncertFile: profile.pem\nkeyFile: profile.pem\n`,
    env: {
      PLASMAWATCH_URL: url,
      PLASMAWATCH_TOKEN_FILE: file('variable-token'),
      PLASMAWATCH_CA_FILE: file('variable.pem'),
      PLASMAWATCH_CERT: file('variable.pem'),
      PLASMAWATCH_KEY: file('variable.pem'),
    },
    flags: {
      collector: url,
      'token-file': file('flag-token'),
      'ca-file': file('flag.pem'),
      cert: file('flag.pem'),
      key: file('flag.pem'),
    },
  };
}

describe('where a setting comes from', () => {
  const url = 'https://collector.example.com:9440';

  it.each([
    ['flag', true, true],
    ['variable', false, true],
    ['profile', false, false],
  ])('is the %s before what comes after it', async (place, hasFlags, hasVariables) => {
    const given = everywhere(url);
    await writeFile(profile, given.profile);
    const connection = await settle(hasFlags ? given.flags : {}, hasVariables ? given.env : {});
    expect(connection.base.href).toBe(`${url}/`);
    expect(connection.token).toBe(`token-of-the-${place}`);
    expect(connection.ca).toBe(`${PEM}${place}\n`);
    expect(connection.certificate).toMatchObject({ cert: `${PEM}${place}\n`, key: `${PEM}${place}\n` });
  });

  it('is the default on loopback where nobody says anything', async () => {
    const { base, token, ca, certificate } = await settle();
    expect([base.href, token, ca, certificate]).toEqual([
      'http://127.0.0.1:9440/',
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('is a variable of earlier versions, too', async () => {
    expect((await settle({}, { PLASMAWATCH_COLLECTOR: url })).base.href).toBe(`${url}/`);
    const both = { PLASMAWATCH_COLLECTOR: 'https://old.example.com', PLASMAWATCH_URL: url };
    expect((await settle({}, both)).base.href).toBe(`${url}/`);
  });

  it('is never the profile of another collector: its token goes there and nowhere else', async () => {
    await writeFile(profile, everywhere(url).profile);
    for (const other of [...URLS, 'https://collector.example.com:9441', `${url}/below`]) {
      const { token, ca, certificate } = await settle({ collector: other });
      expect([token, ca, certificate]).toEqual([undefined, undefined, undefined]);
    }
    expect((await settle({ collector: `${url}/` })).token).toBe('token-of-the-profile');
  });
});

describe('a bad value', () => {
  it.each([
    ['a flag', { collector: 'ftp://x' }, {}, '', '--collector: expected the URL'],
    ['a variable', {}, { PLASMAWATCH_URL: 'x' }, '', 'PLASMAWATCH_URL: expected the URL'],
    ['the profile', {}, {}, 'url: x\n', 'url in PROFILE: expected the URL'],
    ['a flag for a file', { 'ca-file': '/nowhere' }, {}, '', '--ca-file /nowhere: cannot be read'],
    ['a variable for a file', {}, { PLASMAWATCH_CA_FILE: '/nowhere' }, '', 'PLASMAWATCH_CA_FILE /nowhere'],
    [
      'the profile for a file',
      {},
      {},
      'url: https://x\ncaFile: /nowhere\n',
      'caFile in PROFILE /nowhere: cannot be read',
    ],
    [
      'a token of a flag',
      { 'token-file': '/nowhere' },
      {},
      '',
      'API token (--token-file): cannot read /nowhere',
    ],
    [
      'a token of the profile',
      {},
      {},
      'url: https://x\ntokenFile: none\n',
      'API token (tokenFile in PROFILE): cannot read',
    ],
    [
      'two tokens',
      {},
      { PLASMAWATCH_TOKEN_FILE: 'a', PLASMAWATCH_API_TOKEN: 'b' },
      '',
      'are both set: unset one',
    ],
    ['half a certificate', { cert: 'a' }, { PLASMAWATCH_KEY: 'b' }, '', '--cert is given without --key'],
    ['the other half', {}, { PLASMAWATCH_KEY: 'b' }, '', 'PLASMAWATCH_KEY is given without PLASMAWATCH_CERT'],
    ['an unknown key of the profile', {}, {}, 'url: https://x\nuri: y\n', 'profile PROFILE:2:1'],
    ['a profile that is no YAML', {}, {}, ': [', 'write it anew: plasmawatch login URL'],
  ])('is said to come from %s', async (_what, options, env, text, problem) => {
    if (text !== '') await writeFile(profile, text);
    await expect(settle(options, env)).rejects.toThrow(problem.replace('PROFILE', profile));
  });

  it('is not repeated where it may be a secret', async () => {
    const refusal = settle({ collector: 'https://ada:secret@collector.example.com' }).catch(String);
    expect(await refusal).not.toContain('secret');
    await writeFile(file('bad-token'), 'sec ret\n', { mode: 0o600 });
    const refused = settle({ 'token-file': file('bad-token') }).catch(String);
    expect(await refused).toContain('expected printable ASCII');
    expect(await refused).not.toContain('sec ret');
  });
});
