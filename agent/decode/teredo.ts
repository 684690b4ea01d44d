/** Teredo, IPv6 in UDP through address translators: RFC 4380, sections 5.1.1 and 5.2. */
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

/** What may stand before the IPv6 header: the first two bytes tell, none of them begins as IPv6 does. */
const INDICATOR_LENGTH = 2;
const AUTHENTICATION = 0x0001;
const AUTHENTICATION_CLIENT_LENGTH = 2;
const AUTHENTICATION_VALUE_LENGTH = 3;
/** With nonce and confirmation, without identifier and value. */
const AUTHENTICATION_MINIMUM = 13;
const ORIGIN = 0x0000;
const ORIGIN_LENGTH = 8;

const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_SOURCE = 8;
const IPV6_DESTINATION = 24;
const IPV6_LENGTH = 40;
/** The first 32 bits of every Teredo address (RFC 4380, section 2.6). */
const TEREDO_PREFIX = 0x20010000;

/** Moves to the IPv6 packet. */
export function decodeTeredo(view: DataView, packet: Packet): Step {
  const start = startOfIpv6(view, packet);
  if (start < 0) return 'truncated';
  packet.offset = start;
  enterTunnel(packet, 'teredo');
  return 'ipv6';
}

/**
 * Whether a datagram between any two ports is Teredo: nothing but an IPv6 packet of exactly its length, of which one
 * address is a Teredo address. That is some 50 bits that chance would have to get right.
 */
export function isTeredo(view: DataView, packet: Packet): boolean {
  const start = startOfIpv6(view, packet);
  if (start < 0 || packet.capturedEnd - start < IPV6_LENGTH || view.getUint8(start) >>> 4 !== 6) return false;
  if (view.getUint16(start + IPV6_PAYLOAD_LENGTH) !== packet.wireEnd - start - IPV6_LENGTH) return false;
  return (
    view.getUint32(start + IPV6_SOURCE) === TEREDO_PREFIX ||
    view.getUint32(start + IPV6_DESTINATION) === TEREDO_PREFIX
  );
}

/** Where the IPv6 header starts, behind an authentication and an origin indication; -1 where that is not captured. */
function startOfIpv6(view: DataView, { offset, capturedEnd }: Packet): number {
  let start = offset;
  if (capturedEnd - start < INDICATOR_LENGTH) return -1;
  if (view.getUint16(start) === AUTHENTICATION) {
    if (capturedEnd - start < AUTHENTICATION_MINIMUM) return -1;
    const clientLength = view.getUint8(start + AUTHENTICATION_CLIENT_LENGTH);
    start += AUTHENTICATION_MINIMUM + clientLength + view.getUint8(start + AUTHENTICATION_VALUE_LENGTH);
    if (capturedEnd - start < INDICATOR_LENGTH) return -1;
  }
  return view.getUint16(start) === ORIGIN ? start + ORIGIN_LENGTH : start;
}
