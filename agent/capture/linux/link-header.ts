/**
 * What lay before the network header, for captures that hand over packets without their link header ("cooked").
 */
import * as linux from './constants.ts';

/** LINKTYPE_RAW of the pcap registry: the first header is IPv4 or IPv6, told apart by its version. */
export const LINKTYPE_RAW = 101;
/** IEEE 802.1Q: two bytes of tag control information, then the type of what follows. */
export const VLAN_TAG_LENGTH = 4;

const ETHERNET_HEADER_LENGTH = 14;
/** RFC 4391, section 6: the encapsulation header of IP over InfiniBand. */
const INFINIBAND_HEADER_LENGTH = 4;
const VLAN_TYPE_OFFSET = 2;
/** RFC 791, section 3.1, and RFC 8200, section 3. */
const IPV4_TOTAL_LENGTH_OFFSET = 2;
const IPV6_PAYLOAD_LENGTH_OFFSET = 4;
const IPV6_HEADER_LENGTH = 40;
/** Bytes that must be there to tell a tag from an IP header. */
const SHORTEST_DECISION = 6;

/**
 * Bytes of link header in front of a packet, by the interface's type (ARPHRD_ value of linux/if_arp.h): loopback has
 * the form of Ethernet, tunnels and point-to-point links have none.
 */
export function linkHeaderLength(hardwareType: number): number {
  switch (hardwareType) {
    case linux.ARPHRD_ETHER:
    case linux.ARPHRD_LOOPBACK:
      return ETHERNET_HEADER_LENGTH;
    case linux.ARPHRD_INFINIBAND:
      return INFINIBAND_HEADER_LENGTH;
    default:
      return 0;
  }
}

/**
 * Bytes of VLAN tags between `offset` and the IP header. The kernel takes the outer tag out of a packet and leaves
 * inner ones in place, so a packet may begin with the rest of a tag. Where a tag's priority looks like an IP version,
 * the IP length tells them apart: only a real header's is that of the packet.
 *
 * @param capturedLength bytes that may be read from `offset`
 * @param wireLength bytes that the packet had from `offset` on
 */
export function vlanTagsLength(
  view: DataView,
  offset: number,
  capturedLength: number,
  wireLength: number,
): number {
  let tags = 0;
  while (
    tags + SHORTEST_DECISION <= capturedLength &&
    namesNetworkType(view.getUint16(offset + tags + VLAN_TYPE_OFFSET)) &&
    !isIpHeader(view, offset + tags, wireLength - tags)
  ) {
    tags += VLAN_TAG_LENGTH;
  }
  return tags;
}

/** Whether a type field of a VLAN tag says that IP or another tag follows. */
function namesNetworkType(etherType: number): boolean {
  switch (etherType) {
    case linux.ETH_P_IP:
    case linux.ETH_P_IPV6:
    case linux.ETH_P_8021Q:
    case linux.ETH_P_8021AD:
    case linux.ETH_P_QINQ1:
      return true;
    default:
      return false;
  }
}

function isIpHeader(view: DataView, offset: number, wireLength: number): boolean {
  switch (view.getUint8(offset) >>> 4) {
    case 4:
      return view.getUint16(offset + IPV4_TOTAL_LENGTH_OFFSET) === wireLength;
    case 6:
      return view.getUint16(offset + IPV6_PAYLOAD_LENGTH_OFFSET) + IPV6_HEADER_LENGTH === wireLength;
    default:
      return false;
  }
}
