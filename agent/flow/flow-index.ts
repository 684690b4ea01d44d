/**
 * Finds a flow by the addresses, ports and tunnel of a packet: a hash table with open addressing (linear probing) over a
 * typed array, so that a look-up makes no key. Both directions of a connection have the same hash.
 */
import type { Packet } from '../decode/packet.ts';
import { IPV4_MAPPED_WORD } from '../../common/address.ts';
import {
  ADDRESS_A,
  ADDRESS_B,
  HASH,
  MAX_SLOTS,
  NO_SLOT,
  PORTS,
  RECORD_WORDS,
  TUNNEL,
  type FlowStore,
} from './flow-store.ts';

/**
 * A bucket is one word, so that the buckets of 50,000 flows stay in the processor's cache: a slot's number plus 1 in the
 * lower bits, and in the upper ones those of its hash, which mostly tell a stranger without a look at its record.
 */
const SLOT_MASK = MAX_SLOTS;
const TAG_MASK = ~SLOT_MASK;
const FREE = 0;
/** Buckets to begin with: 256 KiB, of which the system gives what is used; always a power of two. */
const FIRST_BUCKETS = 65_536;
/** How full the buckets may be. A search reads three of them then, mostly next to each other; a cache miss costs more. */
const MOST_FILLED = 0.8;

/** Where no search has begun. */
const NO_BUCKET = -1;

/** What `find` answers when there is no such flow. */
export const NOT_FOUND = -1;

export class FlowIndex {
  readonly #store: FlowStore;
  readonly #seed: number;
  #buckets = new Int32Array(FIRST_BUCKETS);
  #mask = FIRST_BUCKETS - 1;
  #size = 0;
  /** The slot that was found last: in a burst the next packet is of the same flow. */
  #latest = NO_SLOT;

