/**
 * Reading in /proc: what vanishes meanwhile or is not ours to look at is `undefined`, and nothing is read without a bound of
 * size and time.
 */
import { closeSync, constants, openSync, readlinkSync, readSync } from 'node:fs';
import { open, readdir, readlink, stat, type FileHandle } from 'node:fs/promises';
import { processReads, type OVERDUE, type TimedReads } from './timed-reads.ts';

/** Where processes are looked for. */
export interface ProcessSearch {
  /** For tests: another root than /proc. */
  readonly proc?: string;
}

/** Never waits for who writes to a pipe, and makes no terminal this process's own. */
export const WITHOUT_WAITING = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** The ids of all processes, rising. */
export async function listProcesses(proc: string): Promise<number[]> {
  const names = await readdir(proc).catch(() => []);
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .toSorted((a, b) => a - b);
}

/** Those of a node with many containers; /proc is among the first. */
const MAX_MOUNTS_BYTES = 256 * 1024;

/**
 * Whether processes of other users are hidden from this one (proc(5), `hidepid`). The first process is of root, and is there
 * as long as any is.
 */
export async function areOthersHidden(proc: string): Promise<boolean> {
  if ((await readStart(`${proc}/1/status`, 1)) !== undefined) return false;
  const mounts = await readStart(`${proc}/self/mounts`, MAX_MOUNTS_BYTES);
  return /^\S+ \S+ proc \S*\bhidepid=/m.test(mounts ?? '');
}

export async function readLink(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}

/**
 * The first `limitBytes` of a file that the kernel writes by itself: `stat`, `status`, `cgroup`, `net/tcp`, and
 * `/etc/passwd`. What the process can delay is for `readCommandLine`.
 */
export async function readStart(path: string, limitBytes: number): Promise<string | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, WITHOUT_WAITING);
    return (await file.stat()).isFile() ? await readAt(file, 0, limitBytes) : undefined;
  } catch {
    return undefined;
  } finally {
    await file?.close();
  }
}

/** Of all processes' reads: nothing is kept in it. */
const KERNEL_FILE_BYTES = 65_536;
const kernelFile = Buffer.alloc(KERNEL_FILE_BYTES);

/**
 * The start of a file of /proc that the kernel writes from its own memory, so that no process can delay it: `stat`, `status`,
 * `cgroup`. Without a thread that takes a tenth of the CPU time.
 */
export function readKernelFile(path: string): string | undefined {
  try {
    const file = openSync(path, WITHOUT_WAITING);
    try {
      let length = 0;
      while (length < KERNEL_FILE_BYTES) {
        const read = readSync(file, kernelFile, length, KERNEL_FILE_BYTES - length, length);
        if (read === 0) break;
        length += read;
      }
      return kernelFile.toString('utf8', 0, length);
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}

/** Where a link of /proc leads by the kernel's word (`exe`, `ns/net`); the place itself is not touched. */
export function readKernelLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/**
 * The first `limitBytes` of /proc/PID/cmdline, which the kernel takes from the process's memory; `OVERDUE` where the process
 * lets the reader wait.
 */
export function readCommandLine(
  proc: string,
  pid: number,
  limitBytes: number,
  reads: TimedReads = processReads,
): Promise<string | undefined | typeof OVERDUE> {
  return reads.run(() => readStart(`${proc}/${pid}/cmdline`, limitBytes));
}

/** Whether two processes share their network namespace; false where that cannot be seen. */
export async function shareNetwork(proc: string, a: number | 'self', b: number): Promise<boolean> {
  const [linkOfA, linkOfB] = [readKernelLink(`${proc}/${a}/ns/net`), readKernelLink(`${proc}/${b}/ns/net`)];
  if (linkOfA !== undefined && linkOfB !== undefined) return linkOfA === linkOfB;
  const [ofA, ofB] = [await networkOf(proc, a), await networkOf(proc, b)];
  return ofA !== undefined && ofA === ofB;
}

/**
 * What no other network namespace has at the same time: the inode of its table of sockets, which the kernel makes for each
 * namespace (net/ipv4/tcp_ipv4.c, proc_create_net_data) and lets everybody see. The link `ns/net` takes CAP_SYS_PTRACE.
 */
async function networkOf(proc: string, pid: number | 'self'): Promise<string | undefined> {
  const table = await stat(`${proc}/${pid}/net/tcp`, { bigint: true }).catch(() => undefined);
  return table === undefined ? undefined : `${table.dev}:${table.ino}`;
}

/** Files of /proc give a page at a time and tell no size. */
export async function readAt(file: FileHandle, position: number, limitBytes: number): Promise<string> {
  const buffer = Buffer.alloc(limitBytes);
  let length = 0;
  while (length < limitBytes) {
    const { bytesRead } = await file.read(buffer, length, limitBytes - length, position + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.toString('utf8', 0, length);
}
