/** What all tunnels share. */
import { NO_TUNNEL_ID, TUNNEL_TYPES, type TunnelType } from '../../common/tunnel.ts';
import type { Address } from '../../common/address.ts';
import type { Packet } from './packet.ts';

/** Odd multipliers: the second of MurmurHash3 (Austin Appleby, public domain), and one of xxHash (Yann Collet). */
export const TUNNEL_WORD_MULTIPLIER = 0x85ebca6b;
export const TUNNEL_ID_MULTIPLIER = 0x9e3779b1;
/** The number of a kind of tunnel stands above the 24 bits of its number. */
const TYPE_SHIFT = 24;
const KIND_BY_INSIDE: Readonly<Partial<Record<TunnelType, TunnelType>>> = { '4in6': 'ipip', '6in6': '6in4' };
/** How far a hash is shifted into itself. */
export const TUNNEL_HASH_SHIFT = 15;

/**
 * Notes that what follows is inside a tunnel between the two addresses just read. In a tunnel within a tunnel the
 * addresses of the outermost are kept: they are the peers that are seen on the wire here.
 *
 * @param id the tunnel's number where both directions have the same: the VNI, 24 bits
 */
export function enterTunnel(packet: Packet, type: TunnelType, id: number = NO_TUNNEL_ID): void {
  if (packet.tunnel === 'none') {
    packet.outerSource0 = packet.source0;
    packet.outerSource1 = packet.source1;
    packet.outerSource2 = packet.source2;
    packet.outerSource3 = packet.source3;
    packet.outerDestination0 = packet.destination0;
    packet.outerDestination1 = packet.destination1;
    packet.outerDestination2 = packet.destination2;
    packet.outerDestination3 = packet.destination3;
    packet.outerTunnelId = id;
  }
  packet.tunnel = type;
  packet.tunnelDepth++;
  packet.tunnelKey = keyOf(packet, tunnelNumber(type, id));
}

/** The sender's end of the outermost tunnel, of a packet that came in one. */
export function outerSourceOf(packet: Packet): Address {
  return {
    w0: packet.outerSource0,
    w1: packet.outerSource1,
    w2: packet.outerSource2,
    w3: packet.outerSource3,
  };
}

/** The other end of it. */
export function outerDestinationOf(packet: Packet): Address {
  return {
    w0: packet.outerDestination0,
    w1: packet.outerDestination1,
    w2: packet.outerDestination2,
    w3: packet.outerDestination3,
  };
}

/** The kind of a tunnel and its number as one; never 0. Whether the outer header is IPv4 or IPv6 is in its addresses. */
export function tunnelNumber(type: TunnelType, id: number = NO_TUNNEL_ID): number {
  return (
    ((TUNNEL_TYPES.indexOf(KIND_BY_INSIDE[type] ?? type) + 1) << TYPE_SHIFT) | (id === NO_TUNNEL_ID ? 0 : id)
  );
}

/** Adds the tunnel to those that it is in. Never 0. The program of the kernel computes the same (flow-program/tunnel.ts). */
function keyOf(packet: Packet, number: number): number {
  const { tunnelSeed } = packet;
  const source = hashEnd(tunnelSeed, packet.source0, packet.source1, packet.source2, packet.source3);
  const destination = hashEnd(
    tunnelSeed,
    packet.destination0,
    packet.destination1,
    packet.destination2,
    packet.destination3,
  );
  return (packet.tunnelKey + source + destination + Math.imul(number ^ tunnelSeed, TUNNEL_ID_MULTIPLIER)) | 1;
}

/** Each step can be undone, so that ends that differ in one word never have the same hash. */
function hashEnd(seed: number, w0: number, w1: number, w2: number, w3: number): number {
  return mix(mix(mix(mix(seed, w0), w1), w2), w3);
}

function mix(hash: number, word: number): number {
  const mixed = Math.imul(hash ^ word, TUNNEL_WORD_MULTIPLIER);
  return mixed ^ (mixed >>> TUNNEL_HASH_SHIFT);
}
