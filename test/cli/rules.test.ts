import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';

const RULES = `version: 1
groups:
  cluster: { cidr: [10.77.0.0/24, fd77::/64] }
  notebooks: { cidr: [10.20.0.0/24] }
allow:
  - { name: nodes, from: cluster, to: object-manager }
  - { name: users, from: notebooks, to: [dashboard, client-server], hours: "mon-fri 08:00-18:00 Europe/Berlin" }
`;
let folder: string;
let rules: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-cli-'));
  rules = join(folder, 'rules.yaml');
  await writeFile(rules, RULES);
});
afterAll(() => rm(folder, { recursive: true }));

function vectorsIn(kind: string): { name: string; path: string; expected: string }[] {
  const at = join('test/vectors/rules', kind);
  return readdirSync(at)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => ({
      name: file,
      path: join(at, file),
      expected: readFileSync(join(at, file.replace('.yaml', '.txt')), 'utf8'),
    }));
}

describe('rules check', () => {
  it.each(vectorsIn('bad'))(
    'says of bad/$name exactly what is wrong, with status 2',
    async ({ path, name, expected }) => {
      const { status, stdout, stderr } = await runCli(['rules', 'check', path]);
      expect(stderr.replaceAll(path, name)).toBe(expected);
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    },
  );

  it.each(vectorsIn('warned'))('warns of warned/$name and passes it', async ({ path, name, expected }) => {
    const { status, stdout, stderr } = await runCli(['rules', 'check', path]);
    expect(stderr.replaceAll(path, name)).toBe(expected);
    expect(stdout).toMatch(/: ok, \d+ rules?, \d+ groups?\n$/);
    expect(status).toBe(0);
  });

  it('says in one line that a file is right', async () => {
    expect(await runCli(['rules', 'check', rules])).toEqual({
      status: 0,
      stdout: `${rules}: ok, 2 rules, 2 groups\n`,
      stderr: '',
    });
  });

  it('checks every path, and fails when one is wrong', async () => {
    const absent = join(folder, 'absent.yaml');
    const { status, stdout, stderr } = await runCli(['rules', 'check', absent, rules]);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: `${absent}: error: cannot be read: no such file\n`,
    });
    expect(stdout).toBe(`${rules}: ok, 2 rules, 2 groups\n`);
  });

  it('gives the problems as objects with --json, and nothing else', async () => {
    const path = 'test/vectors/rules/bad/unknown-top-key.yaml';
    const { status, stdout, stderr } = await runCli(['rules', 'check', '--json', path, rules]);
    expect({ status, stderr }).toEqual({ status: 2, stderr: '' });
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as unknown),
    ).toMatchObject([
      {
        type: 'diagnostic',
        file: path,
        line: 2,
        column: 1,
        length: 6,
        severity: 'error',
        message: 'unknown key `allows`; did you mean `allow`?',
      },
      { type: 'rules', path, ok: false, rules: null, groups: null },
      {
        type: 'rules',
        path: rules,
        ok: true,
        rules: 2,
        groups: 2,
        fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      },
    ]);
  });
});

function explain(...words: string[]): ReturnType<typeof runCli> {
  return runCli(['rules', 'explain', '--rules', rules, ...words]);
}

describe('rules explain', () => {
  it('names the rule that allows a connection, with status 0', async () => {
    expect(await explain('10.20.0.7', '10.77.0.11:8265', '--at', '2027-03-01T12:00:00Z')).toEqual({
      status: 0,
      stdout:
        `allowed: rule \`users\` (${rules}:7)\n` +
        '  from 10.20.0.7: in notebooks\n' +
        '  to 10.77.0.11 port 8265: member of the cluster, dashboard\n',
      stderr: '',
    });
  });

  it('says why a connection is unexpected, and what would be needed, with status 1', async () => {
    expect(await explain('10.20.0.7', '10.77.0.11', '--at', '2027-03-01T12:00:00Z')).toEqual({
      status: 1,
      stdout:
        'unexpected, wrong-service\n' +
        '  from 10.20.0.7: in notebooks\n' +
        '  to 10.77.0.11 object-manager: member of the cluster, object-manager\n' +
        '  needed: 10.20.0.7 in `cluster`, for rule `nodes`\n' +
        '      or: a rule from `notebooks` to `object-manager`\n',
      stderr: '',
    });
  });

  it('judges by the time that is asked for', async () => {
    const { status, stdout } = await explain(
      '10.20.0.7',
      '10.77.0.11:client-server',
      '--at',
      '2027-03-01T17:00:00Z',
      '--json',
    );
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      type: 'explanation',
      at: '2027-03-01T17:00:00.000Z',
      verdict: { allowed: false, rule: 'users', reason: 'outside-hours' },
      destination: { ip: '10.77.0.11', target: 'client-server', member: true, services: ['client-server'] },
    });
  });

  it.each([
    ['fd77::1', 'fd77::2'],
    ['fd77::1', '[fd77::2]:43800'],
    ['10.77.0.1', '10.77.0.2:object-manager'],
  ])('reads %s to %s', async (from, to) => {
    expect((await explain(from, to)).status).toBe(0);
  });

  it.each([
    [['10.77.0', '10.77.0.11'], 'FROM: expected an address, got 10.77.0'],
    [
      ['::ffff:10.77.0.1', '10.77.0.11'],
      'FROM: `::ffff:10.77.0.1` is IPv4 written as IPv6; write `10.77.0.1`',
    ],
    [
      ['10.77.0.1', '[::ffff:10.77.0.11]:8265'],
      'TO: `::ffff:10.77.0.11` is IPv4 written as IPv6; write `10.77.0.11`',
    ],
    [['10.77.0.1', 'head:8265'], 'TO: expected ADDRESS, ADDRESS:PORT or ADDRESS:SERVICE, got head:8265'],
    [['10.77.0.1', '10.77.0.11:70000'], 'TO: expected a port from 1 to 65535, got 70000'],
    [['10.77.0.1', '10.77.0.11:dashbord'], 'TO: unknown service dashbord; did you mean `dashboard`?'],
    [
      ['10.77.0.1', '10.77.0.11', '--at', 'noon'],
      '--at: expected a time such as 2027-03-01T12:00:00Z, got noon',
    ],
  ])('refuses %j in one line, with status 2', async (words, problem) => {
    expect(await explain(...words)).toEqual({
      status: 2,
      stdout: '',
      stderr: `plasmawatch: ${problem} [PW_USAGE]\n`,
    });
  });

  it('tells the mistakes of the rules, with status 2', async () => {
    const path = 'test/vectors/rules/bad/unknown-group.yaml';
    const { status, stdout, stderr } = await runCli([
      'rules',
      'explain',
      '--rules',
      path,
      '10.0.0.1',
      '10.0.0.2',
    ]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain('unknown group `notebook`; did you mean `notebooks`?');
  });
});
