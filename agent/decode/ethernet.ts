/** Ethernet II with VLAN tags: IEEE 802.3, clause 3; IEEE 802.1Q, clause 9 (the tag), 802.1ad (two of them). */
import { headerOfEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

const ETHER_TYPE = 12;
const HEADER_LENGTH = 14;

/** Moves to what the frame carries, behind its VLAN tags. */
export function decodeEthernet(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  packet.offset = offset + HEADER_LENGTH;
  return headerOfEtherType(view, packet, view.getUint16(offset + ETHER_TYPE));
}
