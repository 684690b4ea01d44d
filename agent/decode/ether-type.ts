/** EtherType, the 16 bits that name the next header (IANA, IEEE 802 numbers), and the VLAN tags that it announces. */
import type { Packet, Step } from './packet.ts';

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
/** IEEE 802.1Q, IEEE 802.1ad, and the value that was used for stacked tags before it. */
const VLAN = 0x8100;
const SERVICE_VLAN = 0x88a8;
const OLD_STACKED_VLAN = 0x9100;

/** Positions within a tag, counted from behind the EtherType that announced it. */
const TAGGED_TYPE = 2;
const TAG_LENGTH = 4;

/** The header that starts at `packet.offset` when `etherType` stood before it; tags are stepped over. */
export function headerOfEtherType(view: DataView, packet: Packet, etherType: number): Step {
  let type = etherType;
  while (type === VLAN || type === SERVICE_VLAN || type === OLD_STACKED_VLAN) {
    const { offset } = packet;
    if (packet.capturedEnd - offset < TAG_LENGTH) return 'truncated';
    type = view.getUint16(offset + TAGGED_TYPE);
    packet.offset = offset + TAG_LENGTH;
  }
  if (type === IPV4) return 'ipv4';
  return type === IPV6 ? 'ipv6' : 'not-ip';
}
