/** What /proc tells of one process: proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5), proc_pid_cgroup(5). */
import { join } from 'node:path';
import { parseCgroup, type Containment } from './cgroup.ts';
import { describeCommandLine } from './command-line.ts';
import { readCommandLine, readKernelFile, readKernelLink, readStart } from './proc-files.ts';
import { OVERDUE } from './timed-reads.ts';
import { onOneLine } from '../../common/plain-text.ts';

/** What the kernel itself knows of a process: no process can delay or forge it, but for its name. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in ticks since the boot: a later process of the same id has another. */
  readonly startTicks: number;
  /** The kernel's name for it (`comm`), which a program can change. */
  readonly name: string;
  /** The effective user. */
  readonly userId: number;
  /** Who started it, where the file's owner lends the effective user (setuid): its command line is this one's. */
  readonly realUserId: number;
  /** The file that runs, as the process has it mounted; empty where it may not be seen (CAP_SYS_PTRACE). */
  readonly executable: string;
}

export interface ProcessFacts extends ProcessIdentity {
  /** Bounded, and without what looks like a secret; empty where there is none, or where the process does not let it be read. */
  readonly commandLine: string;
  readonly containment: Containment;
}

/** Enough for what is shown, and for a secret to be recognised by what stands before it. */
const MAX_COMMAND_LINE_BYTES = 8192;
const MAX_STATUS_BYTES = 65_536;
const MAX_PATH_LENGTH = 512;
/** The kernel puts this behind a file that is no more. */
const DELETED = / \(deleted\)$/;

/** Undefined where the process is gone, or was replaced by another while it was looked at. */
export async function readProcessFacts(proc: string, pid: number): Promise<ProcessFacts | undefined> {
  const identity = await readProcessIdentity(proc, pid);
  if (identity === undefined) return undefined;
  const commandLine = await readCommandLine(proc, pid, MAX_COMMAND_LINE_BYTES);
  const cgroup = readKernelFile(join(proc, `${pid}/cgroup`));
  if (!(await isStill(proc, identity))) return undefined;
  return {
    ...identity,
    commandLine: commandLine === OVERDUE ? '' : describeCommandLine(commandLine ?? ''),
    containment: parseCgroup(cgroup ?? ''),
  };
}

/** Undefined where the process is gone, or was replaced by another while it was looked at. */
export async function readProcessIdentity(proc: string, pid: number): Promise<ProcessIdentity | undefined> {
  const folder = join(proc, String(pid));
  const begin = await readStat(folder);
  const users = await readUsers(proc, pid);
  const executable = readKernelLink(join(folder, 'exe'));
  if (begin === undefined || users === undefined) return undefined;
  const identity = {
    pid,
    ...begin,
    ...users,
    executable: onOneLine(executable?.replace(DELETED, '') ?? '').slice(0, MAX_PATH_LENGTH),
  };
  return (await isStill(proc, identity)) ? identity : undefined;
}

/** The users of a process; undefined where it is gone. */
export async function readUsers(
  proc: string,
  pid: number,
): Promise<Pick<ProcessIdentity, 'userId' | 'realUserId'> | undefined> {
  const status = readKernelFile(join(proc, `${pid}/status`));
  const [, real, effective] = /^Uid:\s+(\d+)\s+(\d+)/m.exec(status ?? '') ?? [];
  return effective === undefined ? undefined : { userId: Number(effective), realUserId: Number(real) };
}

/** The group of who started a process, which a program that lends its owner's rights keeps; undefined where it is gone. */
export async function readRealGroup(proc: string, pid: number): Promise<number | undefined> {
  const status = readKernelFile(join(proc, `${pid}/status`));
  const group = /^Gid:\s+(\d+)/m.exec(status ?? '')?.[1];
  return group === undefined ? undefined : Number(group);
}

/** Whether the process is the one that it was. */
export async function isStill(
  proc: string,
  { pid, startTicks }: Pick<ProcessIdentity, 'pid' | 'startTicks'>,
): Promise<boolean> {
  return (await readStat(join(proc, String(pid))))?.startTicks === startTicks;
}
/** The process that started it, or that has taken it over since; undefined where it is gone. */
export async function readParent(proc: string, pid: number): Promise<number | undefined> {
  const status = await readStart(join(proc, `${pid}/status`), MAX_STATUS_BYTES);
  const parent = /^PPid:\s+(\d+)$/m.exec(status ?? '')?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/** How many descriptors a process has room for now (`FDSize`): no fewer than are open. A usual number where that is not told. */
export async function readDescriptorCount(proc: string, pid: number): Promise<number> {
  const status = await readStart(join(proc, `${pid}/status`), MAX_STATUS_BYTES);
  return Number(/^FDSize:\s+(\d+)$/m.exec(status ?? '')?.[1] ?? USUAL_DESCRIPTORS);
}

/** The kernel's smallest table that grew once (NR_OPEN_DEFAULT is 64). */
const USUAL_DESCRIPTORS = 256;

/** When a process started, in ms since the epoch. */
export async function startTimeMs(proc: string, { startTicks }: ProcessFacts): Promise<number | undefined> {
  const bootSeconds = /^btime (\d+)$/m.exec((await readStart(join(proc, 'stat'), MAX_STAT_BYTES)) ?? '')?.[1];
  return bootSeconds === undefined
    ? undefined
    : Number(bootSeconds) * 1000 + startTicks * MILLISECONDS_PER_TICK;
}

/** The counts of interrupts stand before the time of the boot. */
const MAX_STAT_BYTES = 1024 * 1024;
/** USER_HZ of the kernel is 100 on x86 and arm. */
const MILLISECONDS_PER_TICK = 10;

async function readStat(folder: string): Promise<{ name: string; startTicks: number } | undefined> {
  const text = readKernelFile(join(folder, 'stat')) ?? '';
  // The name may hold anything, parentheses too; it ends at the last one.
  const match = /^\d+ \((.*)\) (.*)$/s.exec(text);
  const startTicks = Number(match?.[2]?.split(' ')[START_TIME_FIELD]);
  if (match === null || !Number.isSafeInteger(startTicks)) return undefined;
  return { name: onOneLine(match[1] ?? ''), startTicks };
}

/** Field 22, counted from the first after the name, which is field 3. */
const START_TIME_FIELD = 22 - 3;
