/** Ethernet II and IEEE 802.3 frames: IEEE 802.3, clause 3.2. */
import { headerOfTypeOrLength } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

const TYPE_OR_LENGTH = 12;
const HEADER_LENGTH = 14;

const ETHER_TYPE_IPV4 = 0x0800;

/** Moves to what the frame carries. */
export function decodeEthernet(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  packet.offset = offset + HEADER_LENGTH;
  const typeOrLength = view.getUint16(offset + TYPE_OR_LENGTH);
  return typeOrLength === ETHER_TYPE_IPV4 ? 'ipv4' : headerOfTypeOrLength(packet, typeOrLength);
}
