import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openSpool, type Spool, type SpoolOptions } from '../../../agent/uplink/spool.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import type { Report } from '../../../common/event.ts';
import { compile } from '../../support/compile.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';
import { missingForDisks, SmallDisk } from '../../support/small-disk.ts';

const ALL = Number.MAX_SAFE_INTEGER;
const opened: Spool[] = [];
let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-spool-'));
  path = join(folder, 'state', 'spool.db');
});

afterEach(async () => {
  for (const spool of opened.splice(0)) spool.close();
  await rm(folder, { recursive: true, force: true });
});

async function openTestSpool(limits: Partial<SpoolOptions> = {}): Promise<Spool> {
  const spool = await openSpool({ path, maxBytes: 10_000_000, maxReports: 10_000, ...limits });
  opened.push(spool);
  return spool;
}

function closeSpool(spool: Spool): void {
  opened.splice(opened.indexOf(spool), 1);
  spool.close();
}

const sequencesOf = (spool: Spool): number[] => spool.peek(0, ALL, ALL).map(({ sequence }) => sequence);

describe('a spool', () => {
  it('gives out sequence numbers from 1 and shows the reports in order, as they were given', async () => {
    const spool = await openTestSpool();
    const reports = [sampleAnomaly(1), sampleFlowReport(), sampleAnomaly(2, 'zwölf Boxkämpfer 🥊')];
    expect(spool.append(reports)).toEqual([1, 2, 3]);
    expect(spool.peek(0, 10, ALL).map(({ text }) => JSON.parse(text) as Report)).toEqual(reports);
    expect(spool.lastSequence).toBe(3);
  });

  it('shows what follows a sequence number, within the limits of count and bytes', async () => {
    const spool = await openTestSpool();
    spool.append([1, 2, 3, 4].map((number) => sampleAnomaly(number)));
    const bytes = Buffer.byteLength(JSON.stringify(sampleAnomaly(1)));
    expect(spool.peek(1, 2, ALL).map(({ sequence }) => sequence)).toEqual([2, 3]);
    expect(spool.peek(0, 10, 2 * bytes).map(({ sequence }) => sequence)).toEqual([1, 2]);
    expect(spool.peek(0, 10, 1).map(({ sequence }) => sequence)).toEqual([1]);
    expect(spool.peek(4, 10, ALL)).toEqual([]);
  });

  it('forgets what is acknowledged and never gives a number twice, not even when reopened empty', async () => {
    const first = await openTestSpool();
    first.append([sampleAnomaly(1), sampleAnomaly(2)]);
    first.acknowledge(2);
    expect(first.counters()).toMatchObject({ pending: 0, pendingBytes: 0, acknowledged: 2 });
    closeSpool(first);
    const second = await openTestSpool();
    expect(second.epoch).toBe(first.epoch);
    expect(second.lastSequence).toBe(2);
    expect(second.append([sampleAnomaly(3)])).toEqual([3]);
  });

  it('keeps what waits over a reopening, with its count and size', async () => {
    const first = await openTestSpool();
    first.append([sampleAnomaly(1), sampleAnomaly(2), sampleAnomaly(3)]);
    first.acknowledge(1);
    const { pending, pendingBytes } = first.counters();
    closeSpool(first);
    const second = await openTestSpool();
    expect(sequencesOf(second)).toEqual([2, 3]);
    expect(second.counters()).toMatchObject({ pending, pendingBytes, appended: 0 });
  });

  it('has another epoch in another file', async () => {
    const first = await openTestSpool();
    const second = await openTestSpool({ path: join(folder, 'other.db') });
    expect(second.epoch).not.toBe(first.epoch);
  });

  it('gives the waiting reports to a new epoch when told, and remembers it', async () => {
    const first = await openTestSpool();
    const oldEpoch = first.epoch;
    first.append([sampleAnomaly(1)]);
    first.renewEpoch();
    const { epoch } = first;
    expect(epoch).not.toBe(oldEpoch);
    closeSpool(first);
    const second = await openTestSpool();
    expect([second.epoch, sequencesOf(second)]).toEqual([epoch, [1]]);
  });

  it('tells what waits under the new name of a node that was renamed', async () => {
    const spool = await openTestSpool();
    const expected = [sampleAnomaly(1), sampleFlowReport(), sampleAnomaly(2, '🥊')];
    spool.append([{ ...sampleAnomaly(1), node: 'an-older-name' }]);
    spool.append([{ ...sampleFlowReport(), node: 'another' }, sampleAnomaly(2, '🥊')]);
    spool.nameReports('w1');
    expect(spool.peek(0, 10, ALL).map(({ text }) => JSON.parse(text) as Report)).toEqual(expected);
    const bytes = expected.reduce((sum, report) => sum + Buffer.byteLength(JSON.stringify(report)), 0);
    expect(spool.counters()).toMatchObject({ pending: 3, pendingBytes: bytes });
  });

  it('behaves like a list under any series of calls', async () => {
    const call = fc.oneof(
      fc.record({ append: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ acknowledge: fc.integer({ min: 0, max: 30 }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 25 }), async (calls) => {
        const spool = await openSpool({ path: ':memory:', maxBytes: ALL, maxReports: 12 });
        let waiting: number[] = [];
        let given = 0;
        for (const step of calls) {
          let expected: number[] = [];
          let sequences: number[] = [];
          if ('append' in step) {
            const room = Math.min(step.append, 12 - waiting.length);
            expected = Array.from({ length: room }, (_, index) => given + index + 1);
            sequences = spool.append(Array.from({ length: step.append }, () => sampleAnomaly(0)));
            given += room;
            waiting.push(...expected);
          } else {
            spool.acknowledge(step.acknowledge);
            waiting = waiting.filter((sequence) => sequence > step.acknowledge);
          }
          expect(sequences).toEqual(expected);
          expect(sequencesOf(spool)).toEqual(waiting);
          expect(spool.counters().pending).toBe(waiting.length);
        }
        spool.close();
      }),
      { numRuns: 40 },
    );
  });
});

