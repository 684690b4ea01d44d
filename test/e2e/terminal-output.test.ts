/**
 * Every command on a real terminal of 80 and of 160 columns. What it shows is kept in `test-output/terminal`, for people to look at:
 * a test can measure lines, and cannot see whether they can be read.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { widthOf } from '../../cli/table.ts';
import { packagePath } from '../../common/package.ts';
import { runCli } from '../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';
import { sampleAnomaly, sampleEvidence } from '../support/sample-report.ts';
import { contactOf } from '../support/unknown-peer.ts';

const run = promisify(execFile);
const SCRIPT = '/usr/bin/script';
const FOLDER = packagePath('test-output/terminal');
const PROGRAM = packagePath('dist/cli/main.cjs');
const WIDTHS = [80, 160] as const;
const ESCAPE = String.fromCodePoint(0x1b);
const COLOUR = new RegExp(String.raw`${ESCAPE}\[\d*m`, 'g');
/** A line that was written and cleared again. */
const CLEARED = new RegExp(String.raw`\r${ESCAPE}\[K[^\n]*\r${ESCAPE}\[K`, 'g');

/** By the name of the file; those that would run until they are stopped say what they take. */
const COMMANDS: Readonly<Record<string, string>> = {
  help: '--help',
  version: 'version',
  'up-help': 'up --help',
  'agent-help': 'agent --help',
  'agent-enrol-help': 'agent enrol --help',
  'collector-help': 'collector --help',
  'login-help': 'login --help',
  'login-not-trusted': 'login https://127.0.0.1:1',
  incidents: 'incidents',
  'incidents-wide': 'incidents --wide',
  'incidents-none': 'incidents --severity info',
  'incidents-help': 'incidents --help',
  'incidents-show': 'incidents show INC-1',
  'incidents-show-many': 'incidents show INC-2',
  'incidents-ack': "incidents ack INC-2 --comment 'asked the owner'",
  'incidents-evidence': 'incidents evidence INC-1 -o /dev/null/x',
  agents: 'agents',
  'agents-wide': 'agents --wide',
  'agents-show': 'agents show w1',
  enrolments: 'enrolments',
  silences: 'silences',
  audit: 'audit',
  flows: 'flows pcaps/normal.w1.pcap --top 5',
  'flows-wide': 'flows pcaps/normal.w1.pcap --top 5 --wide',
  doctor: 'doctor',
  replay: 'replay --rules rules/object-manager.yaml pcaps/leak.w1.pcap',
  'rules-check': 'rules check rules/object-manager.yaml',
  'rules-explain': 'rules explain --rules rules/object-manager.yaml 10.77.9.66 10.77.0.11:43800',
  'config-check': 'config check deploy/agent.yaml',
  'notify-help': 'notify test --help',
  'completion-help': 'completion --help',
  'wrong-flag': 'incidents --limit abc',
  'wrong-command': 'incidnets',
};

/** Their lines are as long as what they say: sentences of the rules, and of the settings. */
const FOLDED_BY_THE_TERMINAL = /wide$|^replay|^rules|^config|^wrong|^login-not|^incidents-(ack|evidence)/;

describe.skipIf(!existsSync(SCRIPT))('on a terminal (needs /usr/bin/script)', () => {
  let collector: RunningCollector;

  beforeAll(async () => {
    rmSync(FOLDER, { recursive: true, force: true });
    collector = await startCollector();
    const { flow, ...rest } = sampleAnomaly(1);
    await collector.report(
      {
        ...rest,
        flow,
        process: { pid: 4711, name: 'raylet', executable: '/usr/lib/ray/raylet' },
        user: { id: '1000', name: 'ray' },
        message:
          'Unexpected peer 10.77.9.66 talks to the object manager: no rule allows it to, and it is no member',
      },
      sampleEvidence('w1-1'),
    );
    for (const number of [1, 2, 3]) {
      await collector.report(
        contactOf({ peer: '203.0.113.66', bytes: 9_000_000 * number }),
        contactOf({ peer: `198.51.100.${number}` }),
      );
    }
    const ask = (words: readonly string[]) => runCli(words, { env: environment() });
    await ask(['agents', 'enrol', 'gpu-node-with-a-long-name-17.rack-4.example.com']);
    const matchers = ['--peer', '10.20.0.0/16', '--node', 'gpu-*', '--kind', 'scan'];
    await ask([
      'silences',
      'add',
      ...matchers,
      '--for',
      '2h',
      '--reason',
      'a scan by the auditors, until they are done',
    ]);
    await ask(['incidents', 'ack', 'INC-1', '--comment', 'on it']);
  });
  afterAll(() => collector.stop());

  const environment = () => ({
    PLASMAWATCH_URL: collector.url,
    PLASMAWATCH_API_TOKEN: 'token-of-the-admin',
    XDG_CONFIG_HOME: '/nonexistent',
  });

  const shown = async (words: string, width: number): Promise<string> => {
    const command = `stty cols ${width} rows 50; exec '${process.execPath}' '${PROGRAM}' ${words}`;
    const { stdout } = await run(SCRIPT, ['-q', '-e', '-c', command, '/dev/null'], {
      cwd: packagePath('.'),
      env: { PATH: process.env['PATH'], TERM: 'xterm-256color', HOME: '/nonexistent', ...environment() },
    }).catch((error: { stdout: string }) => error);
    // A progress bar that was cleared is not seen any more.
    return stdout.replaceAll('\r\n', '\n').replaceAll(CLEARED, '');
  };

  it.each(Object.entries(COMMANDS))('%s fits', async (name, words) => {
    const outputs = await Promise.all(
      WIDTHS.map(async (width) => ({ width, output: await shown(words, width) })),
    );
    for (const { width, output } of outputs) {
      const folder = join(FOLDER, String(width));
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, `${name}.txt`), output);
      // Colours only: nothing else that a terminal acts on.
      const text = output.replaceAll(COLOUR, '');
      expect(text).not.toMatch(/(?!\n)\p{Cc}/u);
      expect(text.trim()).not.toBe('');
      expect(text).not.toContain('internal error');
      if (FOLDED_BY_THE_TERMINAL.test(name)) continue;
      const tooLong = text.split('\n').filter((line) => widthOf(line) > width);
      expect({ name, width, tooLong }).toEqual({ name, width, tooLong: [] });
    }
  });

  it('every command was shown', async () => {
    const { stdout } = await runCli(['--help']);
    const names = [...stdout.matchAll(/^ {2}plasmawatch ([a-z]+)/gm)].map(([, name]) => name);
    const words = new Set(Object.values(COMMANDS).map((line) => line.split(' ')[0]));
    expect(names.filter((name) => !words.has(name))).toEqual([]);
    expect(names.length).toBeGreaterThan(15);
  });
});
