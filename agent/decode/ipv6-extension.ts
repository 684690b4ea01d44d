/** The extension headers of IPv6: RFC 8200, section 4; RFC 4302, section 2 (AH); RFC 2675, section 2 (jumbograms). */
import { IPV4_MAPPED_WORD, MAPPED_ON_WIRE_WORD } from '../../common/address.ts';
import {
  PROTOCOL_AUTHENTICATION,
  PROTOCOL_TCP,
  headerOfProtocol,
  narrow,
  noteFragment,
} from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

/** IANA, IPv6 extension header types. Mobility, HIP and Shim6 have the common layout too. */
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HOST_IDENTITY = 139;
const SHIM6 = 140;

/** Positions in an extension header: the first two are the same in all of them. */
const EXTENSION_NEXT = 0;
const EXTENSION_LENGTH = 1;
const EXTENSION_MINIMUM = 8;

const FRAGMENT_OFFSET_AND_FLAGS = 2;
const FRAGMENT_IDENTIFICATION = 4;
const FRAGMENT_OFFSET_MASK = 0xfff8;
const MORE_FRAGMENTS = 0x0001;
/** Which protocol it is need not be true in later fragments (RFC 8200, section 4.5). */
const ANY_PROTOCOL = 0;

const ROUTING_TYPE = 2;
const ROUTING_SEGMENTS_LEFT = 3;
const ROUTING_ADDRESSES = 8;
/** RFC 2460, section 4.4 (source route), RFC 6275, section 6.4 (home address): the last address is the final one. */
const ROUTING_SOURCE_ROUTE = 0;
const ROUTING_HOME_ADDRESS = 2;
/** RFC 8754, section 2: the segments stand in reverse order, and others may follow them. */
const ROUTING_SEGMENTS = 4;
const ADDRESS_LENGTH = 16;

const OPTIONS = 2;
const OPTION_PAD1 = 0;
const OPTION_JUMBO = 0xc2;
const OPTION_JUMBO_LENGTH = 4;
const OPTION_HEADER_LENGTH = 2;

/** More than any sender has a use for; a jumbo frame could hold hundreds, and each would cost us time. */
const MAX_EXTENSIONS = 16;
const MAX_OPTIONS = 16;

/** Moves behind an authentication header of IPv4. */
export function decodeAuthentication(view: DataView, packet: Packet): Step {
  return stepOverExtensions(view, packet, PROTOCOL_AUTHENTICATION, false);
}

/**
 * Moves behind the extension headers that start with `firstHeader`.
 *
 * @param mayBeJumbogram the IPv6 header's payload length is 0
 */
export function stepOverExtensions(
  view: DataView,
  packet: Packet,
  firstHeader: number,
  mayBeJumbogram: boolean,
): Step {
  let header = firstHeader;
  for (let count = 0; count <= MAX_EXTENSIONS; count++) {
    if (header === PROTOCOL_TCP) return 'tcp-header';
    if (!isExtension(header)) return headerOfProtocol(packet, header);
    const { offset } = packet;
    if (packet.wireEnd - offset < EXTENSION_MINIMUM) return 'malformed';
    if (packet.capturedEnd - offset < EXTENSION_MINIMUM) return 'truncated';
    const length = extensionLength(header, view.getUint8(offset + EXTENSION_LENGTH));
    if (packet.wireEnd - offset < length) return 'malformed';
    const next = view.getUint8(offset + EXTENSION_NEXT);
    if (header === FRAGMENT && isLaterFragment(view, packet)) return 'later-fragment';
    if (header === ROUTING) takeFinalDestination(view, packet, length);
    if (count === 0 && header === HOP_BY_HOP && mayBeJumbogram) takeJumboLength(view, packet, length);
    header = next;
    packet.offset = offset + length;
  }
  return 'malformed';
}

function isExtension(header: number): boolean {
  switch (header) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case PROTOCOL_AUTHENTICATION:
    case DESTINATION_OPTIONS:
    case MOBILITY:
    case HOST_IDENTITY:
    case SHIM6:
      return true;
    default:
      return false;
  }
}

/** Bytes of an extension header; AH counts in words of 4 bytes less 2, the fragment header has no length field. */
function extensionLength(header: number, lengthField: number): number {
  if (header === FRAGMENT) return EXTENSION_MINIMUM;
  return header === PROTOCOL_AUTHENTICATION ? (lengthField + 2) * 4 : (lengthField + 1) * 8;
}

/** Notes the fragment; a packet that is whole in spite of the header (RFC 6946) is none. */
function isLaterFragment(view: DataView, packet: Packet): boolean {
  const { offset } = packet;
  const offsetAndFlags = view.getUint16(offset + FRAGMENT_OFFSET_AND_FLAGS);
  const fragmentOffset = offsetAndFlags & FRAGMENT_OFFSET_MASK;
  if (fragmentOffset === 0 && (offsetAndFlags & MORE_FRAGMENTS) === 0) return false;
  noteFragment(packet, ANY_PROTOCOL, view.getInt32(offset + FRAGMENT_IDENTIFICATION), fragmentOffset);
  if (fragmentOffset === 0) return false;
  packet.offset = offset + EXTENSION_MINIMUM;
  return true;
}

/**
 * A packet that is still under way to other routers: who it is for is the last address of the route, and the TCP
 * checksum is over that one (RFC 8200, section 8.1).
 */
function takeFinalDestination(view: DataView, packet: Packet, length: number): void {
  const { offset } = packet;
  const type = view.getUint8(offset + ROUTING_TYPE);
  if (view.getUint8(offset + ROUTING_SEGMENTS_LEFT) === 0) return;
  let address: number;
  if (type === ROUTING_SEGMENTS) address = offset + ROUTING_ADDRESSES;
  else if (type === ROUTING_SOURCE_ROUTE || type === ROUTING_HOME_ADDRESS) {
    address = offset + length - ADDRESS_LENGTH;
  } else return;
  if (length < ROUTING_ADDRESSES + ADDRESS_LENGTH || address + ADDRESS_LENGTH > packet.capturedEnd) return;
  packet.destination0 = view.getInt32(address);
  packet.destination1 = view.getInt32(address + 4);
  packet.destination2 = view.getInt32(address + 8);
  packet.destination3 = view.getInt32(address + 12);
  if (packet.destination2 === IPV4_MAPPED_WORD && (packet.destination0 | packet.destination1) === 0) {
    packet.destination0 = MAPPED_ON_WIRE_WORD;
  }
}

/** The length of a jumbogram is an option of the hop-by-hop header; it counts from behind the IPv6 header. */
function takeJumboLength(view: DataView, packet: Packet, length: number): void {
  const start = packet.offset;
  const end = Math.min(start + length, packet.capturedEnd);
  let option = start + OPTIONS;
  for (let count = 0; count < MAX_OPTIONS && option + OPTION_HEADER_LENGTH <= end; count++) {
    const type = view.getUint8(option);
    if (type === OPTION_PAD1) {
      option++;
      continue;
    }
    const optionEnd = option + OPTION_HEADER_LENGTH + view.getUint8(option + 1);
    if (type === OPTION_JUMBO && optionEnd - option === OPTION_HEADER_LENGTH + OPTION_JUMBO_LENGTH) {
      if (optionEnd <= end) narrow(packet, start + view.getUint32(option + OPTION_HEADER_LENGTH));
      return;
    }
    option = optionEnd;
  }
}
