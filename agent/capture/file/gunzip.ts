/** Unpacks gzip (RFC 1952) on the way, a piece of the packed bytes at a time. */
import { createGunzip, type Gunzip } from 'node:zlib';
import type { ByteSource } from './byte-source.ts';
import { PlasmawatchError, systemCodeOf } from '../../../common/errors.ts';

/**
 * Packed bytes that are fed at a time. They may unpack to 1032 times as much, which is held until it is read: at the
 * very worst 16 MiB.
 */
const PIECE_BYTES = 16 * 1024;
/** Unpacked bytes come in pieces of this size; what a fault in the packed bytes can take with it is no more. */
const UNPACKED_PIECE_BYTES = 64 * 1024;

const GZIP_MAGIC = 0x1f8b;

/** Whether a file that starts with these two bytes, read big-endian, is packed with gzip. */
export function isGzipMagic(magic: number): boolean {
  return magic === GZIP_MAGIC;
}

/**
 * The unpacked bytes of a packed source. `read` rejects with PW_CAPTURE_TRUNCATED or PW_CAPTURE_CORRUPT when the packed
 * bytes are cut or wrong, after it has handed out all that was unpacked before.
 */
export class GunzipBytes implements ByteSource {
  readonly #packed: ByteSource;
  readonly #gunzip: Gunzip = createGunzip({ chunkSize: UNPACKED_PIECE_BYTES });
  readonly #piece = new Uint8Array(PIECE_BYTES);
  #head: Uint8Array;
  #unpacked: Uint8Array[] = [];
  #isEnded = false;
  #error: Error | undefined = undefined;
  #settle: () => void = () => {};

  /**
   * @param head packed bytes that have been read from `packed` already
   * @param packed the rest of them; `close` closes it
   */
  constructor(head: Uint8Array, packed: ByteSource) {
    this.#head = head;
    this.#packed = packed;
    // Flowing, and paced by what is written: a stream that fails throws away what it has not handed out yet.
    this.#gunzip.on('data', (chunk: Uint8Array) => this.#unpacked.push(chunk));
    this.#gunzip.on('end', () => {
      this.#isEnded = true;
      this.#settle();
    });
    this.#gunzip.on('error', (error) => {
      this.#error = error;
      this.#settle();
    });
  }

  async read(target: Uint8Array): Promise<number> {
    for (;;) {
      const chunk = this.#unpacked[0];
      if (chunk !== undefined) return this.#take(chunk, target);
      if (this.#error !== undefined) throw faultOf(this.#error);
      if (this.#isEnded) return 0;
      await this.#unpackMore();
    }
  }

  async close(): Promise<void> {
    this.#isEnded = true;
    this.#unpacked = [];
    this.#gunzip.destroy();
    this.#settle();
    await this.#packed.close();
  }

  #take(chunk: Uint8Array, target: Uint8Array): number {
    const piece = chunk.subarray(0, target.length);
    target.set(piece);
    if (piece.length === chunk.length) this.#unpacked.shift();
    else this.#unpacked[0] = chunk.subarray(piece.length);
    return piece.length;
  }

  async #unpackMore(): Promise<void> {
    const packed = await this.#nextPiece();
    if (this.#isEnded || this.#error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#settle = resolve;
      if (packed.length > 0) this.#gunzip.write(packed, () => resolve());
      else this.#gunzip.end();
    });
  }

  async #nextPiece(): Promise<Uint8Array> {
    if (this.#head.length > 0) {
      const piece = this.#head.subarray(0, PIECE_BYTES);
      this.#head = this.#head.subarray(piece.length);
      return piece;
    }
    return this.#piece.subarray(0, await this.#packed.read(this.#piece));
  }
}

function faultOf(error: Error): PlasmawatchError {
  // zlib's name for "more input needed" at the end of the input.
  if (systemCodeOf(error) === 'Z_BUF_ERROR') {
    return new PlasmawatchError('PW_CAPTURE_TRUNCATED', 'the gzip file is cut short', { cause: error });
  }
  return new PlasmawatchError('PW_CAPTURE_CORRUPT', `the gzip file is damaged: ${error.message}`, {
    cause: error,
  });
}
