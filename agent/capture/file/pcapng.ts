/**
 * The capture format of Wireshark: draft-ietf-opsawg-pcapng, section 4. A file is a row of blocks; a section header
 * settles the byte order of those that follow it, an interface description what their packets' fields mean.
 */
import {
  CaptureFault,
  MAX_CAPTURED_BYTES,
  MAX_RECORD_BYTES,
  clampSeconds,
  type CaptureFormat,
} from './format.ts';
import { TimestampUnit } from './timestamp-unit.ts';
import { Frame, type FrameSink } from '../source.ts';

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const OLD_PACKET = 2;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;

/** Every block: type, total length, body, total length again. */
const BLOCK_TYPE = 0;
const TOTAL_LENGTH = 4;
const TRAILER_LENGTH = 4;
const MINIMUM_BLOCK_LENGTH = 12;

const BYTE_ORDER_MAGIC = 8;
const BYTE_ORDER_MAGIC_VALUE = 0x1a2b3c4d;
const SECTION_MAJOR = 12;
const SECTION_MINOR = 14;
const SECTION_OPTIONS = 24;
const SECTION_MINIMUM = 28;

const INTERFACE_LINK_TYPE = 8;
const INTERFACE_SNAP_LENGTH = 12;
const INTERFACE_OPTIONS = 16;
const INTERFACE_MINIMUM = 20;

const ENHANCED_INTERFACE = 8;
/** The interface of the old block has 16 bits, a count of drops the other 16; all else is as in the enhanced one. */
const PACKET_TIME_HIGH = 12;
const PACKET_TIME_LOW = 16;
const PACKET_CAPTURED_LENGTH = 20;
const PACKET_ORIGINAL_LENGTH = 24;
const PACKET_DATA = 28;
const PACKET_MINIMUM = 32;

const SIMPLE_ORIGINAL_LENGTH = 8;
const SIMPLE_DATA = 12;
const SIMPLE_MINIMUM = 16;

const OPTION_CODE = 0;
const OPTION_LENGTH = 2;
const OPTION_VALUE = 4;
const OPTION_END = 0;
const OPTION_INTERFACE_NAME = 2;
const OPTION_TIME_RESOLUTION = 9;
const OPTION_TIME_OFFSET = 14;

/** Blocks that are not read are skipped piece by piece from this length on: they need not be there as a whole. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/** Interfaces that a section may describe: each is kept until the section ends. */
const MAX_INTERFACES = 65_536;
const MAX_NAME_BYTES = 256;

/** What a packet's block needs to know of its interface. */
interface CaptureInterface {
  readonly linkType: number;
  /** Bytes that are kept of a packet; 0: no limit. */
  readonly snapLength: number;
  readonly unit: TimestampUnit;
  /** Seconds to add to each time. */
  readonly offsetSeconds: number;
  readonly name: string | undefined;
}

/** Whether a file that starts with these four bytes, read big-endian, is a pcapng capture: the same in both orders. */
export function isPcapngMagic(magic: number): boolean {
  return magic === SECTION_HEADER;
}

export class PcapngFormat implements CaptureFormat {
  packets = 0;
  readonly #frame = new Frame();
  readonly #interfaces: CaptureInterface[] = [];
  #isLittleEndian = false;
  /** Of a long block without packets: bytes still to be skipped before its trailer, and what the trailer must say. */
  #skipBytes = 0;
  #expectedTrailer = 0;

