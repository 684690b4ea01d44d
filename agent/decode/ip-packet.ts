/** What IPv4 and IPv6 share. */
import type { Packet } from './packet.ts';

/** The number of TCP in the IP header (IANA, protocol numbers). */
export const PROTOCOL_TCP = 6;

/**
 * Narrows the record to an IP packet that says it ends at `wireEnd`, so that padding behind it is never read. A packet
 * that claims more than its frame held gets what the frame held.
 */
export function narrow(packet: Packet, wireEnd: number): void {
  if (wireEnd < packet.wireEnd) packet.wireEnd = wireEnd;
  if (wireEnd < packet.capturedEnd) packet.capturedEnd = wireEnd;
}
