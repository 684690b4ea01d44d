/** IP over InfiniBand: RFC 4391, section 6, behind the addresses of https://www.tcpdump.org/linktypes.html. */
import { headerOfEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

/** The global routing header, of which a receiver gets no more than the addresses. */
const ADDRESSES_LENGTH = 40;
const ETHER_TYPE = ADDRESSES_LENGTH;
const HEADER_LENGTH = ADDRESSES_LENGTH + 4;

/** Moves to what the type names. */
export function decodeInfiniband(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  packet.offset = offset + HEADER_LENGTH;
  return headerOfEtherType(view.getUint16(offset + ETHER_TYPE));
}
