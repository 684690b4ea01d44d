/** Internet Protocol version 4: RFC 791, section 3.1. */
import { IPV4_MAPPED_WORD } from '../../common/address.ts';
import {
  PROTOCOL_AUTHENTICATION,
  PROTOCOL_TCP,
  headerOfProtocol,
  narrow,
  noteFragment,
} from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

/**
 * Two words, each read at once: version, header length, type of service, total length; flags and fragment offset, time
 * to live, protocol.
 */
const FIRST_WORD = 0;
const FRAGMENT_AND_PROTOCOL = 6;
const IDENTIFICATION = 4;
const SOURCE = 12;
const DESTINATION = 16;
const MINIMUM_HEADER_LENGTH = 20;

/** RFC 791, section 3.1, options: loose and strict source routes are lists of addresses and a pointer to the next. */
const OPTION_END = 0;
const OPTION_NO_OPERATION = 1;
const OPTION_LOOSE_SOURCE_ROUTE = 131;
const OPTION_STRICT_SOURCE_ROUTE = 137;
const OPTION_LENGTH = 1;
const OPTION_POINTER = 2;
const OPTION_MINIMUM_LENGTH = 2;
const ROUTE_MINIMUM_LENGTH = 7;
const ADDRESS_LENGTH = 4;

const FRAGMENT_OFFSET_MASK = 0x1fff;
/** More fragments follow, or it is not the first one. */
const FRAGMENT_MASK = 0x3fff;
const FRAGMENT_UNIT = 8;

/** Fills the addresses and narrows the record to the IP packet, so that padding behind it is never read. */
export function decodeIpv4(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < MINIMUM_HEADER_LENGTH) return 'truncated';
  const first = view.getInt32(offset + FIRST_WORD);
  const headerLength = ((first >>> 24) & 0x0f) * 4;
  if (first >>> 28 !== 4 || headerLength < MINIMUM_HEADER_LENGTH) return 'malformed';

  const totalLength = first & 0xffff;
  // Total length 0: a segment of 64 KiB or more that the card cuts up later; the frame's length holds.
  const wireEnd = totalLength === 0 ? packet.wireEnd : offset + totalLength;
  if (wireEnd - offset < headerLength) return 'malformed';
  narrow(packet, wireEnd);

  packet.ipVersion = 4;
  packet.source0 = 0;
  packet.source1 = 0;
  packet.source2 = IPV4_MAPPED_WORD;
  packet.source3 = view.getInt32(offset + SOURCE);
  packet.destination0 = 0;
  packet.destination1 = 0;
  packet.destination2 = IPV4_MAPPED_WORD;
  packet.destination3 = view.getInt32(offset + DESTINATION);
  if (headerLength > MINIMUM_HEADER_LENGTH) takeFinalDestination(view, packet, offset + headerLength);
  packet.offset = offset + headerLength;

  const second = view.getInt32(offset + FRAGMENT_AND_PROTOCOL);
  const protocol = second & 0xff;
  const fragment = second >>> 16;
  if ((fragment & FRAGMENT_MASK) !== 0) {
    const fragmentOffset = (fragment & FRAGMENT_OFFSET_MASK) * FRAGMENT_UNIT;
    noteFragment(packet, protocol, view.getUint16(offset + IDENTIFICATION), fragmentOffset);
    if (fragmentOffset !== 0) return 'later-fragment';
  }
  if (protocol === PROTOCOL_TCP) return 'tcp-header';
  return protocol === PROTOCOL_AUTHENTICATION ? 'authentication' : headerOfProtocol(packet, protocol);
}

/**
 * A packet on a source route that is still under way to other routers: who it is for is the last address of the route,
 * and the TCP checksum is over that one (RFC 9293, section 3.9.2.1). The options are 40 bytes at most.
 */
function takeFinalDestination(view: DataView, packet: Packet, headerEnd: number): void {
  const end = Math.min(headerEnd, packet.capturedEnd);
  let option = packet.offset + MINIMUM_HEADER_LENGTH;
  while (option < end) {
    const type = view.getUint8(option);
    if (type === OPTION_END) return;
    if (type === OPTION_NO_OPERATION) {
      option++;
      continue;
    }
    if (end - option < OPTION_MINIMUM_LENGTH) return;
    const length = view.getUint8(option + OPTION_LENGTH);
    if (length < OPTION_MINIMUM_LENGTH || length > end - option) return;
    if (type === OPTION_LOOSE_SOURCE_ROUTE || type === OPTION_STRICT_SOURCE_ROUTE) {
      const isUnderWay = length >= ROUTE_MINIMUM_LENGTH && view.getUint8(option + OPTION_POINTER) < length;
      if (isUnderWay) packet.destination3 = view.getInt32(option + length - ADDRESS_LENGTH);
      return;
    }
    option += length;
  }
}
