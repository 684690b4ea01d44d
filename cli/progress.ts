/** A line on standard error that shows how far a long job is, where a person watches. */
import { stat } from 'node:fs/promises';
import { formatSize } from '../common/units.ts';
import type { Terminal } from './command.ts';

const BAR_LENGTH = 30;
/** Without a known end the line changes every so many bytes. */
const STEP_BYTES = 16 * 1024 * 1024;
/** Back to the start of the line, and erase it (ECMA-48: CR, EL). */
const ERASE_LINE = '\r\u001B[K';

export class Progress {
  readonly #stderr: NodeJS.WritableStream | undefined;
  readonly #totalBytes: number | undefined;
  #bytes = 0;
  /** What the line shows: percent, or steps. */
  #shown = -1;

  /** @param totalBytes what the whole job is; undefined where that is not known */
  constructor({ stderr, isInteractive }: Terminal, totalBytes: number | undefined) {
    this.#stderr = isInteractive ? stderr : undefined;
    this.#totalBytes = totalBytes;
  }

  /** Says that so many bytes more are done. */
  add(bytes: number): void {
    this.#bytes += bytes;
    const total = this.#totalBytes;
    const now =
      total === undefined
        ? Math.floor(this.#bytes / STEP_BYTES)
        : Math.min(100, Math.floor((this.#bytes * 100) / total));
    if (now === this.#shown || this.#stderr === undefined) return;
    this.#shown = now;
    this.#stderr.write(ERASE_LINE + (total === undefined ? formatSize(this.#bytes) : barOf(now, total)));
  }

  /** Takes the line away, so that something else can be written; the next `add` brings it back. */
  clear(): void {
    if (this.#shown === -1) return;
    this.#shown = -1;
    this.#stderr?.write(ERASE_LINE);
  }
}

/** The sizes of the files together; undefined when one of them is no file of a known size, such as a pipe. */
export async function sizeOfFiles(paths: readonly string[]): Promise<number | undefined> {
  const sizes = await Promise.all(paths.map((path) => stat(path).catch(() => undefined)));
  let total = 0;
  for (const size of sizes) {
    if (size === undefined || !size.isFile()) return undefined;
    total += size.size;
  }
  return total;
}

function barOf(percent: number, totalBytes: number): string {
  const done = Math.round((percent * BAR_LENGTH) / 100);
  return `${'█'.repeat(done)}${'░'.repeat(BAR_LENGTH - done)} ${percent} % of ${formatSize(totalBytes)}`;
}