describe('a spool that fills up', () => {
  it('turns flow reports away from 80 % on and anomalies only when full, and counts both', async () => {
    const spool = await openTestSpool({ maxReports: 10 });
    expect(spool.append(Array.from({ length: 9 }, sampleFlowReport))).toHaveLength(8);
    expect(spool.append([sampleFlowReport(), sampleAnomaly(1), sampleAnomaly(2), sampleAnomaly(3)])).toEqual([
      9, 10,
    ]);
    expect(spool.counters()).toMatchObject({ pending: 10, turnedAwayFlowReports: 2, turnedAwayAnomalies: 1 });
    spool.acknowledge(5);
    expect(spool.append([sampleFlowReport(), sampleAnomaly(4)])).toEqual([11, 12]);
  });

  it('keeps the last room for the first report of who was answered, whatever fills it before', async () => {
    const spool = await openTestSpool({ maxReports: 1000 });
    const steps = ['flow', 'evidence', 'attempt', 'unproven', 'update', 'first', 'node'] as const;
    const taken = steps.map((step) => {
      const reports = Array.from({ length: 2000 }, (_, index) => sampleAnomaly(index));
      return spool.append(
        reports,
        reports.map(() => step),
      ).length;
    });
    expect(taken).toEqual([800, 40, 40, 40, 40, 40, 20]);
    expect(spool.counters()).toMatchObject({ pending: 1020, turnedAwayAnomalies: 7 * 2000 - 1020 });
  });

  it('bounds the bytes as well', async () => {
    const bytes = Buffer.byteLength(JSON.stringify(sampleAnomaly(1)));
    const spool = await openTestSpool({ maxBytes: 3 * bytes + 10 });
    expect(spool.append([1, 2, 3, 4].map((number) => sampleAnomaly(number)))).toEqual([1, 2, 3]);
    expect(spool.counters()).toMatchObject({ pendingBytes: 3 * bytes, turnedAwayAnomalies: 1 });
  });

  it('does not take a report that the collector would refuse, which would hold up all others', async () => {
    const spool = await openTestSpool();
    expect(spool.append([sampleAnomaly(1, 'x'.repeat(2000)), sampleAnomaly(2)])).toEqual([1]);
    expect(spool.counters()).toMatchObject({ turnedAwayInvalid: 1, pending: 1 });
  });
});

describe("a spool's file", () => {
  it('is for its owner only, side files included', async () => {
    const spool = await openTestSpool();
    spool.append([sampleAnomaly(1)]);
    for (const file of [path, `${path}-wal`]) expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'state'))).mode & 0o777).toBe(0o700);
  });

  it('that is no database gives one line with its path', async () => {
    await mkdir(join(folder, 'state'));
    await writeFile(path, 'certainly no database, and long enough to be looked at '.repeat(40));
    const failure = await openTestSpool().catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(PlasmawatchError);
    expect(failure).toMatchObject({ code: 'PW_STORE', subject: path });
  });

  it('in a place that cannot be written gives one line with its path', async () => {
    await writeFile(join(folder, 'state'), 'a file where the folder should be');
    const failure = await openTestSpool().catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'PW_STORE', message: expect.stringContaining(path) as string });
  });

  it('belongs to one process at a time', async () => {
    await openTestSpool();
    const script = `import { openSpool } from './agent/uplink/spool.js';
      await openSpool({ path: process.argv[1], maxBytes: 1e6, maxReports: 10 }).then(
        () => console.log('opened'), (error) => console.log(error.code, error.message));`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script, path], {
      cwd: compiled.folder,
      encoding: 'utf8',
    });
    expect(output).toMatch(/^PW_STORE .*spool\.db: database is locked$/m);
  });
});

const missing = missingForDisks();

