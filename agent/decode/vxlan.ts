/**
 * Virtual eXtensible LAN: RFC 7348, section 5, and its Generic Protocol Extension, draft-ietf-nvo3-vxlan-gpe-13,
 * section 3.
 */
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

const FLAGS = 0;
const NEXT_PROTOCOL = 3;
const IDENTIFIER = 4;
const HEADER_LENGTH = 8;

/** The header has a network identifier: always set in VXLAN. */
const HAS_IDENTIFIER = 0x08;
/** The next protocol field is in use; without it a whole Ethernet frame follows. */
const HAS_NEXT_PROTOCOL = 0x04;

const NEXT_IPV4 = 1;
const NEXT_IPV6 = 2;
const NEXT_ETHERNET = 3;
const NEXT_MPLS = 5;

/** Moves to the Ethernet frame in the tunnel. */
export function decodeVxlan(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  if ((view.getUint8(offset + FLAGS) & HAS_IDENTIFIER) === 0) return 'not-tcp';
  packet.offset = offset + HEADER_LENGTH;
  enterTunnel(packet, 'vxlan', view.getUint32(offset + IDENTIFIER) >>> 8);
  return 'ethernet';
}

/** Moves to what the next protocol field names. */
export function decodeVxlanGpe(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  packet.offset = offset + HEADER_LENGTH;
  enterTunnel(packet, 'vxlan', view.getUint32(offset + IDENTIFIER) >>> 8);
  if ((view.getUint8(offset + FLAGS) & HAS_NEXT_PROTOCOL) === 0) return 'ethernet';
  switch (view.getUint8(offset + NEXT_PROTOCOL)) {
    case NEXT_IPV4:
      return 'ipv4';
    case NEXT_IPV6:
      return 'ipv6';
    case NEXT_ETHERNET:
      return 'ethernet';
    case NEXT_MPLS:
      return 'mpls';
    default:
      return 'not-ip';
  }
}
