/**
 * Reading what another process named: its logs, and the files of its session. The path and everything on the way may be
 * a trap: a pipe that blocks who opens it, a device that acts when it is opened (`/dev/watchdog`), a link that leads out,
 * a file of somebody else, a mount that never answers.
 *
 * The file is taken by a handle that opens nothing (`O_PATH`, open(2)), looked at, and read through that same handle only where
 * it is a regular file of the process's own user.
 */
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { readAt, WITHOUT_WAITING } from './proc-files.ts';
import { OVERDUE, trustedReads } from './timed-reads.ts';

/** Linux, all architectures that Node runs on (include/uapi/asm-generic/fcntl.h); Node has no name for it. */
const O_PATH = 0o10_000_000;
const WITHOUT_OPENING = O_PATH | constants.O_NOFOLLOW;

/** A file that a process has open: whatever became of its name since, and in whatever mount namespace it is. */
interface ForeignDescriptor {
  /** The folder of /proc of the process that has it open. */
  readonly processFolder: string;
  readonly descriptor: number;
  /** Who must own the file: the process's user. */
  readonly userId: number;
}

interface ForeignFile {
  /** The folder of /proc of the process that sees the file. */
  readonly processFolder: string;
  /** As the process sees it: absolute, and without `..`. */
  readonly path: string;
  /** Who must own the file: the process's user. */
  readonly userId: number;
}

/** The first `limitBytes`; undefined where the file is not to be read, or not read in time. */
export function readForeignStart(file: ForeignFile, limitBytes: number): Promise<string | undefined> {
  return readForeign(file, (handle) => readAt(handle, 0, limitBytes));
}

/** The first and the last `windowBytes`, with a line break between; undefined as above. */
export function readForeignEnds(file: ForeignFile, windowBytes: number): Promise<string | undefined> {
  return readForeign(file, (handle, size) => readEnds(handle, size, windowBytes));
}

/** The same of a file that the process has open. */
export async function readDescriptorEnds(
  { processFolder, descriptor, userId }: ForeignDescriptor,
  windowBytes: number,
): Promise<string | undefined> {
  // The kernel's link leads to the file itself; a handle that opens nothing may follow it.
  const link = join(processFolder, `fd/${descriptor}`);
  const read = (handle: FileHandle, size: number): Promise<string> => readEnds(handle, size, windowBytes);
  const text = await trustedReads
    .run(async () => readIfRegular(await open(link, O_PATH), userId, read))
    .catch(() => undefined);
  return text === OVERDUE ? undefined : text;
}

async function readEnds(handle: FileHandle, size: number, windowBytes: number): Promise<string> {
  const start = await readAt(handle, 0, windowBytes);
  if (size <= windowBytes) return start;
  return `${start}\n${await readAt(handle, Math.max(windowBytes, size - windowBytes), windowBytes)}`;
}

async function readForeign(
  { processFolder, path, userId }: ForeignFile,
  read: (handle: FileHandle, size: number) => Promise<string>,
): Promise<string | undefined> {
  if (!isAbsolute(path) || path.split('/').includes('..') || path.includes('\0')) return undefined;
  const text = await trustedReads
    .run(async () =>
      readIfRegular(await open(join(processFolder, 'root', path), WITHOUT_OPENING), userId, read),
    )
    .catch(() => undefined);
  return text === OVERDUE ? undefined : text;
}

/** @param place a handle that opened nothing; it is closed here */
async function readIfRegular(
  place: FileHandle,
  userId: number,
  read: (handle: FileHandle, size: number) => Promise<string>,
): Promise<string | undefined> {
  try {
    const facts = await place.stat();
    // Files of /proc and /sys are regular by their word, have no size, and may act when they are read (/proc/kmsg).
    if (!facts.isFile() || facts.uid !== userId || facts.size === 0) return undefined;
    const file = await open(`/proc/self/fd/${place.fd}`, WITHOUT_WAITING);
    try {
      return await read(file, facts.size);
    } finally {
      await file.close();
    }
  } finally {
    await place.close();
  }
}
