/** What IPv4 and IPv6 share: what they carry, where they end, and fragments. */
import { enterTunnel } from './tunnel.ts';
import type { Packet, Step } from './packet.ts';

/** The number of TCP in the IP header (IANA, protocol numbers). */
export const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
/** RFC 2003, RFC 4213, RFC 2473: a whole IP packet follows. */
const PROTOCOL_IPV4 = 4;
const PROTOCOL_IPV6 = 41;
const PROTOCOL_GRE = 47;
/** RFC 4302; the only one of IPv6's extension headers that IPv4 has too. */
export const PROTOCOL_AUTHENTICATION = 51;
/** RFC 3378. */
const PROTOCOL_ETHERNET = 97;
/** RFC 3931, section 4.1.1. */
const PROTOCOL_L2TP = 115;
/** RFC 4023. */
const PROTOCOL_MPLS = 137;

/**
 * Narrows the record to an IP packet that says it ends at `wireEnd`, so that padding behind it is never read. A packet
 * that claims more than its frame held gets what the frame held.
 */
export function narrow(packet: Packet, wireEnd: number): void {
  if (wireEnd < packet.wireEnd) packet.wireEnd = wireEnd;
  if (wireEnd < packet.capturedEnd) packet.capturedEnd = wireEnd;
}

/** The header that a protocol number names; tunnels are entered. */
export function headerOfProtocol(packet: Packet, protocol: number): Step {
  switch (protocol) {
    case PROTOCOL_TCP:
      return 'tcp-header';
    case PROTOCOL_UDP:
      return 'udp';
    case PROTOCOL_IPV4:
      enterTunnel(packet, packet.ipVersion === 4 ? 'ipip' : '4in6');
      return 'ipv4';
    case PROTOCOL_IPV6:
      enterTunnel(packet, packet.ipVersion === 4 ? '6in4' : '6in6');
      return 'ipv6';
    case PROTOCOL_GRE:
      return 'gre';
    case PROTOCOL_ETHERNET:
      return 'ether-ip';
    case PROTOCOL_L2TP:
      return 'l2tp-3';
    case PROTOCOL_MPLS:
      return 'mpls-tunnel';
    default:
      return 'not-tcp';
  }
}

/**
 * Notes that the IP packet just read is a fragment, with its addresses, which a tunnel in it would overwrite.
 *
 * @param protocol 0 where the fragments of one packet need not agree in it
 * @param fragmentOffset bytes from the start of the whole packet's payload
 */
export function noteFragment(
  packet: Packet,
  protocol: number,
  identification: number,
  fragmentOffset: number,
): void {
  const { fragment } = packet;
  packet.isFragment = true;
  fragment.source0 = packet.source0;
  fragment.source1 = packet.source1;
  fragment.source2 = packet.source2;
  fragment.source3 = packet.source3;
  fragment.destination0 = packet.destination0;
  fragment.destination1 = packet.destination1;
  fragment.destination2 = packet.destination2;
  fragment.destination3 = packet.destination3;
  fragment.protocol = protocol;
  fragment.identification = identification;
  fragment.tunnelKey = packet.tunnelKey;
  fragment.offset = fragmentOffset;
}
