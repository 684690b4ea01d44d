/**
 * Whether a file's content is its owner's word: rules, tokens, keys, lists of members and settings decide who is watched
 * and who is believed, so whoever may write one may write the watch off.
 *
 * A file is refused when everybody may write it, or may put another in its place: in a folder on its way that everybody
 * may write (with the sticky bit, as /tmp, when it belongs to somebody else), unless it is mounted read-only. It is warned of when it belongs to another
 * user, or a group may write it. Root and this user are trusted with everything.
 */
import type { Stats } from 'node:fs';
import { lstat, readFile, readlink, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join } from 'node:path';

const GROUP_WRITES = 0o020;
const EVERYBODY_READS = 0o004;
const EVERYBODY_WRITES = 0o002;
const STICKY = 0o1000;
/** As many as the kernel follows (path_resolution(7)). */
const MAX_LINKS = 40;

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
    let shared: string | undefined;
    for (const { folder, entry } of await stepsTo(isAbsolute(path) ? path : `${process.cwd()}/${path}`)) {
      const [{ mode }, { uid }] = [await stat(folder), await lstat(entry)];
      const isForeign = uid !== 0 && uid !== process.geteuid?.();
      if (isForeign) foreign = uid;
      if ((mode & EVERYBODY_WRITES) === 0) continue;
      if ((mode & STICKY) !== 0 && !isForeign) continue;
      if (await isMountedReadOnly(folder)) shared = folder;
      else if (isForeign)
        return { problem: `user ${uid} put ${entry} into ${folder}, as everybody may: move it` };
      else return { problem: `everybody may replace ${entry}: chmod o-w ${folder}` };
    }
    if (shared !== undefined) {
      return {
        warning: `everybody may write to ${shared} where it is not mounted read-only: chmod o-w there`,
      };
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

/**
 * Whether a folder was mounted here read-only, itself and not with all around it: so Kubernetes mounts the folder of a ConfigMap, with
 * mode 0777. For a service of systemd the whole machine may be read-only (ProtectSystem=), and is not for others.
 */
async function isMountedReadOnly(folder: string): Promise<boolean> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  // Id, parent, device, root, where, how (proc_pid_mountinfo(5)); of several at one place the last one counts.
  const here = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .findLast(([, , , , where = '']) => unescapeOctal(where) === folder);
  return here?.[5]?.split(',').includes('ro') === true;
}

/** The kernel writes a space as `\040`. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}

/**
 * Every folder on the way to a file, with what the way goes on to in it, as the kernel goes it: through each link, and through what
 * a link's own target leads through.
 * @param path absolute
 */
async function stepsTo(path: string): Promise<{ folder: string; entry: string }[]> {
  const steps: { folder: string; entry: string }[] = [];
  const ahead = path.split('/').toReversed();
  let folder = '/';
  for (let links = 0; ahead.length > 0;) {
    const name = ahead.pop() ?? '';
    if (name === '' || name === '.') continue;
    const entry = name === '..' ? dirname(folder) : join(folder, name);
    if (name !== '..') steps.push({ folder, entry });
    if ((await lstat(entry)).isSymbolicLink()) {
      if (++links > MAX_LINKS) throw new Error('too many links');
      const target = await readlink(entry);
      ahead.push(...target.split('/').toReversed());
      if (isAbsolute(target)) folder = '/';
    } else folder = entry;
  }
  return steps;
}

/** The group of this user alone, or of root, is as good as the user. */
function isGroupWritable({ mode, gid }: Stats): boolean {
  return (mode & GROUP_WRITES) !== 0 && gid !== 0 && gid !== process.getegid?.();
}
