/** EtherType, the 16 bits that name the next header (IANA, IEEE 802 numbers). */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

const IPV4 = 0x0800;
const IPV6 = 0x86dd;
/** IEEE 802.1Q, IEEE 802.1ad, and the value that was used for stacked tags before it. */
const VLAN = 0x8100;
const SERVICE_VLAN = 0x88a8;
const OLD_STACKED_VLAN = 0x9100;
/** IEEE 802.1ah, the tag of a provider's backbone, behind which the customer's Ethernet frame starts. */
const BACKBONE_SERVICE = 0x88e7;
/** IEEE 802.1BR port extension, and the tag of Cisco's before it. */
const E_TAG = 0x893f;
const VN_TAG = 0x8926;
/** Cisco's FabricPath. */
const FABRIC_PATH = 0x8903;
/** RFC 5332, section 3: labels given by the sender's and by the receiver's side. */
const MPLS = 0x8847;
const MPLS_UPSTREAM = 0x8848;
/** RFC 2516, section 4. The other one, 0x8863, is that of discovery, which carries nothing. */
const PPPOE_SESSION = 0x8864;
/** RFC 1701, section 4 (PPP has no EtherType on a wire of its own), and a whole Ethernet frame (RFC 7637). */
const PPP = 0x880b;
const TRANSPARENT_ETHERNET = 0x6558;

/** The largest value that is the length of an IEEE 802.3 frame and not a type (IEEE 802.3, clause 3.2.6). */
const MAX_LENGTH = 1500;

/** Whether the value names a header that is decoded; used where nothing else tells what follows. */
export function isKnownEtherType(etherType: number): boolean {
  return headerOfEtherType(etherType) !== 'not-ip';
}

/** The header that an EtherType names. */
export function headerOfEtherType(etherType: number): Step {
  switch (etherType) {
    case IPV4:
      return 'ipv4';
    case IPV6:
      return 'ipv6';
    case VLAN:
    case SERVICE_VLAN:
    case OLD_STACKED_VLAN:
      return 'vlan';
    case BACKBONE_SERVICE:
      return 'backbone-service';
    case FABRIC_PATH:
      return 'fabric-path';
    case E_TAG:
      return 'e-tag';
    case VN_TAG:
      return 'vn-tag';
    case MPLS:
    case MPLS_UPSTREAM:
      return 'mpls';
    case PPPOE_SESSION:
      return 'pppoe';
    case PPP:
      return 'ppp';
    case TRANSPARENT_ETHERNET:
      return 'ethernet';
    default:
      return 'not-ip';
  }
}

/**
 * The header behind a field of an Ethernet frame or tag that is either an EtherType or the length of what follows; the
 * length ends the packet, so that padding is not read.
 */
export function headerOfTypeOrLength(packet: Packet, typeOrLength: number): Step {
  if (typeOrLength > MAX_LENGTH) return headerOfEtherType(typeOrLength);
  narrow(packet, packet.offset + typeOrLength);
  return 'llc';
}
