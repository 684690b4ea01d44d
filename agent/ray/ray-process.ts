/**
 * Whether a process is part of the Ray that a proven raylet of this node runs: one of its workers, a driver, or another of Ray's
 * own programs. As with the raylet, names and command lines prove nothing: the user, the parents and the file do.
 *
 * Whoever may run code as the raylet's user can be one of these at any time. So this answers whose connection may be a mistake of
 * ours, where it is not known what is at its other end, and never makes a program a raylet.
 */
import { stat } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { readParent, readProcessIdentity, isStill, type ProcessIdentity } from '../process/process-facts.ts';
import type { ProcessSearch } from '../process/proc-files.ts';
import { OVERDUE, trustedReads } from '../process/timed-reads.ts';
import { RAYLET_FILE } from './raylet-proof.ts';
import type { Raylet } from './raylet.ts';

/** Parents that are looked at: a task may start programs that start others. */
const MAX_PARENTS = 32;
/** Where Ray's packages have the raylet, within the folder of all of Ray's own programs. */
const RAYLET_WITHIN = '/raylet/raylet';

type RunningRaylet = Pick<
  Raylet,
  'pid' | 'startTicks' | 'userId' | 'executable' | 'isProven' | 'workerProgram'
>;

/** @param raylets those of this node; what is not proven counts for nothing */
export async function isOfRay(
  pid: number,
  raylets: readonly RunningRaylet[],
  { proc = '/proc' }: ProcessSearch = {},
): Promise<boolean> {
  const process = await readProcessIdentity(proc, pid);
  if (process === undefined) return false;
  const candidates = raylets.filter(
    ({ isProven, userId }) => isProven && process.userId === userId && process.realUserId === userId,
  );
  for (const raylet of candidates) {
    const isPart =
      isOfPackage(process, raylet) ||
      (await isChildOf(proc, pid, raylet)) ||
      (await runsWorkerProgram(proc, pid, raylet));
    // Its number may have gone to another process meanwhile.
    if (isPart) return isStill(proc, process);
  }
  return false;
}

/** Such as the GCS, which lies beside the raylet. */
function isOfPackage({ executable }: ProcessIdentity, raylet: RunningRaylet): boolean {
  if (!raylet.executable.endsWith(RAYLET_FILE)) return false;
  return executable.startsWith(`${raylet.executable.slice(0, -RAYLET_WITHIN.length)}/`);
}

/**
 * The first raylet among the parents of a process; undefined where there is none. It finds one that has started since the
 * raylets of this node were listed.
 * @param rayletAt the raylet that a process is; undefined where it is none
 */
export async function rayletAbove<Found>(
  pid: number,
  rayletAt: (pid: number) => Promise<Found | undefined>,
  { proc = '/proc' }: ProcessSearch = {},
): Promise<Found | undefined> {
  for await (const parent of parentsOf(proc, pid)) {
    const raylet = await rayletAt(parent);
    if (raylet !== undefined) return raylet;
  }
  return undefined;
}

async function isChildOf(proc: string, pid: number, raylet: RunningRaylet): Promise<boolean> {
  for await (const parent of parentsOf(proc, pid)) if (parent === raylet.pid) return isStill(proc, raylet);
  return false;
}

async function* parentsOf(proc: string, pid: number): AsyncGenerator<number> {
  let parent = await readParent(proc, pid);
  for (let step = 0; step < MAX_PARENTS && parent !== undefined && parent > 1; step++) {
    yield parent;
    parent = await readParent(proc, parent);
  }
}

/** A driver is started by a person, with the same Python as the workers. */
async function runsWorkerProgram(
  proc: string,
  pid: number,
  { pid: rayletPid, workerProgram }: RunningRaylet,
): Promise<boolean> {
  if (workerProgram === undefined || !isAbsolute(workerProgram) || workerProgram.split('/').includes('..'))
    return false;
  const answer = await trustedReads
    .run(async () => {
      const [running, expected] = await Promise.all([
        stat(join(proc, `${pid}/exe`)),
        stat(join(proc, `${rayletPid}/root`, workerProgram)),
      ]);
      return running.isFile() && running.dev === expected.dev && running.ino === expected.ino;
    })
    .catch(() => false);
  return answer !== OVERDUE && answer;
}
