/**
 * Which connection a later fragment belongs to. Only the first fragment of a packet has ports; what was read of it is
 * remembered for half a minute under what all fragments of the packet share (RFC 791, section 3.2: addresses, protocol,
 * identification; RFC 8200, section 4.5: all but the protocol; and the tunnels around it), so that the rest is counted to
 * the same connection.
 * Where a tunnel's packet was cut up that is the connection inside, whose volume could be hidden otherwise. A fragment
 * that comes before the first one stays without a connection: nothing is held back or put together here.
 *
 * One block of memory, of a fixed size: sets of a few entries, chosen by a hash. Where a set is full, its oldest entry
 * gives way, and is counted if its time was not over.
 */
import type { Frame } from '../capture/source.ts';
import type { DecodeOutcome, Fragment, Packet } from './packet.ts';
import { TUNNEL_TYPES } from '../../common/tunnel.ts';

/** As long as Linux waits for the rest (net.ipv4.ipfrag_time). */
const LIFETIME_SECONDS = 30;

/** 4,096 entries: packets that are in pieces at the same time. The sets are a power of two. */
const SETS = 1024;
const SET_ENTRIES = 4;

/** An entry, in bytes: the key, then what the first fragment said. Addresses are four words each. */
const KEY_SOURCE = 0;
const KEY_DESTINATION = 16;
const KEY_IDENTIFICATION = 32;
const KEY_PROTOCOL = 36;
/** 0 where the entry is free. */
const IP_VERSION = 37;
/** 0 for none, else one more than the place in `TUNNEL_TYPES`. */
const TUNNEL = 38;
const TUNNEL_DEPTH = 39;
const SECONDS = 40;
const SOURCE = 44;
const DESTINATION = 60;
const OUTER_SOURCE = 76;
const OUTER_DESTINATION = 92;
const SOURCE_PORT = 108;
const DESTINATION_PORT = 110;
const TUNNEL_KEY = 112;
const OUTER_TUNNEL_ID = 116;
const KEY_TUNNEL = 120;
const ENTRY_BYTES = 124;

const NOT_FOUND = -1;

export class FragmentCache {
  readonly #view = new DataView(new ArrayBuffer(SETS * SET_ENTRIES * ENTRY_BYTES));
  readonly #hashSeed: number;
  #turnedAway = 0;

  /** @param hashSeed any 32-bit number; an unknown one keeps strangers from driving out chosen entries */
  constructor(hashSeed = 0) {
    this.#hashSeed = hashSeed;
  }

  /** First fragments that were forgotten before their time because of others. */
  get turnedAway(): number {
    return this.#turnedAway;
  }

