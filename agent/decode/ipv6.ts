/** Internet Protocol version 6: RFC 8200, section 3. */
import { IPV4_MAPPED_WORD, MAPPED_ON_WIRE_WORD } from '../../common/address.ts';
import { PROTOCOL_TCP, narrow } from './ip-packet.ts';
import { stepOverExtensions } from './ipv6-extension.ts';
import type { Packet, Step } from './packet.ts';

const VERSION = 0;
const PAYLOAD_LENGTH = 4;
const NEXT_HEADER = 6;
const SOURCE = 8;
const DESTINATION = 24;
const HEADER_LENGTH = 40;

/** Fills the addresses, narrows the record to the IP packet and steps over the extension headers. */
export function decodeIpv6(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  if (view.getUint8(offset + VERSION) >>> 4 !== 6) return 'malformed';

  const payloadLength = view.getUint16(offset + PAYLOAD_LENGTH);
  // Payload length 0: a segment that the card cuts up later, or a jumbogram (see ipv6-extension.ts); until that says
  // more, the frame's length holds.
  if (payloadLength !== 0) narrow(packet, offset + HEADER_LENGTH + payloadLength);

  packet.ipVersion = 6;
  packet.source0 = view.getInt32(offset + SOURCE);
  packet.source1 = view.getInt32(offset + SOURCE + 4);
  packet.source2 = view.getInt32(offset + SOURCE + 8);
  packet.source3 = view.getInt32(offset + SOURCE + 12);
  packet.destination0 = view.getInt32(offset + DESTINATION);
  packet.destination1 = view.getInt32(offset + DESTINATION + 4);
  packet.destination2 = view.getInt32(offset + DESTINATION + 8);
  packet.destination3 = view.getInt32(offset + DESTINATION + 12);
  // See common/address.ts: such an address is not that of the IPv4 host which it names.
  if (packet.source2 === IPV4_MAPPED_WORD && (packet.source0 | packet.source1) === 0) {
    packet.source0 = MAPPED_ON_WIRE_WORD;
  }
  if (packet.destination2 === IPV4_MAPPED_WORD && (packet.destination0 | packet.destination1) === 0) {
    packet.destination0 = MAPPED_ON_WIRE_WORD;
  }
  packet.offset = offset + HEADER_LENGTH;

  const nextHeader = view.getUint8(offset + NEXT_HEADER);
  return nextHeader === PROTOCOL_TCP
    ? 'tcp-header'
    : stepOverExtensions(view, packet, nextHeader, payloadLength === 0);
}
