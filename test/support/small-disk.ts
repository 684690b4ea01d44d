/** A file system of its own that can be filled up: a tmpfs, mounted in a folder of the test's. */
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { systemCodeOf } from '../../common/errors.ts';

const BLOCK_BYTES = 4096;

/** What a test needs for a disk and does not have here, or undefined: for `describe.skipIf` and its title. */
export function missingForDisks(): string | undefined {
  if (process.platform !== 'linux') return 'Linux';
  if (process.getuid?.() !== 0) return 'root';
  return spawnSync('unshare', ['--mount', 'true']).status === 0 ? undefined : 'the right to mount';
}

export class SmallDisk {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Makes the folder and mounts a file system of this size (`4m`) there; the caller unmounts it. */
  static mount(path: string, size: string): SmallDisk {
    mkdirSync(path, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=0700`, 'tmpfs', path]);
    return new SmallDisk(path);
  }

  /** Leaves no byte. */
  fill(): void {
    const file = openSync(join(this.path, 'ballast'), 'a');
    try {
      for (;;) writeSync(file, Buffer.alloc(BLOCK_BYTES));
    } catch (error) {
      if (systemCodeOf(error) !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
  }

  /** Takes back what `fill` took. */
  free(): void {
    rmSync(join(this.path, 'ballast'), { force: true });
  }

  /** Lazily, so that a test that failed with a file open leaves no mount behind. */
  unmount(): void {
    execFileSync('umount', ['--lazy', this.path]);
  }
}
