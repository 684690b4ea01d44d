/** Whether the agent's spool has room on its disk. */
import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatSize } from '../../common/units.ts';
import { check, type Check } from './check.ts';

/** Below this SQLite has no room to write with: its log alone takes 4 MiB. */
const MIN_FREE_BYTES = 16 * 1024 * 1024;

/** Looks at the disk where the spool is, or will be. */
export async function examineDisk(path: string): Promise<Check> {
  let folder = dirname(path);
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = await statfs(folder);
  return judgeRoom(path, bavail * bsize);
}

/** @param freeBytes that a user may still write */
export function judgeRoom(path: string, freeBytes: number): Check {
  const isFull = freeBytes < MIN_FREE_BYTES;
  const detail = `${formatSize(freeBytes)} free for the spool ${path}${isFull ? ' [PW_DISK_FULL]' : ''}`;
  return check('disk', !isFull, detail, 'make room: reports that wait in memory are lost with the agent');
}
