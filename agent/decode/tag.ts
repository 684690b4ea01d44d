/**
 * The tags between an Ethernet header and what the frame carries. Each is announced by an EtherType and ends with the
 * next one.
 */
import { headerOfTypeOrLength } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

/** IEEE 802.1Q, clause 9.6; a second and third one, as in IEEE 802.1ad, look the same. */
const VLAN_LENGTH = 4;
/** IEEE 802.1BR, clause 7.5. */
const E_TAG_LENGTH = 8;
/** Cisco's tag of virtual network interfaces, as Linux and tshark read it. */
const VN_TAG_LENGTH = 6;
/** IEEE 802.1Q, clause 9.7: without a type of its own, a whole frame follows. */
const BACKBONE_SERVICE_LENGTH = 4;
/** Cisco's FabricPath: a tag of 2 bytes without a type, a whole frame follows. */
const FABRIC_PATH_LENGTH = 2;
/** The type stands in the last two bytes of a tag. */
const TYPE_LENGTH = 2;

/** Moves behind a VLAN tag. */
export function decodeVlan(view: DataView, packet: Packet): Step {
  return decodeTag(view, packet, VLAN_LENGTH);
}

/** Moves behind a port extender's tag. */
export function decodeETag(view: DataView, packet: Packet): Step {
  return decodeTag(view, packet, E_TAG_LENGTH);
}

/** Moves behind a virtual interface's tag. */
export function decodeVnTag(view: DataView, packet: Packet): Step {
  return decodeTag(view, packet, VN_TAG_LENGTH);
}

/** Moves to the Ethernet frame of a provider's customer. */
export function decodeBackboneService(_view: DataView, packet: Packet): Step {
  packet.offset += BACKBONE_SERVICE_LENGTH;
  return 'ethernet';
}

/** Moves to the Ethernet frame within a switch fabric. */
export function decodeFabricPath(_view: DataView, packet: Packet): Step {
  packet.offset += FABRIC_PATH_LENGTH;
  return 'ethernet';
}

function decodeTag(view: DataView, packet: Packet, length: number): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < length) return 'truncated';
  packet.offset = offset + length;
  return headerOfTypeOrLength(packet, view.getUint16(offset + length - TYPE_LENGTH));
}
