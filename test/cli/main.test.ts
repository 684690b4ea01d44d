import { describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';

describe('plasmawatch', () => {
  it.each([
    ['no command', [], 'which command? See plasmawatch --help'],
    ['a slip in a command', ['replya'], 'there is no such command; did you mean replay?'],
    ['an unknown command', ['xyzzy'], 'there is no command xyzzy; see plasmawatch --help'],
    ['an unknown flag', ['doctor', '--jsn'], 'unknown: --jsn; see plasmawatch doctor --help'],
    ['a missing file', ['flows'], '<file..> is missing: plasmawatch flows <file..>'],
    ['a missing flag', ['replay', 'a.pcap'], '--rules is missing'],
    ['a flag without its value', ['replay', 'a.pcap', '--rules'], '--rules needs a value'],
    ['a port that is none', ['flows', 'a.pcap', '--port', 'x'], 'port'],
    [
      'a wrong choice',
      ['agent', '--log-level', 'loud'],
      '--log-level: "loud" is none of debug, info, warn, error, silent',
    ],
    [
      'a missing argument of a noun',
      ['incidents', 'show'],
      '<id> is missing: plasmawatch incidents show <id>',
    ],
    [
      'an unknown verb',
      ['incidents', 'close', 'INC-1'],
      'there is no command close, INC-1; see plasmawatch incidents --help',
    ],
    ['an unknown flag with words', ['incidents', '--foo-bar=1'], 'unknown: --foo-bar; see'],
    [
      'a flag given twice',
      ['agents', '--ca-file', 'a', '--ca-file', 'b'],
      '--ca-file is given more than once',
    ],
    [
      'a number that is none',
      ['incidents', '--limit', 'abc'],
      '--limit: expected a whole number from 1 to 500',
    ],
    [
      'settings that are not there',
      ['agent', '--config', '/nowhere/agent.yaml'],
      '/nowhere/agent.yaml: error: cannot be read',
    ],
    [
      'rules that are not there',
      ['replay', 'a.pcap', '--rules', '/nowhere.yaml'],
      '/nowhere.yaml: error: cannot be read',
    ],
  ])('answers %s with status 2 and one line', async (_name, words, message) => {
    const { status, stdout, stderr } = await runCli(words);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain(message);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  it('tells its version and its commands', async () => {
    expect(await runCli(['--version'])).toMatchObject({ status: 0, stdout: '0.1.0\n', stderr: '' });
    expect((await runCli(['version'])).stdout).toMatch(/^plasmawatch 0\.1\.0 \(Node \d+\./);
    expect(JSON.parse((await runCli(['version', '--json'])).stdout)).toMatchObject({ version: '0.1.0' });
    const { status, stdout } = await runCli(['--help']);
    expect(await runCli(['-h'])).toEqual({ status, stdout, stderr: '' });
    expect((await runCli(['incidents', 'show', '-h'])).stdout).toContain('--deliveries');
    expect(status).toBe(0);
    for (const command of ['up', 'agent', 'collector', 'replay', 'flows', 'rules', 'doctor']) {
      expect(stdout).toContain(`plasmawatch ${command}`);
    }
  });
});
