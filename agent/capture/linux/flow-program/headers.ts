/** Headers that more than one part of the program reads: numbers and offsets in bytes. */

/** Protocol numbers of IANA. */
export const IPPROTO_IPIP = 4;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_IPV6 = 41;
export const IPPROTO_GRE = 47;
export const IPPROTO_L2TP = 115;
/** What else than TCP is looked into, or handed up. */
export const TUNNELS = [IPPROTO_UDP, IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6, IPPROTO_L2TP];
/** RFC 9293, section 3.1. */
export const TCP = {
  length: 20,
  sourcePort: 0,
  destinationPort: 2,
  sequence: 4,
  dataOffset: 12,
  flags: 13,
} as const;
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_ACK = 0x10;
export const VLAN_TAG = { length: 4, type: 2 } as const;
