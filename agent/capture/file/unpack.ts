/** Unpacks gzip (RFC 1952) and zstd (RFC 8878) on the way, a piece of the packed bytes at a time. */
import type { Transform } from 'node:stream';
import * as zlib from 'node:zlib';
import type { ByteSource } from './byte-source.ts';
import { PlasmawatchError, systemCodeOf } from '../../../common/errors.ts';

/** Packed bytes that are fed at a time. */
const PIECE_BYTES = 16 * 1024;
/** Unpacked bytes come in pieces of this size; what a fault in the packed bytes can take with it is no more. */
const UNPACKED_PIECE_BYTES = 64 * 1024;
/** Unpacked bytes that are held until they are read: a piece may unpack to 1,032 times its size, zstd's to 32,768. */
const MAX_HELD_BYTES = 4 * 1024 * 1024;

/** What a file may be packed with. */
export interface Packing {
  readonly name: string;
  /** Makes the stream that unpacks; undefined where this Node has none. */
  readonly createUnpacker: (() => Transform) | undefined;
}

const GZIP_MAGIC = 0x1f8b;
const ZSTD_MAGIC = 0x28b5_2ffd;

const GZIP: Packing = {
  name: 'gzip',
  createUnpacker: () => zlib.createGunzip({ chunkSize: UNPACKED_PIECE_BYTES }),
};

/** Node has zstd from 22.15 on; the types of older ones do not know it. */
const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: object) => Transform };
const ZSTD: Packing = {
  name: 'zstd',
  createUnpacker:
    createZstdDecompress === undefined
      ? undefined
      : () => createZstdDecompress({ chunkSize: UNPACKED_PIECE_BYTES }),
};

/** The packing of a file that starts with these four bytes, read big-endian; undefined where it is none of ours. */
export function packingOf(magic: number): Packing | undefined {
  if (magic >>> 16 === GZIP_MAGIC) return GZIP;
  return magic === ZSTD_MAGIC ? ZSTD : undefined;
}

/**
 * The unpacked bytes of a packed source. `read` rejects with PW_CAPTURE_TRUNCATED or PW_CAPTURE_CORRUPT when the packed
 * bytes are cut or wrong, after it has handed out all that was unpacked before.
 */
export class UnpackedBytes implements ByteSource {
  readonly #packed: ByteSource;
  readonly #name: string;
  readonly #createUnpacker: () => Transform;
  #unpacker: Transform;
  readonly #piece = new Uint8Array(PIECE_BYTES);
  #head: Uint8Array;
  #unpacked: Uint8Array[] = [];
  #heldBytes = 0;
  /** What the unpacker has been fed with and may not have used up. */
  #fed: Uint8Array = new Uint8Array(0);
  /** Packed bytes that the unpacker has used up before that. */
  #usedBefore = 0;
  #isFed = false;
  #isEnded = false;
  #error: Error | undefined = undefined;
  #wake: () => void = () => {};

  /**
   * @param packing its name, and what makes streams that unpack it
   * @param head packed bytes that have been read from `packed` already
   * @param packed the rest of them; `close` closes it
   */
  constructor(
    packing: { name: string; createUnpacker: () => Transform },
    head: Uint8Array,
    packed: ByteSource,
  ) {
    this.#name = packing.name;
    this.#createUnpacker = packing.createUnpacker;
    this.#head = head;
    this.#packed = packed;
    this.#unpacker = this.#startUnpacker();
  }

  async read(target: Uint8Array): Promise<number> {
    for (;;) {
      const chunk = this.#unpacked[0];
      if (chunk !== undefined) return this.#take(chunk, target);
      if (this.#error !== undefined) throw faultOf(this.#name, this.#error);
      if (this.#isEnded) return 0;
      await this.#unpackMore();
    }
  }

  async close(): Promise<void> {
    this.#isEnded = true;
    this.#unpacked = [];
    this.#unpacker.destroy();
    this.#wake();
    await this.#packed.close();
  }

  #take(chunk: Uint8Array, target: Uint8Array): number {
    const piece = chunk.subarray(0, target.length);
    target.set(piece);
    this.#heldBytes -= piece.length;
    if (piece.length === chunk.length) this.#unpacked.shift();
    else this.#unpacked[0] = chunk.subarray(piece.length);
    return piece.length;
  }

  #startUnpacker(): Transform {
    const unpacker = this.#createUnpacker();
    // Flowing, so that it holds nothing back: a stream that fails throws away what it has not handed out yet.
    unpacker.on('data', (chunk: Uint8Array) => {
      this.#unpacked.push(chunk);
      this.#heldBytes += chunk.length;
      if (this.#heldBytes < MAX_HELD_BYTES) return;
      unpacker.pause();
      this.#wake();
    });
    unpacker.on('end', () => this.#unpackerEnded(unpacker));
    unpacker.on('error', (error) => {
      this.#error = error;
      this.#wake();
    });
    return unpacker;
  }

  /** Node stops at the end of a zstd frame, though another may follow in the same piece: go on with that. */
  #unpackerEnded(unpacker: Transform): void {
    const used =
      'bytesWritten' in unpacker ? Number(unpacker.bytesWritten) - this.#usedBefore : this.#fed.length;
    const rest = this.#fed.subarray(used);
    if (this.#name !== ZSTD.name || rest.length === 0) {
      this.#isEnded = true;
      this.#wake();
      return;
    }
    this.#unpacker = this.#startUnpacker();
    this.#usedBefore = 0;
    this.#feed(rest);
  }

  /** Waits until there is more, the last piece is used up, or all is over. */
  async #unpackMore(): Promise<void> {
    const packed = this.#isFed ? undefined : await this.#nextPiece();
    if (this.#isEnded || this.#error !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#unpacker.resume();
      if (packed !== undefined) this.#feed(packed);
    });
  }

  #feed(packed: Uint8Array): void {
    this.#isFed = true;
    this.#fed = packed;
    if (packed.length === 0) {
      this.#unpacker.end();
      return;
    }
    const unpacker = this.#unpacker;
    unpacker.write(packed, () => {
      // The frame has ended within this piece, and another unpacker has the rest of it.
      if (unpacker !== this.#unpacker) return;
      this.#usedBefore += packed.length;
      this.#isFed = false;
      this.#wake();
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

function faultOf(name: string, error: Error): PlasmawatchError {
  // zlib's name for "more input needed" at the end of the input; Node uses it for zstd, too.
  if (systemCodeOf(error) === 'Z_BUF_ERROR') {
    return new PlasmawatchError('PW_CAPTURE_TRUNCATED', `the ${name} file is cut short`, { cause: error });
  }
  return new PlasmawatchError('PW_CAPTURE_CORRUPT', `the ${name} file is damaged: ${error.message}`, {
    cause: error,
  });
}
