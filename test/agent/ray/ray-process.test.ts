import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isOfRay, rayletAbove } from '../../../agent/ray/ray-process.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';

const PACKAGE = '/opt/ray/lib/python3.11/site-packages/ray/core/src/ray';
const RAYLET = { pid: 100, startTicks: 7, userId: 1000, executable: `${PACKAGE}/raylet/raylet` };

describe('isOfRay', () => {
  let proc = '';
  beforeEach(async () => {
    proc = await mkdtemp(join(tmpdir(), 'plasmawatch-of-ray-'));
    for (const name of ['python3', 'socat']) await addFile(`bin/${name}`, name);
    await addProcess(100, { parent: 1, startTicks: 7 });
    await mkdir(join(proc, '100/root/opt/ray/bin'), { recursive: true });
    await symlink(join(proc, 'bin/python3'), join(proc, '100/root/opt/ray/bin/python3'));
  });
  afterEach(() => rm(proc, { recursive: true }));

  async function addFile(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(proc, path)), { recursive: true });
    await writeFile(join(proc, path), text);
  }

  async function addProcess(
    pid: number,
    { parent = 1, user = 1000, realUser, startTicks = pid, file = join(proc, 'bin/socat') }: ProcessOptions,
  ): Promise<void> {
    await addFile(`${pid}/stat`, `${pid} (it) S ${parent} ${'0 '.repeat(17)}${startTicks} 0\n`);
    await addFile(
      `${pid}/status`,
      `Name:\tit\nPPid:\t${parent}\nUid:\t${realUser ?? user}\t${user}\t${user}\t${user}\n`,
    );
    await symlink(file, join(proc, `${pid}/exe`));
  }

  const ask = (pid: number, changes: Partial<Parameters<typeof sampleRaylet>[0]> = {}): Promise<boolean> =>
    isOfRay(pid, [sampleRaylet({ ...RAYLET, workerProgram: '/opt/ray/bin/python3', ...changes })], { proc });

  it('is a worker, and what a worker has started', async () => {
    await addProcess(200, { parent: 100 });
    await addProcess(300, { parent: 200 });
    expect([await ask(200), await ask(300)]).toEqual([true, true]);
  });

  it('is a driver, which runs the Python of the workers', async () => {
    await addProcess(200, { file: join(proc, 'bin/python3') });
    expect(await ask(200)).toBe(true);
  });

  it("is another of Ray's programs", async () => {
    await addProcess(200, { file: `${PACKAGE}/gcs/gcs_server` });
    expect(await ask(200)).toBe(true);
  });

  it.each([
    ['another program of the same user', {}],
    ['a worker that has become another user', { parent: 100, user: 0 }],
    ['a program that another user started (setuid)', { parent: 100, realUser: 65_534 }],
    ['the same Python of another user', { user: 65_534, python: true }],
    ['a program in a folder whose name begins alike', { file: `${PACKAGE}-evil/gcs_server` }],
    ['a program that is gone', { isGone: true }],
  ])('is none of them: %s', async (_title, { python = false, isGone = false, ...process }: Impostor) => {
    const file = python ? { file: join(proc, 'bin/python3') } : {};
    if (!isGone) await addProcess(200, { ...process, ...file });
    expect(await ask(200)).toBe(false);
  });

  it('counts no parents of a raylet that is not proven, or whose number is another process now', async () => {
    await addProcess(200, { parent: 100 });
    expect(await ask(200, { isProven: false })).toBe(false);
    expect(await ask(200, { startTicks: 6 })).toBe(false);
  });

  it('is found by its parents, whenever its raylet has started', async () => {
    await addProcess(200, { parent: 100 });
    await addProcess(300, { parent: 200 });
    await addProcess(400, {});
    const rayletAt = (pid: number) => Promise.resolve(pid === 100 ? 'the raylet' : undefined);
    expect(await rayletAbove(300, rayletAt, { proc })).toBe('the raylet');
    // What is a raylet itself is none of its programs.
    expect(await rayletAbove(100, rayletAt, { proc })).toBeUndefined();
    expect(await rayletAbove(400, rayletAt, { proc })).toBeUndefined();
  });

  it('ends where parents are in a circle', async () => {
    await addProcess(200, { parent: 201 });
    await addProcess(201, { parent: 200 });
    expect(await ask(200)).toBe(false);
  });
});

interface ProcessOptions {
  readonly parent?: number;
  readonly user?: number;
  readonly realUser?: number;
  readonly startTicks?: number;
  readonly file?: string;
}

interface Impostor extends ProcessOptions {
  readonly python?: boolean;
  readonly isGone?: boolean;
}
