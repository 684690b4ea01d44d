/**
 * The four bytes before IP on the loopback of BSD and macOS: an address family.
 * https://www.tcpdump.org/linktypes.html, LINKTYPE_NULL and LINKTYPE_LOOP
 */
import type { Packet, Step } from './packet.ts';

const FAMILY = 0;
const HEADER_LENGTH = 4;

const AF_INET = 2;
/** AF_INET6 of Linux; of NetBSD and OpenBSD; of FreeBSD; of macOS. */
const AF_INET6_LINUX = 10;
const AF_INET6_NETBSD = 24;
const AF_INET6_FREEBSD = 28;
const AF_INET6_DARWIN = 30;

/** LINKTYPE_NULL: the family is in the byte order of the machine that captured, which need not be the file's. */
export function decodeNullLoopback(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  packet.offset = offset + HEADER_LENGTH;
  const family = view.getUint32(offset + FAMILY);
  // Families are small numbers: read in the wrong order they are not.
  return headerOfFamily(family > 0xffff ? view.getUint32(offset + FAMILY, true) : family);
}

/** LINKTYPE_LOOP: the family is in network byte order. */
export function decodeOpenbsdLoopback(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  packet.offset = offset + HEADER_LENGTH;
  return headerOfFamily(view.getUint32(offset + FAMILY));
}

function headerOfFamily(family: number): Step {
  switch (family) {
    case AF_INET:
      return 'ipv4';
    case AF_INET6_LINUX:
    case AF_INET6_NETBSD:
    case AF_INET6_FREEBSD:
    case AF_INET6_DARWIN:
      return 'ipv6';
    default:
      return 'not-ip';
  }
}
