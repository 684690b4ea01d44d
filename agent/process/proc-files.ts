/** Reading in /proc: what vanishes meanwhile or is not ours to look at is `undefined`, and nothing is read without a bound. */
import { open, readdir, readlink, type FileHandle } from 'node:fs/promises';

/** Where processes are looked for. */
export interface ProcessSearch {
  /** For tests: another root than /proc. */
  readonly proc?: string;
}

/** The ids of all processes, rising. */
export async function listProcesses(proc: string): Promise<number[]> {
  const names = await readdir(proc).catch(() => []);
  return names
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .toSorted((a, b) => a - b);
}

export async function readLink(path: string): Promise<string | undefined> {
  return readlink(path).catch(() => undefined);
}

/** The first `limitBytes` of a file. */
export async function readStart(path: string, limitBytes: number): Promise<string | undefined> {
  return withFile(path, (file) => readAt(file, 0, limitBytes));
}

/** The first and the last `windowBytes` of a file. */
export async function readEnds(path: string, windowBytes: number): Promise<string | undefined> {
  return withFile(path, async (file) => {
    const { size } = await file.stat();
    const start = await readAt(file, 0, windowBytes);
    if (size <= windowBytes) return start;
    return `${start}\n${await readAt(file, Math.max(windowBytes, size - windowBytes), windowBytes)}`;
  });
}

async function withFile(
  path: string,
  read: (file: FileHandle) => Promise<string>,
): Promise<string | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    return await read(file);
  } catch {
    return undefined;
  } finally {
    await file?.close();
  }
}

/** Files of /proc give a page at a time and tell no size. */
async function readAt(file: FileHandle, position: number, limitBytes: number): Promise<string> {
  const buffer = Buffer.alloc(limitBytes);
  let length = 0;
  while (length < limitBytes) {
    const { bytesRead } = await file.read(buffer, length, limitBytes - length, position + length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.toString('utf8', 0, length);
}