  /**
   * To be called with each decoded packet.
   *
   * @returns the outcome, which for a later fragment becomes `tcp` when that of the first one was: the record then has
   * its ports, no flags, and this fragment's part of the payload
   */
  join(frame: Frame, packet: Packet, outcome: DecodeOutcome): DecodeOutcome {
    if (!packet.isFragment) return outcome;
    const { fragment } = packet;
    const isFirst = fragment.offset === 0;
    if (outcome !== (isFirst ? 'tcp' : 'later-fragment')) return outcome;
    const set = (hashOf(fragment, this.#hashSeed) & (SETS - 1)) * SET_ENTRIES * ENTRY_BYTES;
    const found = this.#find(set, fragment, frame.seconds);
    if (isFirst) {
      const entry = found === NOT_FOUND ? this.#placeIn(set, frame.seconds) : found;
      writeKey(this.#view, entry, fragment);
      writeConnection(this.#view, entry, packet);
      this.#view.setInt32(entry + SECONDS, frame.seconds);
      return outcome;
    }
    if (found === NOT_FOUND) return outcome;
    readConnection(this.#view, found, packet);
    return 'tcp';
  }

  #find(set: number, fragment: Fragment, seconds: number): number {
    for (let index = 0; index < SET_ENTRIES; index++) {
      const entry = set + index * ENTRY_BYTES;
      if (this.#isFresh(entry, seconds) && hasKey(this.#view, entry, fragment)) return entry;
    }
    return NOT_FOUND;
  }

  /** A free entry of the set, else its oldest. */
  #placeIn(set: number, seconds: number): number {
    let oldest = set;
    for (let index = 0; index < SET_ENTRIES; index++) {
      const entry = set + index * ENTRY_BYTES;
      if (!this.#isFresh(entry, seconds)) return entry;
      if (this.#age(entry, seconds) > this.#age(oldest, seconds)) oldest = entry;
    }
    this.#turnedAway++;
    return oldest;
  }

  /** Frames of several interfaces may be a little out of order, so an entry may be younger than the frame. */
  #isFresh(entry: number, seconds: number): boolean {
    const isUsed = this.#view.getUint8(entry + IP_VERSION) !== 0;
    return isUsed && Math.abs(this.#age(entry, seconds)) <= LIFETIME_SECONDS;
  }

  #age(entry: number, seconds: number): number {
    return (seconds - this.#view.getInt32(entry + SECONDS)) | 0;
  }
}

function hasKey(view: DataView, entry: number, fragment: Fragment): boolean {
  return (
    view.getInt32(entry + KEY_IDENTIFICATION) === fragment.identification &&
    view.getInt32(entry + KEY_TUNNEL) === fragment.tunnelKey &&
    view.getUint8(entry + KEY_PROTOCOL) === fragment.protocol &&
    view.getInt32(entry + KEY_SOURCE) === fragment.source0 &&
    view.getInt32(entry + KEY_SOURCE + 4) === fragment.source1 &&
    view.getInt32(entry + KEY_SOURCE + 8) === fragment.source2 &&
    view.getInt32(entry + KEY_SOURCE + 12) === fragment.source3 &&
    view.getInt32(entry + KEY_DESTINATION) === fragment.destination0 &&
    view.getInt32(entry + KEY_DESTINATION + 4) === fragment.destination1 &&
    view.getInt32(entry + KEY_DESTINATION + 8) === fragment.destination2 &&
    view.getInt32(entry + KEY_DESTINATION + 12) === fragment.destination3
  );
}

function writeKey(view: DataView, entry: number, fragment: Fragment): void {
  view.setInt32(entry + KEY_IDENTIFICATION, fragment.identification);
  view.setInt32(entry + KEY_TUNNEL, fragment.tunnelKey);
  view.setUint8(entry + KEY_PROTOCOL, fragment.protocol);
  view.setInt32(entry + KEY_SOURCE, fragment.source0);
  view.setInt32(entry + KEY_SOURCE + 4, fragment.source1);
  view.setInt32(entry + KEY_SOURCE + 8, fragment.source2);
  view.setInt32(entry + KEY_SOURCE + 12, fragment.source3);
  view.setInt32(entry + KEY_DESTINATION, fragment.destination0);
  view.setInt32(entry + KEY_DESTINATION + 4, fragment.destination1);
  view.setInt32(entry + KEY_DESTINATION + 8, fragment.destination2);
  view.setInt32(entry + KEY_DESTINATION + 12, fragment.destination3);
}

function writeConnection(view: DataView, entry: number, packet: Packet): void {
  view.setUint8(entry + IP_VERSION, packet.ipVersion);
  view.setUint8(entry + TUNNEL, packet.tunnel === 'none' ? 0 : TUNNEL_TYPES.indexOf(packet.tunnel) + 1);
  view.setUint8(entry + TUNNEL_DEPTH, packet.tunnelDepth);
  view.setInt32(entry + TUNNEL_KEY, packet.tunnelKey);
  view.setInt32(entry + OUTER_TUNNEL_ID, packet.outerTunnelId);
  view.setInt32(entry + SOURCE, packet.source0);
  view.setInt32(entry + SOURCE + 4, packet.source1);
  view.setInt32(entry + SOURCE + 8, packet.source2);
  view.setInt32(entry + SOURCE + 12, packet.source3);
  view.setInt32(entry + DESTINATION, packet.destination0);
  view.setInt32(entry + DESTINATION + 4, packet.destination1);
  view.setInt32(entry + DESTINATION + 8, packet.destination2);
  view.setInt32(entry + DESTINATION + 12, packet.destination3);
  view.setInt32(entry + OUTER_SOURCE, packet.outerSource0);
  view.setInt32(entry + OUTER_SOURCE + 4, packet.outerSource1);
  view.setInt32(entry + OUTER_SOURCE + 8, packet.outerSource2);
  view.setInt32(entry + OUTER_SOURCE + 12, packet.outerSource3);
  view.setInt32(entry + OUTER_DESTINATION, packet.outerDestination0);
  view.setInt32(entry + OUTER_DESTINATION + 4, packet.outerDestination1);
  view.setInt32(entry + OUTER_DESTINATION + 8, packet.outerDestination2);
  view.setInt32(entry + OUTER_DESTINATION + 12, packet.outerDestination3);
  view.setUint16(entry + SOURCE_PORT, packet.sourcePort);
  view.setUint16(entry + DESTINATION_PORT, packet.destinationPort);
}

/** Sets every field of a TCP packet: all of the fragment behind its IP header is payload. */
function readConnection(view: DataView, entry: number, packet: Packet): void {
  packet.ipVersion = view.getUint8(entry + IP_VERSION) === 4 ? 4 : 6;
  packet.tunnel = TUNNEL_TYPES[view.getUint8(entry + TUNNEL) - 1] ?? 'none';
  packet.tunnelDepth = view.getUint8(entry + TUNNEL_DEPTH);
  packet.tunnelKey = view.getInt32(entry + TUNNEL_KEY);
  packet.outerTunnelId = view.getInt32(entry + OUTER_TUNNEL_ID);
  packet.source0 = view.getInt32(entry + SOURCE);
  packet.source1 = view.getInt32(entry + SOURCE + 4);
  packet.source2 = view.getInt32(entry + SOURCE + 8);
  packet.source3 = view.getInt32(entry + SOURCE + 12);
  packet.destination0 = view.getInt32(entry + DESTINATION);
  packet.destination1 = view.getInt32(entry + DESTINATION + 4);
  packet.destination2 = view.getInt32(entry + DESTINATION + 8);
  packet.destination3 = view.getInt32(entry + DESTINATION + 12);
  packet.outerSource0 = view.getInt32(entry + OUTER_SOURCE);
  packet.outerSource1 = view.getInt32(entry + OUTER_SOURCE + 4);
  packet.outerSource2 = view.getInt32(entry + OUTER_SOURCE + 8);
  packet.outerSource3 = view.getInt32(entry + OUTER_SOURCE + 12);
  packet.outerDestination0 = view.getInt32(entry + OUTER_DESTINATION);
  packet.outerDestination1 = view.getInt32(entry + OUTER_DESTINATION + 4);
  packet.outerDestination2 = view.getInt32(entry + OUTER_DESTINATION + 8);
  packet.outerDestination3 = view.getInt32(entry + OUTER_DESTINATION + 12);
  packet.sourcePort = view.getUint16(entry + SOURCE_PORT);
  packet.destinationPort = view.getUint16(entry + DESTINATION_PORT);
  packet.sequence = 0;
  packet.acknowledgment = 0;
  packet.tcpFlags = 0;
  packet.window = 0;
  packet.payloadOffset = packet.offset;
  packet.payloadLength = Math.max(0, packet.wireEnd - packet.offset);
  packet.payloadCaptured = Math.max(0, packet.capturedEnd - packet.offset);
}

/** Each word times its own odd number, the sum scrambled: odd numbers from the fractional parts of square roots. */
function hashOf(fragment: Fragment, seed: number): number {
  const sum =
    Math.imul(fragment.source0 ^ seed, 0x6a09e667) +
    Math.imul(fragment.source1 ^ seed, 0xbb67ae85) +
    Math.imul(fragment.source2 ^ seed, 0x3c6ef373) +
    Math.imul(fragment.source3 ^ seed, 0xa54ff53b) +
    Math.imul(fragment.destination0 ^ seed, 0x510e527f) +
    Math.imul(fragment.destination1 ^ seed, 0x9b05688d) +
    Math.imul(fragment.destination2 ^ seed, 0x1f83d9ab) +
    Math.imul(fragment.destination3 ^ seed, 0x5be0cd19) +
    Math.imul(fragment.identification ^ seed, 0xcbbb9d5d);
  const mixed = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}
