/**
 * The classic capture format of libpcap: draft-ietf-opsawg-pcap, sections 4 and 5; older and modified variants as in
 * libpcap's sf-pcap.c. Byte order and unit of time are settled once, in the file header.
 */
import { CaptureFault, MAX_CAPTURED_BYTES, type CaptureFormat } from './format.ts';
import { Frame, type FrameSink } from '../source.ts';

/** The first four bytes of the file, as they read in the byte order of the machine that wrote it. */
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
/** Alexey Kuznetsov's patched libpcap: microseconds, and eight more bytes in each record header. */
const MAGIC_MODIFIED = 0xa1b2cd34;

const VERSION_MAJOR = 4;
const VERSION_MINOR = 6;
const LINK_TYPE = 20;
const FILE_HEADER_LENGTH = 24;
/** The upper bits tell of frame check sequences. */
const LINK_TYPE_MASK = 0x03ff_ffff;

const SECONDS = 0;
const FRACTION = 4;
const CAPTURED_LENGTH = 8;
const ORIGINAL_LENGTH = 12;
const RECORD_HEADER_LENGTH = 16;
const MODIFIED_RECORD_HEADER_LENGTH = 24;

const SUPPORTED_MAJOR = 2;
const NEWEST_MINOR = 4;
/** Before this minor version the two lengths stood the other way round; in this one, depending on the writer. */
const LENGTHS_SETTLED_MINOR = 3;

/** Whether a file that starts with these four bytes, read big-endian, is a classic capture. */
export function isPcapMagic(magic: number): boolean {
  return isMagic(magic) || isMagic(swapBytes(magic));
}

export class PcapFormat implements CaptureFormat {
  packets = 0;
  readonly #frame = new Frame();
  #hasHeader = false;
  #isLittleEndian = false;
  #recordHeaderLength = RECORD_HEADER_LENGTH;
  #nanosecondsPerUnit = 1000;
  #minorVersion = NEWEST_MINOR;

  parse(view: DataView, start: number, end: number, sink: FrameSink): number {
    let position = start;
    if (!this.#hasHeader) {
      if (end - start < FILE_HEADER_LENGTH) return start;
      this.#parseHeader(view, start);
      position += FILE_HEADER_LENGTH;
    }
    return this.#parseRecords(view, position, end, sink);
  }

  finish(view: DataView, start: number, length: number): void {
    if (!this.#hasHeader) {
      throw truncated(
        `the file header is cut short: ${FILE_HEADER_LENGTH} bytes expected, ${length} there`,
        start,
      );
    }
    if (length === 0) return;
    const headerLength = this.#recordHeaderLength;
    if (length < headerLength) {
      throw truncated(`a packet header is cut short: ${headerLength} bytes expected, ${length} there`, start);
    }
    const first = view.getUint32(start + CAPTURED_LENGTH, this.#isLittleEndian);
    const second = view.getUint32(start + ORIGINAL_LENGTH, this.#isLittleEndian);
    const captured = areLengthsSwapped(this.#minorVersion, first, second) ? second : first;
    throw truncated(
      `a packet is cut short: ${captured} bytes expected, ${length - headerLength} there`,
      start,
    );
  }

  interfaceName(): undefined {
    return undefined;
  }

  #parseHeader(view: DataView, start: number): void {
    const bigEndian = view.getUint32(start);
    this.#isLittleEndian = !isMagic(bigEndian);
    const magic = view.getUint32(start, this.#isLittleEndian);
    if (magic === MAGIC_NANOSECONDS) this.#nanosecondsPerUnit = 1;
    if (magic === MAGIC_MODIFIED) this.#recordHeaderLength = MODIFIED_RECORD_HEADER_LENGTH;
    const major = view.getUint16(start + VERSION_MAJOR, this.#isLittleEndian);
    const minor = view.getUint16(start + VERSION_MINOR, this.#isLittleEndian);
    if (major !== SUPPORTED_MAJOR || minor > NEWEST_MINOR) {
      const message = `pcap version ${major}.${minor} is not supported, only 2.0 to 2.${NEWEST_MINOR}`;
      throw new CaptureFault('PW_CAPTURE_UNSUPPORTED', message, start + VERSION_MAJOR);
    }
    this.#minorVersion = minor;
    this.#frame.linkType = view.getUint32(start + LINK_TYPE, this.#isLittleEndian) & LINK_TYPE_MASK;
    this.#hasHeader = true;
  }

  #parseRecords(view: DataView, start: number, end: number, sink: FrameSink): number {
    const frame = this.#frame;
    const isLittleEndian = this.#isLittleEndian;
    const headerLength = this.#recordHeaderLength;
    const nanosecondsPerUnit = this.#nanosecondsPerUnit;
    const minorVersion = this.#minorVersion;
    frame.view = view;
    let position = start;
    while (end - position >= headerLength) {
      const first = view.getUint32(position + CAPTURED_LENGTH, isLittleEndian);
      const second = view.getUint32(position + ORIGINAL_LENGTH, isLittleEndian);
      const areSwapped = areLengthsSwapped(minorVersion, first, second);
      const captured = areSwapped ? second : first;
      if (captured > MAX_CAPTURED_BYTES) throw tooLong(captured, position);
      const next = position + headerLength + captured;
      if (next > end) break;
      frame.offset = position + headerLength;
      frame.capturedLength = captured;
      frame.originalLength = areSwapped ? first : second;
      frame.seconds = view.getUint32(position + SECONDS, isLittleEndian);
      frame.nanoseconds = view.getUint32(position + FRACTION, isLittleEndian) * nanosecondsPerUnit;
      if (frame.nanoseconds >= 1e9) carryOver(frame);
      this.packets++;
      sink.frame(frame);
      position = next;
    }
    return position;
  }
}

/** Whether the captured length of a record comes behind the original one. It is never the larger of both. */
function areLengthsSwapped(minorVersion: number, first: number, second: number): boolean {
  return minorVersion < LENGTHS_SETTLED_MINOR || (minorVersion === LENGTHS_SETTLED_MINOR && first > second);
}

function isMagic(value: number): boolean {
  return value === MAGIC_MICROSECONDS || value === MAGIC_NANOSECONDS || value === MAGIC_MODIFIED;
}

function swapBytes(value: number): number {
  return ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;
}

/** Some writers let the fraction run past a second; tcpdump and Wireshark read that as a later second, too. */
function carryOver(frame: Frame): void {
  const seconds = Math.floor(frame.nanoseconds / 1e9);
  frame.seconds += seconds;
  frame.nanoseconds -= seconds * 1e9;
}

function truncated(message: string, position: number): CaptureFault {
  return new CaptureFault('PW_CAPTURE_TRUNCATED', message, position);
}

function tooLong(captured: number, position: number): CaptureFault {
  const message = `a packet claims ${captured} captured bytes, more than the ${MAX_CAPTURED_BYTES} possible`;
  return new CaptureFault('PW_CAPTURE_CORRUPT', message, position);
}
