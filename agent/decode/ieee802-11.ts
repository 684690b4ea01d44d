/**
 * Wireless frames, as far as they carry an Ethernet type in the clear: IEEE 802.11, clause 9.2 (all fields are
 * little-endian), and radiotap's header before them (https://www.radiotap.org).
 */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

const FRAME_CONTROL = 0;
/** Control, duration, three addresses, sequence. */
const HEADER_LENGTH = 24;
const FOURTH_ADDRESS_LENGTH = 6;
const QOS_CONTROL_LENGTH = 2;
const HT_CONTROL_LENGTH = 4;

const TYPE_MASK = 0x000c;
const TYPE_DATA = 0x0008;
/** Bits of a data frame's subtype. */
const SUBTYPE_NO_DATA = 0x0040;
const SUBTYPE_QOS = 0x0080;
/** Both are set between two access points, in frames with a fourth address. */
const TO_AND_FROM_DISTRIBUTION = 0x0300;
const IS_PROTECTED = 0x4000;
const HAS_HT_CONTROL = 0x8000;

/** In the QoS control field: several frames in one, each behind a header like Ethernet's, with a length. */
const QOS_IS_AGGREGATE = 0x0080;
const AGGREGATE_HEADER_LENGTH = 14;
/** The only field in network byte order. */
const AGGREGATE_LENGTH = 12;

const RADIOTAP_LENGTH = 2;
const RADIOTAP_PRESENT = 4;
const RADIOTAP_MINIMUM_LENGTH = 8;
const RADIOTAP_WORD_LENGTH = 4;
/** Bits of the first word of present fields. The timestamp comes before the flags, further words before both. */
const RADIOTAP_HAS_TIMESTAMP = 0x1;
const RADIOTAP_HAS_FLAGS = 0x2;
const RADIOTAP_HAS_MORE_WORDS = 0x80000000;
const RADIOTAP_TIMESTAMP_LENGTH = 8;
const RADIOTAP_MAX_WORDS = 8;
/** The header behind is filled up to a multiple of 4 bytes. */
const RADIOTAP_FLAG_PADDED = 0x20;
const PADDING_UNIT = 4;

/** Moves behind the header of a data frame; of an aggregate, to the first frame in it. */
export function decodeIeee80211(view: DataView, packet: Packet): Step {
  return decodeWithPadding(view, packet, 1);
}

/** The same where an adapter fills the header up, as radiotap says. */
export function decodePaddedIeee80211(view: DataView, packet: Packet): Step {
  return decodeWithPadding(view, packet, PADDING_UNIT);
}

/** Moves to the 802.11 header. */
export function decodeRadiotap(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < RADIOTAP_MINIMUM_LENGTH) return 'truncated';
  const length = view.getUint16(offset + RADIOTAP_LENGTH, true);
  if (length < RADIOTAP_MINIMUM_LENGTH) return 'malformed';
  if (packet.capturedEnd - offset < length) return 'truncated';
  packet.offset = offset + length;
  return isPadded(view, offset, length) ? 'ieee802-11-padded' : 'ieee802-11';
}

function decodeWithPadding(view: DataView, packet: Packet, unit: number): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  const control = view.getUint16(offset + FRAME_CONTROL, true);
  if ((control & TYPE_MASK) !== TYPE_DATA || (control & (SUBTYPE_NO_DATA | IS_PROTECTED)) !== 0)
    return 'not-ip';
  let length = HEADER_LENGTH;
  if ((control & TO_AND_FROM_DISTRIBUTION) === TO_AND_FROM_DISTRIBUTION) length += FOURTH_ADDRESS_LENGTH;
  let isAggregate = false;
  if ((control & SUBTYPE_QOS) !== 0) {
    if (packet.capturedEnd - offset < length + QOS_CONTROL_LENGTH) return 'truncated';
    isAggregate = (view.getUint16(offset + length, true) & QOS_IS_AGGREGATE) !== 0;
    length += QOS_CONTROL_LENGTH;
    if ((control & HAS_HT_CONTROL) !== 0) length += HT_CONTROL_LENGTH;
  }
  length = Math.ceil(length / unit) * unit;
  packet.offset = offset + length;
  if (isAggregate) {
    if (packet.capturedEnd - packet.offset < AGGREGATE_HEADER_LENGTH) return 'truncated';
    const frameLength = view.getUint16(packet.offset + AGGREGATE_LENGTH);
    packet.offset += AGGREGATE_HEADER_LENGTH;
    narrow(packet, packet.offset + frameLength);
  }
  return 'llc';
}

function isPadded(view: DataView, start: number, length: number): boolean {
  const present = view.getUint32(start + RADIOTAP_PRESENT, true);
  if ((present & RADIOTAP_HAS_FLAGS) === 0) return false;
  let field = RADIOTAP_PRESENT + RADIOTAP_WORD_LENGTH;
  for (let words = 1; words < RADIOTAP_MAX_WORDS && field + RADIOTAP_WORD_LENGTH <= length; words++) {
    const word = view.getUint32(start + field - RADIOTAP_WORD_LENGTH, true);
    if ((word & RADIOTAP_HAS_MORE_WORDS) === 0) break;
    field += RADIOTAP_WORD_LENGTH;
  }
  if ((present & RADIOTAP_HAS_TIMESTAMP) !== 0) {
    field =
      Math.ceil(field / RADIOTAP_TIMESTAMP_LENGTH) * RADIOTAP_TIMESTAMP_LENGTH + RADIOTAP_TIMESTAMP_LENGTH;
  }
  return field < length && (view.getUint8(start + field) & RADIOTAP_FLAG_PADDED) !== 0;
}
