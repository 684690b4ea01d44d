/** Internet Protocol version 4: RFC 791, section 3.1. */
import { IPV4_MAPPED_WORD } from '../../common/address.ts';
import { PROTOCOL_TCP, narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

const VERSION_AND_HEADER_LENGTH = 0;
const TOTAL_LENGTH = 2;
const FLAGS_AND_FRAGMENT_OFFSET = 6;
const PROTOCOL = 9;
const SOURCE = 12;
const DESTINATION = 16;
const MINIMUM_HEADER_LENGTH = 20;

const MORE_FRAGMENTS = 0x2000;
const FRAGMENT_OFFSET_MASK = 0x1fff;

/** Fills the addresses and narrows the record to the IP packet, so that padding behind it is never read. */
export function decodeIpv4(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < MINIMUM_HEADER_LENGTH) return 'truncated';
  const versionAndLength = view.getUint8(offset + VERSION_AND_HEADER_LENGTH);
  const headerLength = (versionAndLength & 0x0f) * 4;
  if (versionAndLength >>> 4 !== 4 || headerLength < MINIMUM_HEADER_LENGTH) return 'malformed';

  const totalLength = view.getUint16(offset + TOTAL_LENGTH);
  // Total length 0: a segment of 64 KiB or more that the card cuts up later; the frame's length holds.
  const wireEnd = totalLength === 0 ? packet.wireEnd : offset + totalLength;
  if (wireEnd - offset < headerLength) return 'malformed';
  narrow(packet, wireEnd);

  packet.ipVersion = 4;
  packet.source0 = 0;
  packet.source1 = 0;
  packet.source2 = IPV4_MAPPED_WORD;
  packet.source3 = view.getUint32(offset + SOURCE);
  packet.destination0 = 0;
  packet.destination1 = 0;
  packet.destination2 = IPV4_MAPPED_WORD;
  packet.destination3 = view.getUint32(offset + DESTINATION);
  packet.offset = offset + headerLength;

  if (view.getUint8(offset + PROTOCOL) !== PROTOCOL_TCP) return 'not-tcp';
  const fragment = view.getUint16(offset + FLAGS_AND_FRAGMENT_OFFSET);
  if ((fragment & FRAGMENT_OFFSET_MASK) !== 0) return 'later-fragment';
  packet.isFragment = (fragment & MORE_FRAGMENTS) !== 0;
  return 'tcp-header';
}
