/** Internet Protocol version 6 with its extension headers: RFC 8200, sections 3 and 4; RFC 4302, section 2 (AH). */
import { PROTOCOL_TCP, narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

const VERSION = 0;
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const SOURCE = 8;
const DESTINATION = 24;
const HEADER_LENGTH = 40;

/** IANA, IPv6 extension header types. Mobility, HIP and Shim6 have the common layout too. */
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HOST_IDENTITY = 139;
const SHIM6 = 140;

/** Positions in an extension header: the first two are the same in all of them. */
const EXTENSION_NEXT = 0;
const EXTENSION_LENGTH = 1;
const EXTENSION_MINIMUM = 8;
const FRAGMENT_OFFSET_AND_FLAGS = 2;
const FRAGMENT_OFFSET_MASK = 0xfff8;
const MORE_FRAGMENTS = 0x0001;

/** More than any sender has a use for; a jumbo frame could hold hundreds, and each would cost us time. */
const MAX_EXTENSIONS = 16;

/** Fills the addresses, narrows the record to the IP packet and steps over the extension headers. */
export function decodeIpv6(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  if (view.getUint8(offset + VERSION) >>> 4 !== 6) return 'malformed';

  const payloadLength = view.getUint16(offset + PAYLOAD_LENGTH);
  // Payload length 0: a jumbogram (RFC 2675) or a segment that the card cuts up later; the frame's length holds.
  const wireEnd = payloadLength === 0 ? packet.wireEnd : offset + HEADER_LENGTH + payloadLength;
  narrow(packet, wireEnd);

  packet.ipVersion = 6;
  packet.source0 = view.getUint32(offset + SOURCE);
  packet.source1 = view.getUint32(offset + SOURCE + 4);
  packet.source2 = view.getUint32(offset + SOURCE + 8);
  packet.source3 = view.getUint32(offset + SOURCE + 12);
  packet.destination0 = view.getUint32(offset + DESTINATION);
  packet.destination1 = view.getUint32(offset + DESTINATION + 4);
  packet.destination2 = view.getUint32(offset + DESTINATION + 8);
  packet.destination3 = view.getUint32(offset + DESTINATION + 12);
  packet.offset = offset + HEADER_LENGTH;

  const nextHeader = view.getUint8(offset + NEXT_HEADER);
  return nextHeader === PROTOCOL_TCP ? 'tcp-header' : stepOverExtensions(view, packet, nextHeader);
}

function stepOverExtensions(view: DataView, packet: Packet, firstHeader: number): Step {
  let header = firstHeader;
  for (let count = 0; count <= MAX_EXTENSIONS; count++) {
    if (header === PROTOCOL_TCP) return 'tcp-header';
    if (!isExtension(header)) return 'not-tcp';
    const { offset } = packet;
    if (packet.wireEnd - offset < EXTENSION_MINIMUM) return 'malformed';
    if (packet.capturedEnd - offset < EXTENSION_MINIMUM) return 'truncated';
    const length = extensionLength(header, view.getUint8(offset + EXTENSION_LENGTH));
    if (packet.wireEnd - offset < length) return 'malformed';
    if (header === FRAGMENT) {
      const fragment = view.getUint16(offset + FRAGMENT_OFFSET_AND_FLAGS);
      if ((fragment & FRAGMENT_OFFSET_MASK) !== 0) return 'later-fragment';
      packet.isFragment = (fragment & MORE_FRAGMENTS) !== 0;
    }
    header = view.getUint8(offset + EXTENSION_NEXT);
    packet.offset = offset + length;
  }
  return 'malformed';
}

function isExtension(header: number): boolean {
  switch (header) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case AUTHENTICATION:
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
  return header === AUTHENTICATION ? (lengthField + 2) * 4 : (lengthField + 1) * 8;
}
