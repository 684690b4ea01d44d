/** LINKTYPE_RAW: an IP packet without a link header, its version in the first four bits (RFC 791 and RFC 8200). */
import type { Packet, Step } from './packet.ts';

const VERSION = 0;
const MINIMUM_LENGTH = 1;

/** Tells IPv4 from IPv6. */
export function decodeRawIp(view: DataView, packet: Packet): Step {
  if (packet.capturedEnd - packet.offset < MINIMUM_LENGTH) return 'truncated';
  const version = view.getUint8(packet.offset + VERSION) >>> 4;
  if (version === 4) return 'ipv4';
  return version === 6 ? 'ipv6' : 'not-ip';
}
