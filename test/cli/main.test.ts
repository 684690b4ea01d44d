import { describe, expect, it } from 'vitest';
import { runCli } from '../support/run-cli.ts';

describe('plasmawatch', () => {
  it.each([
    ['no command', [], 'which command? See plasmawatch --help'],
    ['a slip in a command', ['replya'], 'unknown command: Did you mean replay?'],
    ['an unknown command', ['xyzzy'], 'Unknown command: xyzzy'],
    ['an unknown flag', ['doctor', '--jsn'], 'Unknown argument: jsn'],
    ['a missing file', ['flows'], 'Not enough non-option arguments'],
    ['a missing flag', ['replay', 'a.pcap'], 'Missing required argument: rules'],
    ['a flag without its value', ['replay', 'a.pcap', '--rules'], 'Not enough arguments following: rules'],
    ['a port that is none', ['flows', 'a.pcap', '--port', 'x'], 'port'],
    ['a wrong choice', ['agent', '--log-level', 'loud'], 'Invalid values'],
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
    const { status, stdout } = await runCli(['--help']);
    expect(status).toBe(0);
    for (const command of ['up', 'agent', 'collector', 'replay', 'flows', 'rules', 'doctor']) {
      expect(stdout).toContain(`plasmawatch ${command}`);
    }
  });
});
