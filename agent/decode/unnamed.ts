/**
 * What follows where no field says it, or where the field is known to lie: an Ethernet frame, or an IP packet.
 *
 * Both can look like the other by chance: the first byte of a hardware address may have the bits of an IP version, and
 * an IP address may have those of an EtherType. So the candidates are asked from the one that chance can hardly bring
 * about to the one that it easily can: an IPv4 header whose checksum is right, an IPv6 header of exactly the length that
 * is there, an EtherType with what it names behind it, and an IP header that contradicts nothing.
 */
import { isKnownEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

const ETHER_TYPE = 12;
const ETHERNET_LENGTH = 14;
const ETHER_TYPE_IPV4 = 0x0800;
const ETHER_TYPE_IPV6 = 0x86dd;
/** IEEE 802.1Q and 802.1ad, with the type of what follows in the last two of their four bytes. */
const ETHER_TYPE_VLAN = 0x8100;
const ETHER_TYPE_SERVICE_VLAN = 0x88a8;
const TAG_LENGTH = 4;
const TYPE_LENGTH = 2;
const MAX_TAGS = 2;

/** The largest length in place of a type, and what IP begins with behind it: LLC with SNAP (IEEE 802.2, RFC 1042). */
const MAX_LENGTH = 1500;
const SNAP = 0xaaaa;

/** RFC 791, section 3.1. */
const IPV4_TOTAL_LENGTH = 2;
const IPV4_MINIMUM = 20;
/** What the words of a header add up to where its checksum is right (RFC 1071). */
const RIGHT_SUM = 0xffff;

/** RFC 8200, section 3. */
const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_LENGTH = 40;

/** The header at `packet.offset`, or `not-ip` where it is neither an Ethernet frame nor an IP packet. */
export function decodeUnnamed(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd <= offset) return 'truncated';
  if (isCertainIpv4(view, packet, offset)) return 'ipv4';
  if (isCertainIpv6(view, packet, offset)) return 'ipv6';
  if (isEthernet(view, packet, offset)) return 'ethernet';
  switch (view.getUint8(offset) >>> 4) {
    case 4:
      return isPlausibleIpv4(view, packet, offset) ? 'ipv4' : 'not-ip';
    case 6:
      return isPlausibleIpv6(view, packet, offset) ? 'ipv6' : 'not-ip';
    default:
      return 'not-ip';
  }
}

/**
 * Whether an Ethernet frame starts there: its type is one that is decoded, and what it names begins as that does;
 * or it has a length in place of the type, and SNAP behind it.
 */
export function isEthernet(view: DataView, { capturedEnd, wireEnd }: Packet, offset: number): boolean {
  if (capturedEnd - offset < ETHERNET_LENGTH) return false;
  const etherType = view.getUint16(offset + ETHER_TYPE);
  const payload = offset + ETHERNET_LENGTH;
  if (etherType <= MAX_LENGTH) {
    return etherType <= wireEnd - payload && capturedEnd - payload >= 2 && view.getUint16(payload) === SNAP;
  }
  if (payload >= capturedEnd) return isKnownEtherType(etherType);
  if (etherType === ETHER_TYPE_IPV4) return view.getUint8(payload) >>> 4 === 4;
  if (etherType === ETHER_TYPE_IPV6) return view.getUint8(payload) >>> 4 === 6;
  return isKnownEtherType(etherType);
}

/**
 * The header that starts there without a doubt: of IP, or of an Ethernet frame that carries IP behind tags or none. For places
 * of which only one can be right.
 */
export function certainHeader(
  view: DataView,
  packet: Packet,
  offset: number,
): 'ipv4' | 'ipv6' | 'ethernet' | undefined {
  if (isCertainIpv4(view, packet, offset)) return 'ipv4';
  if (isCertainIpv6(view, packet, offset)) return 'ipv6';
  let type = offset + ETHER_TYPE;
  for (let tags = 0; tags <= MAX_TAGS && packet.capturedEnd - type >= TYPE_LENGTH; tags++) {
    switch (view.getUint16(type)) {
      case ETHER_TYPE_IPV4:
        return isCertainIpv4(view, packet, type + TYPE_LENGTH) ? 'ethernet' : undefined;
      case ETHER_TYPE_IPV6:
        return isCertainIpv6(view, packet, type + TYPE_LENGTH) ? 'ethernet' : undefined;
      case ETHER_TYPE_VLAN:
      case ETHER_TYPE_SERVICE_VLAN:
        type += TAG_LENGTH;
        break;
      default:
        return undefined;
    }
  }
  return undefined;
}

function isCertainIpv4(view: DataView, packet: Packet, offset: number): boolean {
  if (!isPlausibleIpv4(view, packet, offset)) return false;
  const end = offset + (view.getUint8(offset) & 0x0f) * 4;
  if (end > packet.capturedEnd) return false;
  let sum = 0;
  for (let word = offset; word < end; word += 2) sum += view.getUint16(word);
  sum = (sum & RIGHT_SUM) + (sum >>> 16);
  return (sum & RIGHT_SUM) + (sum >>> 16) === RIGHT_SUM;
}

/** The version, and lengths that contradict neither each other nor the frame. Total length 0: see ipv4.ts. */
function isPlausibleIpv4(view: DataView, { capturedEnd, wireEnd }: Packet, offset: number): boolean {
  if (capturedEnd - offset < IPV4_MINIMUM) return false;
  const first = view.getUint8(offset);
  const headerLength = (first & 0x0f) * 4;
  if (first >>> 4 !== 4 || headerLength < IPV4_MINIMUM) return false;
  const totalLength = view.getUint16(offset + IPV4_TOTAL_LENGTH);
  return totalLength === 0 || (totalLength >= headerLength && totalLength <= wireEnd - offset);
}

function isCertainIpv6(view: DataView, packet: Packet, offset: number): boolean {
  return (
    isPlausibleIpv6(view, packet, offset) &&
    view.getUint16(offset + IPV6_PAYLOAD_LENGTH) === packet.wireEnd - offset - IPV6_LENGTH
  );
}

function isPlausibleIpv6(view: DataView, { capturedEnd, wireEnd }: Packet, offset: number): boolean {
  if (capturedEnd - offset < IPV6_LENGTH || view.getUint8(offset) >>> 4 !== 6) return false;
  return view.getUint16(offset + IPV6_PAYLOAD_LENGTH) <= wireEnd - offset - IPV6_LENGTH;
}
