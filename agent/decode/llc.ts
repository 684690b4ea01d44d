/** Logical link control with SNAP: IEEE 802.2, clause 3; IEEE 802, clause 9.5; RFC 1042 (IP in it). */
import { headerOfEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

const DESTINATION_AND_SOURCE = 0;
const CONTROL = 2;
const ORGANIZATION = 3;
const TYPE = 6;
const LLC_LENGTH = 3;
const SNAP_LENGTH = 8;

/** Both service access points are that of SNAP. */
const SNAP = 0xaaaa;
/** Both are that of IP (RFC 1042 calls it not to be used; it was). */
const IP = 0x0606;
const UNNUMBERED_INFORMATION = 0x03;
/** The organizations under which the type is an EtherType: RFC 1042, and IEEE 802.1H for bridges. */
const ENCAPSULATED_ETHERNET = 0;
const BRIDGE_TUNNEL = 0x0000f8;
/** The type in a field of three bytes and the organization before it, read as four. */
const ORGANIZATION_SHIFT = 8;

/** Moves to IP, where the frame carries it. */
export function decodeLlc(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < LLC_LENGTH) return 'truncated';
  const points = view.getUint16(offset + DESTINATION_AND_SOURCE);
  if (view.getUint8(offset + CONTROL) !== UNNUMBERED_INFORMATION) return 'not-ip';
  if (points === IP) {
    packet.offset = offset + LLC_LENGTH;
    return 'ip';
  }
  if (points !== SNAP) return 'not-ip';
  if (packet.capturedEnd - offset < SNAP_LENGTH) return 'truncated';
  const organization = view.getUint32(offset + ORGANIZATION) >>> ORGANIZATION_SHIFT;
  if (organization !== ENCAPSULATED_ETHERNET && organization !== BRIDGE_TUNNEL) return 'not-ip';
  packet.offset = offset + SNAP_LENGTH;
  return headerOfEtherType(view.getUint16(offset + TYPE));
}
