/**
 * Whether a file's content is its owner's word: rules, tokens, keys, lists of members and settings decide who is watched
 * and who is believed, so whoever may write one may write the watch off.
 *
 * A file is refused when everybody may write it, or may put another in its place: in a folder on its way that everybody
 * may write (with the sticky bit, as /tmp, when it belongs to somebody else). It is warned of when it belongs to another
 * user, or a group may write it. Root and this user are trusted with everything.
 */
import type { Stats } from 'node:fs';
import { lstat, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

const GROUP_WRITES = 0o020;
const EVERYBODY_READS = 0o004;
const EVERYBODY_WRITES = 0o002;
const STICKY = 0o1000;

/** What is wrong with who may write a file, in a few words, and what to do. */
export interface FileTrust {
  /** The file is not to be used. */
  readonly problem?: string;
  /** The file may be used, and somebody should look after it. */
  readonly warning?: string;
}

/** Judges a file by its path. What cannot be read, or is no plain file, is for whoever opens it. */
export async function judgeFile(path: string): Promise<FileTrust> {
  try {
    const file = await stat(path);
    if (!file.isFile()) return {};
    if ((file.mode & EVERYBODY_WRITES) !== 0) return { problem: `everybody may write it: chmod o-w ${path}` };
    let foreign: number | undefined;
    for (const { folder, entry } of [...stepsTo(resolve(path)), ...stepsTo(await realpath(path))]) {
      const [{ mode }, { uid }] = [await stat(folder), await lstat(entry)];
      const isForeign = uid !== 0 && uid !== process.geteuid?.();
      if (isForeign) foreign = uid;
      if ((mode & EVERYBODY_WRITES) === 0) continue;
      if ((mode & STICKY) === 0) return { problem: `everybody may replace ${entry}: chmod o-w ${folder}` };
      if (isForeign) return { problem: `user ${uid} put ${entry} into ${folder}, as everybody may: move it` };
    }
    if (foreign !== undefined) {
      return {
        warning: `user ${foreign} may change it: chown it, with its folders, to root or to this user`,
      };
    }
    return isGroupWritable(file) ? { warning: `group ${file.gid} may write it: chmod g-w ${path}` } : {};
  } catch {
    return {};
  }
}

/** Of a file that holds a secret: whether everybody on the machine may read it. */
export async function isReadByAll(path: string): Promise<boolean> {
  const mode = await stat(path).then(
    (status) => status.mode,
    () => 0,
  );
  return (mode & EVERYBODY_READS) !== 0;
}

/** Every folder on the way to a path, with what the way goes on to in it. */
function stepsTo(path: string): { folder: string; entry: string }[] {
  const steps: { folder: string; entry: string }[] = [];
  for (let entry = path; entry !== dirname(entry); entry = dirname(entry)) {
    steps.push({ folder: dirname(entry), entry });
  }
  return steps;
}

/** The group of this user alone, or of root, is as good as the user. */
function isGroupWritable({ mode, gid }: Stats): boolean {
  return (mode & GROUP_WRITES) !== 0 && gid !== 0 && gid !== process.getegid?.();
}
