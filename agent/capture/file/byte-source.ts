/** Bytes of a capture, from wherever they come, at the pace at which they are asked for. */
import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';

export interface ByteSource {
  /**
   * Fills the start of `target` with what comes next: at least one byte, unless the end is reached.
   *
   * @returns how many bytes; 0 at the end, and after `close`
   */
  read(target: Uint8Array): Promise<number>;
  /** Ends a pending `read` and lets go of the file or stream. Safe to call twice. */
  close(): Promise<void>;
}

/** Bytes of a regular file that are read before other work gets its turn: a few milliseconds' worth. */
const BYTES_A_TURN = 4 * 1024 * 1024;

/** A regular file. Its reads block: one that goes through the thread pool takes 30 µs of CPU time more. */
export class FileBytes implements ByteSource {
  readonly #handle: FileHandle;
  #bytesOfTurn = 0;
  #isClosed = false;

  /** @param handle open for reading; `close` closes it */
  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async read(target: Uint8Array): Promise<number> {
    if (this.#bytesOfTurn >= BYTES_A_TURN) {
      this.#bytesOfTurn = 0;
      await nextTurn();
    }
    if (this.#isClosed) return 0;
    const count = readSync(this.#handle.fd, target, 0, target.length, null);
    this.#bytesOfTurn += count;
    return count;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#handle.close();
  }
}

/** What has a path and is no regular file: a named pipe, a device. A read waits until there is something. */
export class PipeBytes implements ByteSource {
  readonly #handle: FileHandle;
  #isClosed = false;

  /** @param handle open for reading; `close` closes it */
  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async read(target: Uint8Array): Promise<number> {
    if (this.#isClosed) return 0;
    const { bytesRead } = await this.#handle.read(target, 0, target.length, null);
    return bytesRead;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#handle.close();
  }
}

/** A stream, such as standard input. It is paused when let go of, not destroyed: it is not ours. */
export class StreamBytes implements ByteSource {
  readonly #stream: NodeJS.ReadableStream;
  #chunk: Uint8Array = new Uint8Array(0);
  #isEnded = false;
  #error: Error | undefined = undefined;
  #wake: () => void = () => {};
  readonly #onReadable = (): void => this.#wake();
  readonly #onEnd = (): void => {
    this.#isEnded = true;
    this.#wake();
  };
  readonly #onError = (error: Error): void => {
    this.#error = error;
    this.#wake();
  };

  constructor(stream: NodeJS.ReadableStream) {
    this.#stream = stream;
    stream.on('readable', this.#onReadable);
    stream.on('end', this.#onEnd);
    stream.on('close', this.#onEnd);
    stream.on('error', this.#onError);
  }

  async read(target: Uint8Array): Promise<number> {
    while (this.#chunk.length === 0) {
      const chunk = this.#isEnded ? null : this.#stream.read();
      if (chunk !== null) {
        this.#chunk = typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk;
      } else if (this.#error !== undefined) {
        throw this.#error;
      } else if (this.#isEnded) {
        return 0;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
    const piece = this.#chunk.subarray(0, target.length);
    target.set(piece);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece.length;
  }

  close(): Promise<void> {
    this.#stream.off('readable', this.#onReadable);
    this.#stream.off('end', this.#onEnd);
    this.#stream.off('close', this.#onEnd);
    this.#stream.off('error', this.#onError);
    this.#stream.pause();
    this.#chunk = new Uint8Array(0);
    this.#onEnd();
    return Promise.resolve();
  }
}

/** Another source, of which every read is told. */
export class ToldBytes implements ByteSource {
  readonly #source: ByteSource;
  readonly #onRead: (bytes: number) => void;

  /** @param onRead takes the number of bytes of each read */
  constructor(source: ByteSource, onRead: (bytes: number) => void) {
    this.#source = source;
    this.#onRead = onRead;
  }

  async read(target: Uint8Array): Promise<number> {
    const count = await this.#source.read(target);
    this.#onRead(count);
    return count;
  }

  close(): Promise<void> {
    return this.#source.close();
  }
}
