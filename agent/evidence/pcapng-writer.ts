/**
 * Writes a few frames as a pcapng section that every analyser opens (draft-ietf-opsawg-pcapng). Little-endian, times
 * in nanoseconds, an interface for each pair of interface and link type. Sections may be put one behind the other:
 * that is one file again.
 */
import type { Frame } from '../capture/source.ts';

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const SECTION_LENGTH_UNKNOWN = 0xffff_ffff_ffff_ffffn;

const OPTION_COMMENT = 1;
const OPTION_INTERFACE_NAME = 2;
const OPTION_TIME_RESOLUTION = 9;
const OPTION_APPLICATION = 4;
const TIME_RESOLUTION_NANOSECONDS = 9;

interface PcapngWriterOptions {
  /** The program that writes, and its version. */
  readonly application: string;
  /** What the section shows, for whoever opens it. */
  readonly comment: string;
  /** Name of an interface by `Frame.interfaceIndex`, where known. */
  readonly interfaceName: (index: number) => string | undefined;
}

export class PcapngWriter {
  readonly #interfaceName: PcapngWriterOptions['interfaceName'];
  readonly #blocks: Buffer[];
  /** Number in the section by link type and index. */
  readonly #interfaces = new Map<string, number>();
  /** Frames so far. */
  packets = 0;

  constructor({ application, comment, interfaceName }: PcapngWriterOptions) {
    this.#interfaceName = interfaceName;
    const body = Buffer.alloc(16);
    body.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
    body.writeUInt16LE(1, 4);
    body.writeBigUInt64LE(SECTION_LENGTH_UNKNOWN, 8);
    const options = [option(OPTION_COMMENT, comment), option(OPTION_APPLICATION, application)];
    this.#blocks = [block(SECTION_HEADER, [body, ...options, option(0, '')])];
  }

  /**
   * Adds a frame.
   * @param kept what is written of its bytes, from the first on; it is copied
   * @param aheadMs the wall clock minus the clock that stamped the frame, in whole milliseconds
   */
  add(frame: Frame, kept: Uint8Array, aheadMs = 0): void {
    const { seconds, nanoseconds, originalLength } = frame;
    const time = BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds) + BigInt(aheadMs) * 1_000_000n;
    const body = Buffer.alloc(20);
    body.writeUInt32LE(this.#numberOf(frame), 0);
    body.writeUInt32LE(Number(BigInt.asUintN(32, time >> 32n)), 4);
    body.writeUInt32LE(Number(BigInt.asUintN(32, time)), 8);
    body.writeUInt32LE(kept.length, 12);
    body.writeUInt32LE(originalLength, 16);
    this.#blocks.push(block(ENHANCED_PACKET, [body, padded(kept)]));
    this.packets++;
  }

  /** The section so far. */
  bytes(): Buffer {
    return Buffer.concat(this.#blocks);
  }

  #numberOf({ interfaceIndex, linkType }: Frame): number {
    const key = `${interfaceIndex} ${linkType}`;
    const known = this.#interfaces.get(key);
    if (known !== undefined) return known;
    const number = this.#interfaces.size;
    this.#interfaces.set(key, number);
    const body = Buffer.alloc(8);
    body.writeUInt16LE(linkType, 0);
    const name = this.#interfaceName(interfaceIndex);
    const options = [
      ...(name === undefined ? [] : [option(OPTION_INTERFACE_NAME, name)]),
      option(OPTION_TIME_RESOLUTION, Buffer.of(TIME_RESOLUTION_NANOSECONDS)),
      option(0, ''),
    ];
    this.#blocks.push(block(INTERFACE_DESCRIPTION, [body, ...options]));
    return number;
  }
}

function block(type: number, parts: readonly Buffer[]): Buffer {
  const length = 12 + parts.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(type, 0);
  head.writeUInt32LE(length, 4);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(length, 0);
  return Buffer.concat([head, ...parts, tail]);
}

function option(code: number, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  const head = Buffer.alloc(4);
  head.writeUInt16LE(code, 0);
  head.writeUInt16LE(bytes.length, 2);
  return Buffer.concat([head, padded(bytes)]);
}

/** Fills up to a multiple of four bytes; a copy. */
function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
