/**
 * Which of the relatives of the classic format a file is, where its first four bytes do not tell. Some patched versions of
 * libpcap put more fields into the header of each packet and kept the magic number: Red Hat 6.1's, SuSE 6.3's, Nokia's
 * IPSO. As Wireshark does, the headers of the first packets decide: with the wrong length the second one is noise.
 */
import { MAX_CAPTURED_BYTES } from './format.ts';

/** Alexey Kuznetsov's patches of 1999-04-17 (Red Hat 6.1) and 1999-10-29, and the one between of 1999-09-15 (SuSE 6.3). */
const SS990417 = 24;
const SS991029 = 24;
const SS990915 = 28;

/** Lengths of a packet's header that go with a magic number, the likeliest first. Nokia's has four bytes more. */
export const STANDARD_HEADER_LENGTHS = [16, SS990417, 20] as const;
export const MODIFIED_HEADER_LENGTHS = [SS991029, SS990915] as const;

/** In every header. */
const SECONDS = 0;
const FRACTION = 4;
const FIRST_LENGTH = 8;
const SECOND_LENGTH = 12;
const COMMON_LENGTH = 16;
/** What the patches add: the interface, the protocol of the packet in either byte order, its direction; or a filling. */
const INTERFACE = 16;
const PROTOCOL = 20;
const DIRECTION = 22;
const MAX_INTERFACE = 65_535;
const MAX_DIRECTION = 4;
const FILLING = 25;
const FILLING_LENGTH = 3;
/** IPv4, ARP, IPv6; 802.2 and all of Linux. */
const PROTOCOLS = new Set([0x0800, 0x0806, 0x86dd, 0x0004, 0x0003]);

/** Packets whose headers are read; the second one already shows a wrong length. */
const MAX_PACKETS = 4;
/** A writer that lets the fraction run past a second once in a while does not do so in the first packets. */
const MAX_MICROSECONDS = 999_999;
/** A year: the packets of a file are not farther from the first one, unless what is read is no time at all. */
const MAX_SECONDS_APART = 366 * 24 * 3600;

/** Before this minor version the two lengths stood the other way round; in this one, depending on the writer. */
const LENGTHS_SETTLED_MINOR = 3;

/** Whether the captured length of a packet comes behind the original one. It is never the larger of both. */
export function areLengthsSwapped(minorVersion: number, first: number, second: number): boolean {
  return minorVersion < LENGTHS_SETTLED_MINOR || (minorVersion === LENGTHS_SETTLED_MINOR && first > second);
}

/** The packets of a file as far as they are there. */
export interface FirstPackets {
  readonly view: DataView;
  /** Where the first packet's header starts, and where what is there ends. */
  readonly start: number;
  readonly end: number;
  /** Whether the file ends there. */
  readonly isEnd: boolean;
  readonly isLittleEndian: boolean;
  readonly minorVersion: number;
}

/** What following the lengths leads to: a header that cannot be one, the very end of what is there, or beyond it. */
interface Walk {
  readonly end: 'wrong' | 'exact' | 'open';
  /** Headers that may be ones. */
  readonly packets: number;
}

/**
 * The length of the packets' headers; undefined where more bytes are needed to tell, of which there are some to come.
 *
 * @param lengths those that the magic number leaves open, the likeliest first
 */
export function headerLengthOf(
  lengths: readonly [number, ...number[]],
  file: FirstPackets,
): number | undefined {
  const [likeliest, ...others] = lengths;
  const expected = follow(likeliest, likeliest, file);
  if (expected.end !== 'wrong' && expected.packets > 1) return likeliest;
  // A pipe may bring one packet and then nothing for long: it waits only where its header may be another one.
  const maySuspect = !file.isEnd && others.some((length) => hasAddedFields(length, file));
  if (expected.end === 'exact' && !maySuspect) return likeliest;
  let isUndecided = expected.end !== 'wrong';
  for (const length of others) {
    const { end, packets } = follow(length, likeliest, file);
    if (end === 'wrong' || packets === 0) continue;
    if (expected.end === 'wrong' && packets > 1) return length;
    // A single packet, and its file may as well be one that was cut in its second.
    if (file.isEnd && end === 'exact' && hasAddedFields(length, file)) return length;
    isUndecided ||= packets === 1;
  }
  return isUndecided && !file.isEnd ? undefined : likeliest;
}

function follow(length: number, lengthOfMagic: number, file: FirstPackets): Walk {
  const { start, end } = file;
  let position = start;
  for (let packets = 0; packets < MAX_PACKETS; packets++) {
    if (position === end && packets > 0) return { end: 'exact', packets };
    if (end - position < COMMON_LENGTH) return { end: 'open', packets };
    const captured = capturedLengthAt(position, file);
    const isNoise = length !== lengthOfMagic && isFarFromFirst(position, file);
    if (captured === undefined || isNoise) return { end: 'wrong', packets };
    position += length + captured;
    if (position > end) return { end: 'open', packets: packets + 1 };
  }
  return { end: 'open', packets: MAX_PACKETS };
}

function isFarFromFirst(position: number, { view, start, isLittleEndian }: FirstPackets): boolean {
  const first = view.getUint32(start + SECONDS, isLittleEndian);
  return Math.abs(view.getUint32(position + SECONDS, isLittleEndian) - first) > MAX_SECONDS_APART;
}

/** Undefined where the header can be none. */
function capturedLengthAt(
  position: number,
  { view, isLittleEndian, minorVersion }: FirstPackets,
): number | undefined {
  const first = view.getUint32(position + FIRST_LENGTH, isLittleEndian);
  const second = view.getUint32(position + SECOND_LENGTH, isLittleEndian);
  const captured = areLengthsSwapped(minorVersion, first, second) ? second : first;
  const fraction = view.getUint32(position + FRACTION, isLittleEndian);
  return captured > MAX_CAPTURED_BYTES || fraction > MAX_MICROSECONDS ? undefined : captured;
}

/** Whether the first packet's header has what a patch adds to it. */
function hasAddedFields(length: number, { view, start, end, isLittleEndian }: FirstPackets): boolean {
  if ((length !== SS990417 && length !== SS990915) || end - start < length) return false;
  const index = view.getUint32(start + INTERFACE, isLittleEndian);
  const isOfPacket =
    index > 0 &&
    index <= MAX_INTERFACE &&
    view.getUint8(start + DIRECTION) <= MAX_DIRECTION &&
    [true, false].some((order) => PROTOCOLS.has(view.getUint16(start + PROTOCOL, order)));
  if (length !== SS990915) return isOfPacket;
  for (let byte = 0; byte < FILLING_LENGTH; byte++) {
    if (view.getUint8(start + FILLING + byte) !== 0) return false;
  }
  return isOfPacket;
}
