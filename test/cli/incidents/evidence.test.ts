import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../support/run-cli.ts';
import { startCollector, type RunningCollector } from '../../support/running-collector.ts';
import { sampleAnomaly, sampleEvidence } from '../../support/sample-report.ts';

const SECTION = Buffer.from(sampleEvidence('w1-1').pcapng, 'base64');
let collector: RunningCollector;
let folder: string;

beforeAll(async () => {
  collector = await startCollector();
  await collector.report(sampleAnomaly(1), sampleEvidence('w1-1'));
});
afterAll(() => collector.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-evidence-'));
  return () => rm(folder, { recursive: true });
});

const run = (words: readonly string[], role = 'responder') =>
  runCli(['incidents', ...words], {
    env: { PLASMAWATCH_URL: collector.url, PLASMAWATCH_API_TOKEN: `token-of-the-${role}` },
  });

describe('plasmawatch incidents evidence', () => {
  it('saves the packets into a new file that nobody else can read, and says how many', async () => {
    const file = join(folder, 'x.pcapng');
    const saved = await run(['evidence', 'INC-1', '-o', file]);
    expect(saved).toEqual({ status: 0, stdout: `1 packet of 1 connection in ${file}\n`, stderr: '' });
    expect(await readFile(file)).toEqual(SECTION);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it('writes over nothing', async () => {
    const file = join(folder, 'x.pcapng');
    await writeFile(file, 'mine');
    const { status, stdout, stderr } = await run(['evidence', 'INC-1', '-o', file]);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(`cannot make ${file}: it is there already; give a new file with --output`);
    expect(await readFile(file, 'utf8')).toBe('mine');
  });

  it('writes packets to standard output and how many to standard error', async () => {
    const { status, stdout, stderr } = await run(['evidence', 'INC-1', '-o', '-']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '1 packet of 1 connection\n' });
    expect(stdout).toBe(SECTION.toString('utf8'));
  });

  it.each([
    ['no such incident', ['evidence', 'INC-9', '-o', 'FILE'], 'responder', 'there is no such incident'],
    ['a viewer', ['evidence', 'INC-1', '-o', 'FILE'], 'viewer', 'this needs the role responder'],
    ['no file', ['evidence', 'INC-1'], 'responder', '--output'],
  ])('answers with 2 and leaves no file for %s', async (_what, words, role, problem) => {
    const given = words.map((word) => word.replace('FILE', join(folder, 'x')));
    const { status, stderr } = await run(given, role);
    expect(status).toBe(2);
    expect(stderr).toContain(problem);
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('plasmawatch incidents show', () => {
  it('names the command that saves the packets, and not to whom may not see them', async () => {
    expect((await run(['show', 'INC-1'])).stdout).toMatch(
      /^evidence +1 packet: plasmawatch incidents evidence INC-1 -o INC-1\.pcapng$/m,
    );
    expect((await run(['show', 'INC-1'], 'viewer')).stdout).toMatch(
      /^evidence +not shown: this token may not see packets$/m,
    );
  });
});
