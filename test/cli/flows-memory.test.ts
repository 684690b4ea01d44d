import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../support/compile.ts';
import { pcapFile, tcpFrame } from '../support/pcap-bytes.ts';

/** Runs `flows -` and prints the peak of its memory, in KiB, as the last line of standard error. */
const PROGRAM = `
  const { runCommandLine } = await import(process.argv[1] + '/cli/main.js');
  const { stdin, stdout, stderr, env } = process;
  const terminal = { stdin, stdout, stderr, env, isInteractive: false, stopSignal: new AbortController().signal };
  process.exitCode = await runCommandLine(['flows', '--json', '-'], terminal);
  process.stderr.write(String(process.resourceUsage().maxRSS));
`;

const FILE_HEADER_LENGTH = 24;
/** A mebibyte of packets of 20 connections, without the file's header. */
const FRAMES = Array.from({ length: 700 }, (_, index) =>
  tcpFrame({
    from: `10.0.0.${index % 20}:40000`,
    to: '10.0.0.99:43800',
    flags: 'A',
    sequence: 1,
    payload: 1430,
  }),
);
const RECORDS = pcapFile(FRAMES);

describe('the memory of flows', () => {
  let compiled: Awaited<ReturnType<typeof compile>>;
  beforeAll(async () => {
    compiled = await compile('cli/main.ts');
  });
  afterAll(() => compiled.remove());

  it('does not grow with the size of the file', async () => {
    // The chunks of a stream are collected when some dozen MiB of them are there: both are past that.
    const small = await peakMemoryKb(compiled.folder, 200);
    // When the collector runs is chance on a busy machine: what grows with the file does so both times.
    const large = Math.min(
      await peakMemoryKb(compiled.folder, 600),
      await peakMemoryKb(compiled.folder, 600),
    );
    expect(small).toBeGreaterThan(30_000);
    // What is held of 400 MiB more is less than a twentieth of them.
    expect(large - small).toBeLessThan(20_000);
  });
});

/** Writes the records so often to the program's standard input, at its pace. */
async function peakMemoryKb(folder: string, times: number): Promise<number> {
  const words = ['--input-type=module', '-e', PROGRAM, folder];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  let problems = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (problems += chunk.toString()));
  const closed = once(child, 'close');
  child.stdin.write(RECORDS.subarray(0, FILE_HEADER_LENGTH));
  for (let time = 0; time < times; time++) {
    if (!child.stdin.write(RECORDS.subarray(FILE_HEADER_LENGTH))) await once(child.stdin, 'drain');
  }
  child.stdin.end();
  await closed;
  expect(output.trimEnd().split('\n')).toHaveLength(20);
  expect(child.exitCode).toBe(0);
  return Number(problems);
}
