import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SocketHolders, socketInodesOf, stillHolds } from '../../../agent/process/socket-holder.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const USER = process.getuid?.() ?? 0;

describe('SocketHolders', () => {
  let proc = '';
  let clock: FakeClock;
  beforeEach(async () => {
    proc = await mkdtemp(join(tmpdir(), 'plasmawatch-proc-'));
    clock = new FakeClock();
  });
  afterEach(() => rm(proc, { recursive: true }));

  /** A process with these links as its descriptors. */
  async function addProcess(pid: number, ...targets: readonly string[]): Promise<void> {
    await mkdir(join(proc, `${pid}/fd`), { recursive: true });
    for (const [index, target] of targets.entries()) await symlink(target, join(proc, `${pid}/fd/${index}`));
  }

  it('finds the process by the inode, and knows when it has let go', async () => {
    await addProcess(10, '/dev/null', 'socket:[71]', 'pipe:[72]');
    await addProcess(20, 'socket:[72]');
    const holder = await new SocketHolders(clock, proc).find(72, USER);
    expect(holder).toEqual({ pid: 20, link: join(proc, '20/fd/0') });
    if (typeof holder === 'string') throw new Error(holder);
    expect(stillHolds(holder, 72)).toBe(true);
    await rm(join(proc, '20'), { recursive: true });
    expect(stillHolds(holder, 72)).toBe(false);
  });

  it('looks at whoever held a socket lately before it looks at all', async () => {
    await addProcess(10, 'socket:[71]', 'socket:[72]');
    await addProcess(20, ...Array.from({ length: 500 }, (_, index) => `pipe:[${index}]`));
    const holders = new SocketHolders(clock, proc);
    expect(await holders.find(71, USER)).toMatchObject({ pid: 10 });
    await rm(join(proc, '20'), { recursive: true });
    await addProcess(20, 'socket:[72]');
    // Both have it: a socket that was inherited.
    expect(await holders.find(72, USER)).toMatchObject({ pid: 10 });
  });

  it('looks at no process but the last ones for a socket that is gone meanwhile', async () => {
    await addProcess(10, 'socket:[71]');
    await addProcess(20, 'socket:[72]');
    const holders = new SocketHolders(clock, proc);
    expect(await holders.find(71, USER, () => false)).toBe('gone');
    expect(await holders.find(71, USER, () => true)).toMatchObject({ pid: 10 });
    expect(await holders.find(71, USER, () => false)).toMatchObject({ pid: 10 });
    expect(await holders.find(72, USER, () => false)).toBe('gone');
  });

  it('says that nobody has it', async () => {
    await addProcess(10, 'socket:[71]');
    expect(await new SocketHolders(clock, proc).find(72, USER)).toBe('gone');
  });

  it('gives up where there is too much to look at in a row, and takes its time for more', async () => {
    for (let pid = 1; pid <= 21; pid++) await addProcess(pid, 'socket:[71]', ...pipes(1000));
    const holders = new SocketHolders(clock, proc);
    // Each full search looks at 21,021 descriptors of the 200,000 that it may.
    const answers = [];
    for (let search = 0; search < 11; search++) answers.push(await holders.find(72, USER));
    expect(answers).toEqual([...Array<string>(9).fill('gone'), 'too-many', 'too-many']);
    clock.advance(2000);
    expect(await holders.find(72, USER)).toBe('gone');
  });

  it('finds a program among others that have more descriptors open than there is time for', async () => {
    const names = pipes(3000);
    await addProcess(10, 'socket:[72]');
    for (let pid = 20; pid < 25; pid++) await addProcess(pid, ...names);
    const holders = new SocketHolders(clock, proc);
    while ((await holders.find(1000, USER)) !== 'too-many');
    // Time enough for 4,000 descriptors, of which one of the others alone has 3,000.
    clock.advance(200);
    expect(await holders.find(72, USER)).toMatchObject({ pid: 10 });
  });

  it("gives the inodes of a process's sockets", async () => {
    await addProcess(10, '/dev/null', 'socket:[71]', 'socket:[72]', 'pipe:[73]');
    expect(await socketInodesOf(proc, 10)).toEqual(new Set([71, 72]));
    expect(await socketInodesOf(proc, 11)).toEqual(new Set());
  });
});

function pipes(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `pipe:[${index}]`);
}
