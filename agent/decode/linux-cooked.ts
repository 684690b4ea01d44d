/**
 * Linux cooked capture, what the `any` device writes instead of link headers.
 * https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html and LINKTYPE_LINUX_SLL2.html
 */
import { headerOfEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';

const VERSION_1_HARDWARE_TYPE = 2;
const VERSION_1_PROTOCOL = 14;
const VERSION_1_LENGTH = 16;
const VERSION_2_PROTOCOL = 0;
const VERSION_2_HARDWARE_TYPE = 8;
const VERSION_2_LENGTH = 20;

/** Types of interfaces whose packets the protocol field says something else of, or nothing: include/uapi/linux/if_arp.h. */
const ARPHRD_FRAD = 770;
const ARPHRD_IEEE80211 = 801;
const ARPHRD_IEEE80211_RADIOTAP = 803;
const ARPHRD_NETLINK = 824;

/**
 * Values below this one are no EtherTypes but Linux's own (include/uapi/linux/if_ether.h). Of these a few say what
 * follows; the others are those of packets that nobody classified: ETH_P_ALL is the protocol of what a program sends
 * through a packet socket for all protocols.
 */
const FIRST_ETHER_TYPE = 0x0600;
const ETH_P_802_2 = 0x0004;
const ETH_P_WAN_PPP = 0x0007;
const ETH_P_CAN = 0x000c;
const ETH_P_CANFD = 0x000d;
const ETH_P_CANXL = 0x000e;
const ETH_P_TR_802_2 = 0x0011;

/** LINKTYPE_LINUX_SLL. */
export function decodeLinuxCooked1(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < VERSION_1_LENGTH) return 'truncated';
  packet.offset = offset + VERSION_1_LENGTH;
  return headerOf(
    view.getUint16(offset + VERSION_1_HARDWARE_TYPE),
    view.getUint16(offset + VERSION_1_PROTOCOL),
  );
}

/** LINKTYPE_LINUX_SLL2. */
export function decodeLinuxCooked2(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < VERSION_2_LENGTH) return 'truncated';
  packet.offset = offset + VERSION_2_LENGTH;
  return headerOf(
    view.getUint16(offset + VERSION_2_HARDWARE_TYPE),
    view.getUint16(offset + VERSION_2_PROTOCOL),
  );
}

function headerOf(hardwareType: number, protocol: number): Step {
  switch (hardwareType) {
    case ARPHRD_IEEE80211:
      return 'ieee802-11';
    case ARPHRD_IEEE80211_RADIOTAP:
      return 'radiotap';
    case ARPHRD_NETLINK:
    case ARPHRD_FRAD:
      return 'not-ip';
    default:
      // Of a GRE interface the field is GRE's protocol type, which is an EtherType, too.
      return protocol >= FIRST_ETHER_TYPE ? headerOfEtherType(protocol) : headerOfLinuxProtocol(protocol);
  }
}

function headerOfLinuxProtocol(protocol: number): Step {
  switch (protocol) {
    case ETH_P_802_2:
    case ETH_P_TR_802_2:
      return 'llc';
    case ETH_P_WAN_PPP:
      return 'ppp';
    case ETH_P_CAN:
    case ETH_P_CANFD:
    case ETH_P_CANXL:
      return 'not-ip';
    default:
      return 'unnamed';
  }
}
