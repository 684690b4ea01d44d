/** What a frame starts with, by the capture's link type (https://www.tcpdump.org/linktypes.html). */
import type { Step } from './packet.ts';

export const LINKTYPE_NULL = 0;
export const LINKTYPE_ETHERNET = 1;
const LINKTYPE_PPP = 9;
const LINKTYPE_FDDI = 10;
const LINKTYPE_PPP_HDLC = 50;
const LINKTYPE_PPP_ETHER = 51;
const LINKTYPE_ATM_RFC1483 = 100;
export const LINKTYPE_RAW = 101;
const LINKTYPE_C_HDLC = 104;
const LINKTYPE_IEEE802_11 = 105;
export const LINKTYPE_LOOP = 108;
export const LINKTYPE_LINUX_SLL = 113;
const LINKTYPE_IEEE802_11_RADIOTAP = 127;
const LINKTYPE_PPP_PPPD = 166;
const LINKTYPE_PPP_WITH_DIR = 204;
const LINKTYPE_MPLS = 219;
export const LINKTYPE_IPV4 = 228;
export const LINKTYPE_IPV6 = 229;
const LINKTYPE_NFLOG = 239;
const LINKTYPE_IPOIB = 242;
const LINKTYPE_PKTAP = 258;
export const LINKTYPE_LINUX_SLL2 = 276;
/** DLT_RAW of most systems and of OpenBSD, as old files have it instead of LINKTYPE_RAW. */
const DLT_RAW = 12;
const DLT_RAW_OPENBSD = 14;

/** The first header of a frame of this link type. */
export function headerOfLinkType(linkType: number): Step {
  switch (linkType) {
    case LINKTYPE_ETHERNET:
      return 'ethernet';
    case LINKTYPE_RAW:
    case DLT_RAW:
    case DLT_RAW_OPENBSD:
      return 'ip';
    case LINKTYPE_IPV4:
      return 'ipv4';
    case LINKTYPE_IPV6:
      return 'ipv6';
    case LINKTYPE_LINUX_SLL:
      return 'linux-cooked-1';
    case LINKTYPE_LINUX_SLL2:
      return 'linux-cooked-2';
    case LINKTYPE_NULL:
      return 'null-loopback';
    case LINKTYPE_LOOP:
      return 'openbsd-loopback';
    case LINKTYPE_PPP:
    case LINKTYPE_PPP_HDLC:
      return 'ppp';
    case LINKTYPE_PPP_PPPD:
    case LINKTYPE_PPP_WITH_DIR:
      return 'ppp-with-direction';
    case LINKTYPE_PPP_ETHER:
      return 'pppoe';
    case LINKTYPE_C_HDLC:
      return 'cisco-hdlc';
    case LINKTYPE_MPLS:
      return 'mpls';
    case LINKTYPE_ATM_RFC1483:
      return 'llc';
    case LINKTYPE_IEEE802_11:
      return 'ieee802-11';
    case LINKTYPE_IEEE802_11_RADIOTAP:
      return 'radiotap';
    case LINKTYPE_FDDI:
      return 'fddi';
    case LINKTYPE_IPOIB:
      return 'infiniband';
    case LINKTYPE_NFLOG:
      return 'nflog';
    case LINKTYPE_PKTAP:
      return 'pktap';
    default:
      return 'unsupported-link-type';
  }
}
