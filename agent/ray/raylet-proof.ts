/**
 * Whether a process is Ray's raylet. Its name and its command line are its own word and prove nothing. What counts is what the
 * kernel says: the user it runs as, the file that it runs, and the socket that it listens on.
 *
 * The user comes first. Ray's own file can be started by everybody with any command line, so the file alone proves nothing;
 * and nothing that a user could have put in the way (a pipe, a mount that never answers) is touched for users who are not
 * trusted.
 */
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';
import type { ProcessIdentity } from '../process/process-facts.ts';
import { OVERDUE, trustedReads } from '../process/timed-reads.ts';

/** Whose raylet is believed. */
export interface RayletTrust {
  /** Users who may run it. */
  readonly users: ReadonlySet<number>;
  /**
   * Whether the operator named the user (`ray.user`). Then the kernel's word for whose socket listens is enough where the file
   * cannot be seen for lack of privileges.
   */
  readonly isUserNamed?: boolean;
  /** The file that it must run (`ray.executable`); left out, one at the place where Ray's packages have it. */
  readonly executable?: string | undefined;
}

/** Root is who could do anything to the agent anyway. */
export const TRUST_ROOT: RayletTrust = { users: new Set([0]) };

/** What the file says: `refuted` is another program, `hidden` may not be seen, `doubtful` could be anybody's. */
export type FileProof = 'proven' | 'refuted' | 'hidden' | 'doubtful';

/** Where Ray's packages have it, under whatever folder they are installed in. */
export const RAYLET_FILE = '/ray/core/src/ray/raylet/raylet';
const WORLD_WRITABLE = 0o002;
const STICKY = 0o1000;

/** Whether the executable's path, as the kernel tells it, could be Ray's. */
export function isRayletPath(executable: string, { executable: pinned }: RayletTrust): boolean {
  return isAbsolute(executable) && (executable === pinned || executable.endsWith(RAYLET_FILE));
}

/** Looks at the file that a process of a trusted user runs. */
export async function proveFile(
  proc: string,
  { pid, userId, executable }: ProcessIdentity,
  trust: RayletTrust,
): Promise<FileProof> {
  if (executable === '') return 'hidden';
  if (!isRayletPath(executable, trust)) return 'refuted';
  const answer = await trustedReads.run(async (): Promise<FileProof> => {
    const file = await stat(join(proc, `${pid}/exe`));
    if (trust.executable !== undefined)
      return (await isPinnedFile(proc, file, trust.executable)) ? 'proven' : 'refuted';
    if (!isOnlyWritableBy(file, userId) || !file.isFile()) return 'doubtful';
    return (await isPathSafe(join(proc, `${pid}/root`), executable, userId)) ? 'proven' : 'doubtful';
  });
  return answer === OVERDUE ? 'doubtful' : answer;
}

/** The same file, whatever path leads to it: in this process's mounts or, seen from a container, in those of the host. */
async function isPinnedFile(proc: string, file: Stats, pinned: string): Promise<boolean> {
  const named =
    (await stat(pinned).catch(() => undefined)) ??
    (await stat(join(proc, '1/root', pinned)).catch(() => undefined));
  return named !== undefined && named.isFile() && named.dev === file.dev && named.ino === file.ino;
}

/** Whether nobody but root and the raylet's user can put another file in its place. A folder that is gone is no way to do so. */
async function isPathSafe(root: string, executable: string, userId: number): Promise<boolean> {
  for (let folder = dirname(executable); ; folder = dirname(folder)) {
    const facts = await stat(join(root, folder)).catch(() => undefined);
    if (facts !== undefined && !isOnlyWritableBy(facts, userId)) return false;
    if (folder === '/') return true;
  }
}

/** A sticky folder, as /tmp, lets nobody replace what is somebody else's. */
function isOnlyWritableBy({ uid, mode }: Stats, userId: number): boolean {
  return (uid === 0 || uid === userId) && ((mode & WORLD_WRITABLE) === 0 || (mode & STICKY) !== 0);
}
