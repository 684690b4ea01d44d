import { mkdtemp, readdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { agentTable, isInOrder } from '../../cli/agent-view.ts';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';
import { sampleAnomaly } from '../support/sample-report.ts';

let collector: RunningCollector;

beforeEach(async () => {
  collector = await startCollector();
});
afterEach(() => collector.stop());

const run = (words: string, token = 'token-of-the-admin') =>
  runCli(['agents', ...words.split(' ').filter(Boolean)], {
    env: { PLASMAWATCH_COLLECTOR: collector.url, PLASMAWATCH_API_TOKEN: token },
  });

describe('plasmawatch agents', () => {
  it('lists nobody where nobody was heard, and answers with 0', async () => {
    expect(await run('')).toEqual({ status: 0, stdout: 'No agents: none has connected yet.\n', stderr: '' });
    expect(await run('--json')).toEqual({ status: 0, stdout: '', stderr: '' });
  });

  it('lists how each agent is, and answers with 1 where somebody has to look after one', async () => {
    await collector.report(sampleAnomaly(1));
    const { status, stdout } = await run('', 'token-of-the-viewer');
    expect(status).toBe(1);
    expect(stdout).toMatch(
      /^agent +state +version +capture +last heard +rules +clock +view +losses\nw1 +away +0\.1\.0 +ring +\d{4}-\S+Z +- +- +- +none\n$/,
    );
    const { stdout: json } = await run('--json');
    expect(JSON.parse(json)).toMatchObject({ type: 'agent', name: 'w1', state: 'away', lastSequence: 1 });
  });

  it('retires one whose node is gone', async () => {
    await collector.report(sampleAnomaly(1));
    expect(await run('retire w1')).toEqual({ status: 0, stdout: 'w1 is retired\n', stderr: '' });
    expect((await run('')).status).toBe(0);
  });

  it('makes a one-time token, which alone stands on standard output', async () => {
    const { status, stdout, stderr } = await run('enrol w7');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^[A-Za-z0-9_-]{43}\n$/);
    expect(stderr).toMatch(/^w7 may exchange this once, until \d{4}-\S+Z\n$/);
    expect(JSON.parse((await run('enrol w7 --json')).stdout)).toMatchObject({
      type: 'enrolment',
      agent: 'w7',
    });
    expect((await run('enrol w7', 'token-of-the-responder')).status).toBe(2);
  });

  it('writes the token into a new file that nobody else can read, and asks for none where it cannot', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-enrol-'));
    const file = join(folder, 'w7-token');
    const umask = process.umask(0);
    try {
      const { status, stdout, stderr } = await run(`enrol w7 --out ${file}`);
      expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
      expect(stderr).toContain(`w7 may exchange ${file} once, until `);
      expect(await readFile(file, 'utf8')).toMatch(/^[A-Za-z0-9_-]{43}\n$/);
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      const token = await readFile(file, 'utf8');
      await symlink(join(folder, 'elsewhere'), join(folder, 'link'));
      for (const [place, reason] of [
        [file, 'it is there already'],
        [join(folder, 'link'), 'it is there already'],
        [join(folder, 'missing', 'token'), 'ENOENT'],
      ] as const) {
        const refused = await run(`enrol w8 --out ${place}`);
        expect(refused.status).toBe(2);
        expect(refused.stderr).toContain(`cannot make ${place}: ${reason}`);
      }
      expect(await readFile(file, 'utf8')).toBe(token);
      const actions = await runCli(['audit', '--json'], {
        env: { PLASMAWATCH_COLLECTOR: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-admin' },
      });
      expect(actions.stdout).not.toContain('w8');
      // A file whose token did not come is not left behind.
      expect((await run(`enrol w9 --out ${join(folder, 'w9')}`, 'token-of-the-responder')).status).toBe(2);
      expect(await readdir(folder)).toEqual(['link', 'w7-token']);
    } finally {
      process.umask(umask);
      await rm(folder, { recursive: true });
    }
  });

  it.each([
    ['retire w9', 'token-of-the-admin', 'there is no such agent (HTTP 404) [PW_API]'],
    ['retire w1', 'token-of-the-responder', 'this needs the role admin (HTTP 403) [PW_API]'],
  ])('says why not: %s with the %s', async (words, token, problem) => {
    await collector.report(sampleAnomaly(1));
    const { status, stderr } = await run(words, token);
    expect(stderr).toBe(`plasmawatch: the collector refuses that: ${problem}\n`);
    expect(status).toBe(2);
  });
});

describe('the table of agents', () => {
  const agent = {
    name: 'w1',
    state: 'connected',
    version: '0.1.0',
    capture: 'kernel',
    lastHeard: '2026-11-23T09:00:00.000000000Z',
    rules: { version: 1795426932, fingerprint: 'ab12'.repeat(16) },
    clock: { offsetMs: -2500, uncertaintyMs: 1 },
    viewAgeSeconds: 7,
    counters: null,
    losses: { capture_dropped: null, flows_evicted: 3 },
  };

  it('tells offsets, ages and losses in words', () => {
    expect(agentTable([agent])[1]).toBe(
      'w1     connected  0.1.0    kernel   2026-11-23T09:00:00Z  version 1795426932  -2.500 s   7 s  capture_dropped unknown, flows_evicted 3',
    );
  });

  it('says where a port is only guessed, and that somebody has to look after it', () => {
    const guessing = { ...agent, objectManager: { port: 43_800, source: 'guess' } };
    expect(agentTable([guessing])[1]).toContain('connected, port guessed');
    expect(isInOrder(guessing)).toBe(false);
    // Of an agent that was stopped nobody knows how its port would stand.
    expect(isInOrder({ ...guessing, state: 'stopped' })).toBe(true);
    const confirmed = { ...agent, objectManager: { port: 36_875, source: 'raylet' } };
    expect(agentTable([confirmed])[1]).not.toContain('guessed');
    expect(isInOrder(confirmed)).toBe(true);
  });

  it.each([
    [{ membership_known: 0, peers_pending: 0 }, '  unknown  ', false],
    [{ membership_known: 0, peers_pending: 2 }, '  unknown, 2 pending  ', false],
    [
      { membership_known: 0, peers_pending: 2, names_unresolved: 1 },
      '  unknown, 2 pending, 1 unresolved  ',
      false,
    ],
    [{ membership_known: 1, peers_pending: 0 }, '  7 s  ', true],
    // An agent of an earlier version does not say so.
    [{}, '  7 s  ', true],
  ])('says that an agent does not know the members: %o', (counters, view, expected) => {
    const reporting = { ...agent, counters };
    expect(agentTable([reporting])[1]).toContain(view);
    expect(isInOrder(reporting)).toBe(expected);
    expect(isInOrder({ ...reporting, state: 'stopped' })).toBe(true);
  });

  it('tells the rules of an agent by its own file by their fingerprint', () => {
    const rules = { version: null, fingerprint: 'ab12'.repeat(16) };
    expect(agentTable([{ ...agent, rules }])[1]).toContain('  own ab12ab12ab12  ');
  });

  it.each([
    ['connected', true],
    ['stopped', true],
    ['retired', true],
    ['blind', false],
    ['away', false],
    ['missing', false],
  ])('%s is in order: %s', (state, expected) => {
    expect(isInOrder({ ...agent, state })).toBe(expected);
  });
});
