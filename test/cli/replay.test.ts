import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';
import { runCli } from '../support/run-cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-replay-'));
const rules = packagePath('pcaps/intruder-grpc.rules.yaml');
const intruder = packagePath('pcaps/intruder-grpc.w1.pcap');
const quiet = packagePath('pcaps/normal.w1.pcap');
const intruderBytes = readFileSync(intruder);

afterAll(() => rmSync(folder, { recursive: true }));

describe('plasmawatch replay', () => {
  it('prints an anomaly, then a summary, as sentences', async () => {
    const { status, stdout, stderr } = await runCli(['replay', intruder, '--rules', rules]);
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout.trimEnd().split('\n')).toEqual([
      '2026-11-23T09:42:10Z  critical  unexpected-peer  Unexpected peer 10.77.9.66 talks to object-manager port 43800 of ' +
        '10.77.0.11 (no rule allows it); 3 connections, 70.6 KiB',
      expect.stringMatching(
        /^148 packets, \d+ TCP connections: \d+ allowed, 3 unexpected, 0 to other ports; 1 anomaly$/,
      ),
    ]);
  });

  it('answers 0 where every connection is allowed', async () => {
    expect(await runCli(['replay', quiet, '--rules', rules])).toMatchObject({ status: 0, stderr: '' });
  });

  it('plays several files as one story, with a summary of all', async () => {
    const { stdout } = await runCli(['replay', '--json', intruder, quiet, intruder, '--rules', rules]);
    const [anomaly, summary] = stdout
      .trimEnd()
      .split('\n')
      .slice(-2)
      .map((line) => JSON.parse(line) as object);
    expect(anomaly).toMatchObject({ type: 'anomaly' });
    expect(summary).toMatchObject({ type: 'summary', files: 3, packets: 148 * 2 + 291 });
  });

  it('writes the first packets of each anomaly, without payload, as a capture', async () => {
    const evidence = join(folder, 'evidence');
    await runCli(['replay', intruder, '--rules', rules, '--evidence', evidence]);
    const file = join(evidence, 'replay-1.pcapng');
    const { stdout } = await runCli(['flows', file, '--json']);
    const flow = JSON.parse(stdout) as Record<string, unknown>;
    expect(flow).toMatchObject({
      source: { ip: '10.77.9.66' },
      destination: { ip: '10.77.0.11', port: 43_800 },
    });
    const bytes = readFileSync(file).toString('latin1');
    expect(intruderBytes.toString('latin1')).toContain('ObjectManagerService');
    expect(bytes).not.toContain('ObjectManagerService');
    expect(bytes).toContain('anomaly replay-1 on replay');
  });

  it('says that evidence cannot be written, and plays the capture to its end', async () => {
    const { status, stdout, stderr } = await runCli([
      'replay',
      intruder,
      '--rules',
      rules,
      '--evidence',
      rules,
    ]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/^plasmawatch: cannot write evidence to .*\n$/);
    expect(stdout).toContain('148 packets');
  });

  it('reads standard input', async () => {
    const { status, stdout } = await runCli(['replay', '-', '--rules', rules], { stdin: intruderBytes });
    expect(status).toBe(1);
    expect(stdout).toContain('148 packets');
  });

  it.each([
    ['an empty file', Buffer.alloc(0), 'the file is empty'],
    ['a file that ends in its header', intruderBytes.subarray(0, 20), '20'],
    ['a file that ends in a packet', intruderBytes.subarray(0, 40_000), 'after packet'],
    ['text', Buffer.from('this is no capture\n'), 'neither pcap nor pcapng'],
    [
      'a wrong magic number',
      Buffer.concat([Buffer.from('d4c3b2a2', 'hex'), intruderBytes.subarray(4)]),
      'd4c3b2a2',
    ],
    ['a folder', undefined, 'is a directory'],
  ])('says what is wrong with %s, and still reports the good files', async (name, bytes, message) => {
    const bad = bytes === undefined ? folder : join(folder, `${name.replaceAll(' ', '-')}.pcap`);
    if (bytes !== undefined) writeFileSync(bad, bytes);
    const { status, stdout, stderr } = await runCli(['replay', bad, quiet, intruder, '--rules', rules]);
    expect(status).toBe(2);
    expect(stderr.trimEnd().split('\n')).toEqual([expect.stringContaining(bad)]);
    expect(stderr).toContain(message);
    expect(stdout).toContain('Unexpected peer 10.77.9.66');
  });

  it('counts what a cut file had before the fault', async () => {
    const bad = join(folder, 'cut.pcap');
    writeFileSync(bad, intruderBytes.subarray(0, intruderBytes.length - 10));
    const { status, stdout } = await runCli(['replay', bad, '--rules', rules]);
    expect(status).toBe(2);
    expect(stdout).toContain('147 packets');
  });
});
