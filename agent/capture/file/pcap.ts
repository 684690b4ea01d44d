/**
 * The classic capture format of libpcap: draft-ietf-opsawg-pcap, sections 4 and 5; older and modified variants as in
 * libpcap's sf-pcap.c. Byte order and unit of time are settled once, in the file header.
 */
import { CaptureFault, MAX_CAPTURED_BYTES, type CaptureFormat } from './format.ts';
import {
  areLengthsSwapped,
  headerLengthOf,
  MODIFIED_HEADER_LENGTHS,
  STANDARD_HEADER_LENGTHS,
} from './pcap-variant.ts';
import { Frame, type FrameSink } from '../source.ts';

/** The first four bytes of the file, as they read in the byte order of the machine that wrote it. */
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
/** Alexey Kuznetsov's patched libpcap: microseconds, and more fields in each record header (see pcap-variant.ts). */
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

const SUPPORTED_MAJOR = 2;
const NEWEST_MINOR = 4;
/** DG/UX's tcpdump: otherwise as 2.2. */
const DGUX_MAJOR = 543;
const DGUX_MINOR = 0;

/** AIX's libpcap writes this minor version, nanoseconds, and types of interfaces (RFC 1573) in place of link types. */
const AIX_MINOR = 2;
const LINKTYPE_FDDI = 10;
const AIX_LINK_TYPES: ReadonlyMap<number, number> = new Map([
  // Ethernet, token ring, FDDI, loopback.
  [6, 1],
  [9, 6],
  [15, LINKTYPE_FDDI],
  [24, 0],
]);
/** Of this version, the lengths of a packet may stand either way. */
const AIX_LENGTHS_MINOR = 3;
/** Bytes that it puts before an FDDI frame, which count as captured. */
const AIX_FDDI_PADDING = 3;

/** Whether a file that starts with these four bytes, read big-endian, is a classic capture. */
export function isPcapMagic(magic: number): boolean {
  return isMagic(magic) || isMagic(swapBytes(magic));
}

export class PcapFormat implements CaptureFormat {
  packets = 0;
  readonly #frame = new Frame();
  #hasHeader = false;
  #isLittleEndian = false;
  /** Those that are possible; one, once it is known. */
  #recordHeaderLengths: readonly [number, ...number[]] = [RECORD_HEADER_LENGTH];
  #nanosecondsPerUnit = 1000;
  #minorVersion = NEWEST_MINOR;
  /** Bytes before each frame that belong to none. */
  #padding = 0;

  parse(view: DataView, start: number, end: number, sink: FrameSink, isEnd: boolean): number {
    let position = start;
    if (!this.#hasHeader) {
      if (end - start < FILE_HEADER_LENGTH) return start;
      this.#parseHeader(view, start);
      position += FILE_HEADER_LENGTH;
    }
    if (!this.#knowsHeaderLength(view, position, end, isEnd)) return position;
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
    const [headerLength] = this.#recordHeaderLengths;
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
    if (magic === MAGIC_MICROSECONDS) this.#recordHeaderLengths = STANDARD_HEADER_LENGTHS;
    if (magic === MAGIC_MODIFIED) this.#recordHeaderLengths = MODIFIED_HEADER_LENGTHS;
    const major = view.getUint16(start + VERSION_MAJOR, this.#isLittleEndian);
    const minor = view.getUint16(start + VERSION_MINOR, this.#isLittleEndian);
    const isOfDgux = major === DGUX_MAJOR && minor === DGUX_MINOR;
    if (!isOfDgux && (major !== SUPPORTED_MAJOR || minor > NEWEST_MINOR)) {
      const message = `pcap version ${major}.${minor} is not supported, only 2.0 to 2.${NEWEST_MINOR}`;
      throw new CaptureFault('PW_CAPTURE_UNSUPPORTED', message, start + VERSION_MAJOR);
    }
    this.#minorVersion = minor;
    this.#frame.linkType = view.getUint32(start + LINK_TYPE, this.#isLittleEndian) & LINK_TYPE_MASK;
    const ofAix = minor === AIX_MINOR ? AIX_LINK_TYPES.get(this.#frame.linkType) : undefined;
    if (magic === MAGIC_MICROSECONDS && ofAix !== undefined) this.#readAsAix(ofAix);
    this.#hasHeader = true;
  }

  #readAsAix(linkType: number): void {
    this.#frame.linkType = linkType;
    this.#nanosecondsPerUnit = 1;
    this.#recordHeaderLengths = [RECORD_HEADER_LENGTH];
    // It never had the older order of the lengths, whatever its version says; where they differ, the smaller is the captured one.
    this.#minorVersion = AIX_LENGTHS_MINOR;
    if (linkType === LINKTYPE_FDDI) this.#padding = AIX_FDDI_PADDING;
  }

  #knowsHeaderLength(view: DataView, start: number, end: number, isEnd: boolean): boolean {
    const lengths = this.#recordHeaderLengths;
    if (lengths.length === 1) return true;
    const isLittleEndian = this.#isLittleEndian;
    const minorVersion = this.#minorVersion;
    const length = headerLengthOf(lengths, { view, start, end, isEnd, isLittleEndian, minorVersion });
    if (length === undefined) return false;
    this.#recordHeaderLengths = [length];
    return true;
  }

  #parseRecords(view: DataView, start: number, end: number, sink: FrameSink): number {
    const frame = this.#frame;
    const isLittleEndian = this.#isLittleEndian;
    const [headerLength] = this.#recordHeaderLengths;
    const padding = this.#padding;
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
      if (captured < padding) throw tooShort(captured, position);
      const next = position + headerLength + captured;
      if (next > end) break;
      frame.offset = position + headerLength + padding;
      frame.capturedLength = captured - padding;
      frame.originalLength = (areSwapped ? first : second) - padding;
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

function tooShort(captured: number, position: number): CaptureFault {
  const message = `a packet claims ${captured} captured bytes, less than the ${AIX_FDDI_PADDING} that stand before each frame`;
  return new CaptureFault('PW_CAPTURE_CORRUPT', message, position);
}