  parse(view: DataView, start: number, end: number, sink: FrameSink): number {
    this.#frame.view = view;
    let position = start;
    for (;;) {
      if (this.#expectedTrailer > 0) {
        const afterBlock = this.#skipLongBlock(view, position, end);
        if (this.#expectedTrailer > 0) return afterBlock;
        position = afterBlock;
      }
      if (end - position < MINIMUM_BLOCK_LENGTH) return position;
      const type = view.getUint32(position + BLOCK_TYPE, this.#isLittleEndian);
      if (type === SECTION_HEADER) this.#noteByteOrder(view, position);
      const length = view.getUint32(position + TOTAL_LENGTH, this.#isLittleEndian);
      checkBlockLength(length, position);
      if (length > MAX_UNREAD_BYTES && !isKnown(type)) {
        this.#skipBytes = length - TRAILER_LENGTH;
        this.#expectedTrailer = length;
        continue;
      }
      if (length > MAX_RECORD_BYTES)
        throw corrupt(`a block claims ${length} bytes, more than the ${MAX_RECORD_BYTES} possible`, position);
      if (length > end - position) return position;
      this.#checkTrailer(view, position + length - TRAILER_LENGTH, length, position);
      this.#parseBlock(view, position, type, length, sink);
      position += length;
    }
  }

  finish(view: DataView, start: number, length: number): void {
    if (this.#expectedTrailer > 0) {
      throw truncated(`a block of ${this.#expectedTrailer} bytes is cut short`, start);
    }
    if (length === 0) return;
    if (length < MINIMUM_BLOCK_LENGTH) {
      throw truncated(
        `a block is cut short: at least ${MINIMUM_BLOCK_LENGTH} bytes expected, ${length} there`,
        start,
      );
    }
    const expected = view.getUint32(start + TOTAL_LENGTH, this.#isLittleEndian);
    throw truncated(`a block is cut short: ${expected} bytes expected, ${length} there`, start);
  }

  interfaceName(index: number): string | undefined {
    return this.#interfaces[index]?.name;
  }

  #parseBlock(view: DataView, start: number, type: number, length: number, sink: FrameSink): void {
    switch (type) {
      case ENHANCED_PACKET:
        return this.#parsePacket(
          view,
          start,
          length,
          view.getUint32(start + ENHANCED_INTERFACE, this.#isLittleEndian),
          sink,
        );
      case OLD_PACKET:
        return this.#parsePacket(
          view,
          start,
          length,
          view.getUint16(start + ENHANCED_INTERFACE, this.#isLittleEndian),
          sink,
        );
      case SIMPLE_PACKET:
        return this.#parseSimplePacket(view, start, length, sink);
      case INTERFACE_DESCRIPTION:
        return this.#parseInterface(view, start, length);
      case SECTION_HEADER:
        return this.#parseSection(view, start, length);
      default:
    }
  }

  #parsePacket(view: DataView, start: number, length: number, interfaceIndex: number, sink: FrameSink): void {
    checkMinimum(length, PACKET_MINIMUM, 'packet', start);
    const { unit, offsetSeconds, linkType } = this.#interfaceAt(interfaceIndex, start);
    const captured = view.getUint32(start + PACKET_CAPTURED_LENGTH, this.#isLittleEndian);
    checkCaptured(captured, length - PACKET_MINIMUM, start);
    const frame = this.#frame;
    frame.linkType = linkType;
    frame.interfaceIndex = interfaceIndex;
    frame.offset = start + PACKET_DATA;
    frame.capturedLength = captured;
    frame.originalLength = view.getUint32(start + PACKET_ORIGINAL_LENGTH, this.#isLittleEndian);
    unit.toTime(
      view.getUint32(start + PACKET_TIME_HIGH, this.#isLittleEndian),
      view.getUint32(start + PACKET_TIME_LOW, this.#isLittleEndian),
      frame,
    );
    frame.seconds = clampSeconds(frame.seconds + offsetSeconds);
    this.packets++;
    sink.frame(frame);
  }

  /** A simple packet has no time: it gets the epoch. It belongs to the first interface. */
  #parseSimplePacket(view: DataView, start: number, length: number, sink: FrameSink): void {
    checkMinimum(length, SIMPLE_MINIMUM, 'simple packet', start);
    const { linkType, snapLength } = this.#interfaceAt(0, start);
    const original = view.getUint32(start + SIMPLE_ORIGINAL_LENGTH, this.#isLittleEndian);
    const captured = snapLength > 0 && snapLength < original ? snapLength : original;
    checkCaptured(captured, length - SIMPLE_MINIMUM, start);
    const frame = this.#frame;
    frame.linkType = linkType;
    frame.interfaceIndex = 0;
    frame.offset = start + SIMPLE_DATA;
    frame.capturedLength = captured;
    frame.originalLength = original;
    frame.seconds = 0;
    frame.nanoseconds = 0;
    this.packets++;
    sink.frame(frame);
  }

  #parseSection(view: DataView, start: number, length: number): void {
    checkMinimum(length, SECTION_MINIMUM, 'section header', start);
    const major = view.getUint16(start + SECTION_MAJOR, this.#isLittleEndian);
    const minor = view.getUint16(start + SECTION_MINOR, this.#isLittleEndian);
    // 1.2 was written by mistake for what is 1.0 (draft-ietf-opsawg-pcapng, section 4.1).
    if (major !== 1 || (minor !== 0 && minor !== 2)) {
      throw unsupported(`pcapng version ${major}.${minor} is not supported, only 1.0 and 1.2`, start);
    }
    this.#readOptions(view, start + SECTION_OPTIONS, start + length - TRAILER_LENGTH, () => {});
    this.#interfaces.length = 0;
  }

  #parseInterface(view: DataView, start: number, length: number): void {
    checkMinimum(length, INTERFACE_MINIMUM, 'interface description', start);
    if (this.#interfaces.length === MAX_INTERFACES) {
      throw unsupported(`a section describes more than ${MAX_INTERFACES} interfaces`, start);
    }
    let unit = TimestampUnit.MICROSECONDS;
    let offsetSeconds = 0;
    let name: string | undefined;
    this.#readOptions(
      view,
      start + INTERFACE_OPTIONS,
      start + length - TRAILER_LENGTH,
      (code, value, size) => {
        if (code === OPTION_TIME_RESOLUTION && size >= 1) unit = new TimestampUnit(view.getUint8(value));
        if (code === OPTION_TIME_OFFSET && size >= 8) {
          offsetSeconds = Number(view.getBigInt64(value, this.#isLittleEndian));
        }
        if (code === OPTION_INTERFACE_NAME) name = readText(view, value, Math.min(size, MAX_NAME_BYTES));
      },
    );
    this.#interfaces.push({
      linkType: view.getUint16(start + INTERFACE_LINK_TYPE, this.#isLittleEndian),
      snapLength: view.getUint32(start + INTERFACE_SNAP_LENGTH, this.#isLittleEndian),
      unit,
      offsetSeconds,
      name,
    });
  }

  #readOptions(
    view: DataView,
    start: number,
    end: number,
    take: (code: number, value: number, size: number) => void,
  ): void {
    let position = start;
    while (end - position >= OPTION_VALUE) {
      const code = view.getUint16(position + OPTION_CODE, this.#isLittleEndian);
      const size = view.getUint16(position + OPTION_LENGTH, this.#isLittleEndian);
      if (code === OPTION_END) return;
      const value = position + OPTION_VALUE;
      if (size > end - value) {
        throw corrupt(`option ${code} claims ${size} bytes, but its block has ${end - value} left`, position);
      }
      take(code, value, size);
      position = value + roundUpTo4(size);
    }
  }

  #interfaceAt(index: number, position: number): CaptureInterface {
    const found = this.#interfaces[index];
    if (found !== undefined) return found;
    const count = this.#interfaces.length;
    throw corrupt(
      `a packet is of interface ${index}, but the section has described ${count} so far`,
      position,
    );
  }

  /** A section header's own byte order must be known before its length can be read. */
  #noteByteOrder(view: DataView, start: number): void {
    const bigEndian = view.getUint32(start + BYTE_ORDER_MAGIC);
    const littleEndian = view.getUint32(start + BYTE_ORDER_MAGIC, true);
    if (bigEndian !== BYTE_ORDER_MAGIC_VALUE && littleEndian !== BYTE_ORDER_MAGIC_VALUE) {
      const hex = bigEndian.toString(16).padStart(8, '0');
      throw corrupt(`a section header has byte-order magic ${hex} instead of 1a2b3c4d`, start);
    }
    this.#isLittleEndian = littleEndian === BYTE_ORDER_MAGIC_VALUE;
  }

  /** Skips what is there of a long block; once its trailer was checked, `#expectedTrailer` is 0. */
  #skipLongBlock(view: DataView, start: number, end: number): number {
    const skipped = Math.min(this.#skipBytes, end - start);
    this.#skipBytes -= skipped;
    const position = start + skipped;
    if (this.#skipBytes > 0 || end - position < TRAILER_LENGTH) return position;
    this.#checkTrailer(view, position, this.#expectedTrailer, position);
    this.#expectedTrailer = 0;
    return position + TRAILER_LENGTH;
  }

  #checkTrailer(view: DataView, position: number, length: number, blockPosition: number): void {
    const trailer = view.getUint32(position, this.#isLittleEndian);
    if (trailer !== length) {
      throw corrupt(`a block's length is ${length} at its start and ${trailer} at its end`, blockPosition);
    }
  }
}

/** Whether blocks of this type are read; all others are skipped. */
function isKnown(type: number): boolean {
  switch (type) {
    case ENHANCED_PACKET:
    case OLD_PACKET:
    case SIMPLE_PACKET:
    case INTERFACE_DESCRIPTION:
    case SECTION_HEADER:
      return true;
    default:
      return false;
  }
}

function checkBlockLength(length: number, position: number): void {
  if (length < MINIMUM_BLOCK_LENGTH || length % 4 !== 0) {
    const rule = `a multiple of 4, at least ${MINIMUM_BLOCK_LENGTH}`;
    throw corrupt(`a block claims a length of ${length}: it must be ${rule}`, position);
  }
}

function checkMinimum(length: number, minimum: number, what: string, position: number): void {
  if (length < minimum)
    throw corrupt(`a ${what} block has ${length} bytes, less than the ${minimum} needed`, position);
}

function checkCaptured(captured: number, available: number, position: number): void {
  if (captured > MAX_CAPTURED_BYTES) {
    throw corrupt(
      `a packet claims ${captured} captured bytes, more than the ${MAX_CAPTURED_BYTES} possible`,
      position,
    );
  }
  if (captured > available) {
    throw corrupt(`a packet claims ${captured} captured bytes, but its block has ${available}`, position);
  }
}

function readText(view: DataView, offset: number, length: number): string {
  return new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + offset, length));
}

function roundUpTo4(length: number): number {
  return (length + 3) & ~3;
}

function corrupt(message: string, position: number): CaptureFault {
  return new CaptureFault('PW_CAPTURE_CORRUPT', message, position);
}

function truncated(message: string, position: number): CaptureFault {
  return new CaptureFault('PW_CAPTURE_TRUNCATED', message, position);
}

function unsupported(message: string, position: number): CaptureFault {
  return new CaptureFault('PW_CAPTURE_UNSUPPORTED', message, position);
}