  /**
   * @param store has the records of the flows
   * @param seed any 32-bit number; an unknown one keeps strangers from choosing ports that collide
   */
  constructor(store: FlowStore, seed: number) {
    this.#store = store;
    this.#seed = seed | 0;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * The hash of the packet's connection: the same for both directions. Of each end, every word is multiplied by an odd
   * number of its own (from the fractional parts of square roots), and the sum scrambled by the finalizer of MurmurHash3
   * (Austin Appleby, public domain), so that every bit counts in all.
   */
  hashOf(packet: Packet): number {
    const seed = this.#seed;
    let source = seed + Math.imul(packet.source3 ^ seed, 0x6a09e667);
    let destination = seed + Math.imul(packet.destination3 ^ seed, 0x6a09e667);
    source += Math.imul(packet.sourcePort ^ seed, 0xbb67ae85);
    destination += Math.imul(packet.destinationPort ^ seed, 0xbb67ae85);
    // The upper words of an IPv4 address are always the same and say nothing.
    if (packet.source2 !== IPV4_MAPPED_WORD || (packet.source0 | packet.source1) !== 0) {
      source += hashUpperWords(seed, packet.source0, packet.source1, packet.source2);
    }
    if (packet.destination2 !== IPV4_MAPPED_WORD || (packet.destination0 | packet.destination1) !== 0) {
      destination += hashUpperWords(seed, packet.destination0, packet.destination1, packet.destination2);
    }
    source = Math.imul(source ^ (source >>> 16), 0x85ebca6b);
    destination = Math.imul(destination ^ (destination >>> 16), 0x85ebca6b);
    source = Math.imul(source ^ (source >>> 13), 0xc2b2ae35);
    destination = Math.imul(destination ^ (destination >>> 13), 0xc2b2ae35);
    // Both are scrambled, and so is their sum; a tunnel's key is, too.
    return ((source ^ (source >>> 16)) + (destination ^ (destination >>> 16)) + packet.tunnelKey) | 0;
  }

  /**
   * The flow that the packet belongs to, in either direction.
   *
   * @returns twice its slot, plus 1 where end B is the sender; `NOT_FOUND` when there is none
   */
  find(packet: Packet): number {
    const { words } = this.#store;
    const buckets = this.#buckets;
    const mask = this.#mask;
    let hash = 0;
    let bucket = NO_BUCKET;
    // The flow found last needs no search.
    for (let slot = this.#latest; ; slot = slotOf(buckets[bucket] as number)) {
      if (slot !== NO_SLOT) {
        const end = senderOf(words, slot * RECORD_WORDS, packet);
        if (end !== NOT_FOUND && words[slot * RECORD_WORDS + TUNNEL] === packet.tunnelKey) {
          this.#latest = slot;
          return slot * 2 + end;
        }
      }
      if (bucket === NO_BUCKET) {
        hash = this.hashOf(packet);
        bucket = hash & mask;
      } else {
        bucket = (bucket + 1) & mask;
      }
      let entry = buckets[bucket] as number;
      while (entry !== FREE && ((entry ^ hash) & TAG_MASK) !== 0) {
        bucket = (bucket + 1) & mask;
        entry = buckets[bucket] as number;
      }
      if (entry === FREE) return NOT_FOUND;
    }
  }

  /** Adds a flow that is not there; its record has its hash. */
  add(slot: number): void {
    if (this.#size >= this.#buckets.length * MOST_FILLED) this.#grow();
    this.#size++;
    this.#put(slot);
  }

  /** Removes a flow that is there, and closes the gap so that no search ends at it. */
  remove(slot: number): void {
    const buckets = this.#buckets;
    const mask = this.#mask;
    let hole = this.#hashAt(slot) & mask;
    while (slotOf(buckets[hole] as number) !== slot) hole = (hole + 1) & mask;
    this.#size--;
    if (this.#latest === slot) this.#latest = NO_SLOT;
    for (let next = (hole + 1) & mask; ; next = (next + 1) & mask) {
      const entry = buckets[next] as number;
      if (entry === FREE) break;
      const distanceFromHome = (next - this.#hashAt(slotOf(entry))) & mask;
      if (distanceFromHome < ((next - hole) & mask)) continue;
      buckets[hole] = entry;
      hole = next;
    }
    buckets[hole] = FREE;
  }

  #hashAt(slot: number): number {
    return this.#store.words[slot * RECORD_WORDS + HASH] as number;
  }

  #put(slot: number): void {
    const hash = this.#hashAt(slot);
    let bucket = hash & this.#mask;
    while (this.#buckets[bucket] !== FREE) bucket = (bucket + 1) & this.#mask;
    this.#buckets[bucket] = (hash & TAG_MASK) | (slot + 1);
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Int32Array(old.length * 2);
    this.#mask = this.#buckets.length - 1;
    for (const entry of old) if (entry !== FREE) this.#put(slotOf(entry));
  }
}

/** The slot of a bucket that is not free. */
function slotOf(entry: number): number {
  return (entry & SLOT_MASK) - 1;
}

/**
 * Which end of the record's flow sent the packet, whatever tunnel it came in: 0 for A, 1 for B; `NOT_FOUND` where it is
 * another flow's.
 */
function senderOf(words: Int32Array, record: number, packet: Packet): number {
  const { sourcePort, destinationPort } = packet;
  const ports = words[record + PORTS];
  const isA = ports === ((sourcePort << 16) | destinationPort);
  if (!isA && ports !== ((destinationPort << 16) | sourcePort)) return NOT_FOUND;
  const a = record + ADDRESS_A;
  const b = record + ADDRESS_B;
  if (isBetween(words, isA ? a : b, isA ? b : a, packet)) return isA ? 0 : 1;
  // Two equal ports do not tell the direction.
  return isA && sourcePort === destinationPort && isBetween(words, b, a, packet) ? 1 : NOT_FOUND;
}

/** Whether the packet goes from the address that starts at one word to that at another. What differs most comes first. */
function isBetween(words: Int32Array, source: number, destination: number, packet: Packet): boolean {
  return (
    words[source + 3] === packet.source3 &&
    words[destination + 3] === packet.destination3 &&
    words[source + 2] === packet.source2 &&
    words[destination + 2] === packet.destination2 &&
    words[source + 1] === packet.source1 &&
    words[destination + 1] === packet.destination1 &&
    words[source] === packet.source0 &&
    words[destination] === packet.destination0
  );
}

function hashUpperWords(seed: number, w0: number, w1: number, w2: number): number {
  return (
    Math.imul(w0 ^ seed, 0x3c6ef373) + Math.imul(w1 ^ seed, 0xa54ff53b) + Math.imul(w2 ^ seed, 0x510e527f)
  );
}
