import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';

let collector: RunningCollector;
let folder: string;
let config: string;

beforeAll(async () => {
  collector = await startCollector();
});
afterAll(() => collector.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-agent-enrol-'));
  config = join(folder, 'agent.yaml');
  return () => rm(folder, { recursive: true });
});

const ask = (words: string) =>
  runCli(words.split(' '), {
    env: { PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: 'token-of-the-admin' },
  });
const tokenFor = async (name: string) => (await ask(`agents enrol ${name}`)).stdout;
const enrol = (flags: readonly string[], token: string, url = collector.url) =>
  runCli(['agent', 'enrol', '--url', url, '--config', config, ...flags], { stdin: Buffer.from(token) });
const settingsOf = (node: string, url = 'wss://collector.example.com:9440') =>
  `# mine\nnode: ${node}\ncollector:\n  url: ${url} # there\n  tokenFile: /etc/agent-token\nstateFolder: ${folder}/state\n`;

describe('plasmawatch agent enrol', () => {
  it('exchanges the token for a key, and writes the settings around what was there', async () => {
    await writeFile(config, settingsOf('w1'));
    await chmod(config, 0o640);
    const { status, stdout, stderr } = await enrol(['--token-stdin'], await tokenFor('w1'));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain(`w1 is enrolled at ${collector.url.replace('http', 'ws')}; settings: ${config}`);
    expect(await readFile(config, 'utf8')).toBe(
      `# mine\nnode: w1\ncollector:\n  url: ${collector.url.replace('http', 'ws')} # there\nstateFolder: ${folder}/state\n`,
    );
    expect((await stat(config)).mode & 0o777).toBe(0o640);
    expect(await readdir(join(folder, 'state'))).toEqual(['agent.key']);
    expect((await stat(join(folder, 'state', 'agent.key'))).mode & 0o777).toBe(0o600);
    expect((await ask('enrolments')).stdout).toBe('No pending enrolments.\n');
    expect((await ask('agents show w1')).stdout).toMatch(/^key +its own \(enrolled\)$/m);
  });

  it('changes nothing when it is run again, and needs no token then', async () => {
    await writeFile(config, settingsOf('w2'));
    await enrol(['--token-stdin'], await tokenFor('w2'));
    const before = await readFile(join(folder, 'state', 'agent.key'), 'utf8');
    const again = await enrol([], '');
    expect(again.status).toBe(0);
    expect(again.stdout).toContain('w2 is enrolled already at');
    expect(await readFile(join(folder, 'state', 'agent.key'), 'utf8')).toBe(before);
  });

  it.each([
    ['another name', settingsOf('w9'), 'is of the agent w9, not w3: nothing is changed'],
    [
      'another collector',
      settingsOf('w3', 'wss://collector.corp:9440'),
      'names the collector wss://collector.corp:9440',
    ],
    ['settings that are wrong', 'node: w3\ncolector: {}\n', 'did you mean'],
  ])('refuses %s, and keeps the token good', async (_what, text, problem) => {
    await writeFile(config, text);
    const token = await tokenFor('w3');
    const { status, stdout, stderr } = await enrol(['--name', 'w3', '--token-stdin'], token);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(problem);
    expect(await readFile(config, 'utf8')).toBe(text);
    expect(await readdir(folder)).toEqual(['agent.yaml']);
    expect((await ask('enrolments --json')).stdout).toContain('"w3"');
  });

  it("refuses to take another agent's key for its own", async () => {
    await writeFile(config, settingsOf('w4'));
    await enrol(['--token-stdin'], await tokenFor('w4'));
    await writeFile(config, settingsOf('w5'));
    const { status, stderr } = await enrol(['--token-stdin'], await tokenFor('w5'));
    expect(status).toBe(2);
    expect(stderr).toContain('to enrol this node anew remove the key first');
  });

  it('leaves the settings as they are where the token is not taken, and works with the next one', async () => {
    await writeFile(config, settingsOf('w6'));
    const refused = await enrol(['--token-stdin'], 'x'.repeat(43));
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('it does not take the one-time token (HTTP 401)');
    expect(await readFile(config, 'utf8')).toBe(settingsOf('w6'));
    expect((await readdir(folder)).toSorted()).toEqual(['agent.yaml', 'state']);
    expect((await enrol(['--token-stdin'], await tokenFor('w6'))).status).toBe(0);
  });

  it.each([
    [['--token-stdin'], '', 'one-time token: nothing came on standard input'],
    [[], 'x', 'give the one-time token with --token-stdin'],
    [['--token', 'x'], '', 'unknown: --token'],
  ])('takes the token from standard input only: %j', async (flags, token, problem) => {
    await writeFile(config, settingsOf('w7'));
    const { status, stderr } = await enrol(flags, token);
    expect(status).toBe(2);
    expect(stderr).toContain(problem);
  });

  it('never sends the token over the network in clear', async () => {
    await writeFile(config, settingsOf('w8'));
    const { status, stderr } = await enrol(['--token-stdin'], 'x', 'http://collector.example.com:9440');
    expect(status).toBe(2);
    expect(stderr).toContain('would cross the network in clear');
  });
});