describe.skipIf(missing !== undefined)(
  `a spool on a full disk (needs root on Linux to mount a small one${missing ? `, missing: ${missing}` : ''})`,
  () => {
    const batch = Array.from({ length: 20 }, (_, index) => sampleAnomaly(index));
    let disk: SmallDisk;

    beforeEach(() => {
      disk = SmallDisk.mount(join(folder, 'disk'), '2m');
      path = join(disk.path, 'spool.db');
    });
    afterEach(() => {
      for (const spool of opened.splice(0)) spool.close();
      disk.unmount();
    });

    /** Appends until the disk refuses, and returns the sequence numbers of what it took. */
    function appendUntilFull(spool: Spool): number[] {
      const stored: number[] = [];
      const appendAll = (): void => {
        for (let round = 0; round < 1000; round++) stored.push(...spool.append(batch));
      };
      expect(appendAll).toThrow(expect.objectContaining({ code: 'PW_DISK_FULL', retryable: true }) as Error);
      return stored;
    }

    it('refuses as a whole with a retryable error, counts it, and takes reports again when there is room', async () => {
      const spool = await openTestSpool();
      disk.fill();
      const stored = appendUntilFull(spool);
      expect(sequencesOf(spool)).toEqual(stored);
      expect(spool.counters()).toMatchObject({
        writeFailures: 1,
        pending: stored.length,
        appended: stored.length,
      });
      disk.free();
      expect(spool.append(batch)).toHaveLength(20);
      spool.acknowledge(spool.lastSequence);
      expect(spool.counters().pending).toBe(0);
    });

    it('counts as turned away what it had no room for, and not again with each try', async () => {
      const spool = await openTestSpool({ maxReports: 15 });
      disk.fill();
      for (let round = 0; round < 3; round++) expect(() => spool.append(batch)).toThrow('full');
      expect(spool.counters().turnedAwayAnomalies).toBe(0);
      disk.free();
      expect(spool.append(batch)).toHaveLength(15);
      expect(spool.counters().turnedAwayAnomalies).toBe(5);
    });

    it('goes on sending: what is acknowledged waits no more, and is deleted when there is room', async () => {
      const spool = await openTestSpool();
      const stored = [...spool.append(batch)];
      disk.fill();
      stored.push(...appendUntilFull(spool));
      spool.acknowledge(15);
      expect(sequencesOf(spool)).toEqual(stored.slice(15));
      expect(spool.counters()).toMatchObject({ pending: stored.length - 15, acknowledged: 15 });
      expect(spool.peek(0, 1, ALL)[0]?.sequence).toBe(16);
      disk.free();
      stored.push(...spool.append(batch));
      expect(spool.counters().pending).toBe(stored.length - 15);
      closeSpool(spool);
      expect(sequencesOf(await openTestSpool())).toEqual(stored.slice(15));
    });

    it('can be opened again, and shows what waits', async () => {
      const first = await openTestSpool();
      const stored = first.append(batch);
      closeSpool(first);
      disk.fill();
      const second = await openTestSpool();
      expect(second.epoch).toBe(first.epoch);
      expect(sequencesOf(second)).toEqual(stored);
      appendUntilFull(second);
      disk.free();
      expect(second.append(batch)).toHaveLength(20);
    });

    it('says that it is full where it cannot even be made', async () => {
      disk.fill();
      const failure = await openTestSpool().catch((error: unknown) => error);
      expect(failure).toMatchObject({
        code: 'PW_DISK_FULL',
        message: expect.stringContaining(path) as string,
      });
    });
  },
);

let compiled: Awaited<ReturnType<typeof compile>>;
beforeAll(async () => {
  compiled = await compile('agent/uplink/spool.ts');
});
afterAll(() => compiled.remove());

describe('a spool whose process is killed', () => {
  it('has every report whose append had returned, in every round of kill -9', async () => {
    const script = `import { openSpool } from './agent/uplink/spool.js';
      const [path, text] = process.argv.slice(1);
      const spool = await openSpool({ path, maxBytes: 1e9, maxReports: 1e6 });
      const report = JSON.parse(text);
      for (;;) for (const sequence of spool.append([report, report, report])) console.log(sequence);`;
    let told = 0;
    for (let round = 1; round <= 5; round++) {
      const child = spawn(
        process.execPath,
        ['--input-type=module', '-e', script, path, JSON.stringify(sampleAnomaly(round))],
        { cwd: compiled.folder, stdio: ['ignore', 'pipe', 'inherit'] },
      );
      const target = told + 20 + round * 7;
      for await (const line of createInterface({ input: child.stdout })) {
        told = Number(line);
        if (told >= target) child.kill('SIGKILL');
      }
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      expect(child.signalCode).toBe('SIGKILL');
      const spool = await openTestSpool({ maxBytes: 1e9, maxReports: 1e6 });
      const sequences = sequencesOf(spool);
      expect(sequences).toEqual(Array.from({ length: sequences.length }, (_, index) => index + 1));
      expect(sequences.length).toBeGreaterThanOrEqual(told);
      expect(sequences.length % 3).toBe(0);
      told = sequences.length;
      closeSpool(spool);
    }
  });
});
