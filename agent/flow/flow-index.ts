/**
 * Finds a flow by the addresses and ports of a packet: a hash table with open addressing (linear probing) over a
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
  type FlowStore,
} from './flow-store.ts';

/**
 * A bucket is one word, so that the buckets of 50,000 flows fit into a cache of 1 MB: a slot's number plus 1 in the
 * lower bits, and in the upper ones those of its hash, which mostly tell a stranger without a look at its record.
 */
const SLOT_MASK = MAX_SLOTS;
const TAG_MASK = ~SLOT_MASK;
const FREE = 0;
/** Buckets to begin with; always a power of two. */
const FIRST_BUCKETS = 1024;

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

  /** The hash of the packet's connection: the same for both directions. */
  hashOf(packet: Packet): number {
    const seed = this.#seed;
    const { source0, source1, source2, source3, sourcePort } = packet;
    const { destination0, destination1, destination2, destination3, destinationPort } = packet;
    const source = hashEndpoint(seed, source0, source1, source2, source3, sourcePort);
    const destination = hashEndpoint(
      seed,
      destination0,
      destination1,
      destination2,
      destination3,
      destinationPort,
    );
    // Both are scrambled, and so is their sum.
    return (source + destination) | 0;
  }

  /**
   * The flow that the packet belongs to, in either direction.
   *
   * @returns twice its slot, plus 1 where end B is the sender; `NOT_FOUND` when there is none
   */
  find(packet: Packet): number {
    const { words } = this.#store;
    const latest = this.#latest;
    if (latest !== NO_SLOT) {
      const end = senderOf(words, latest * RECORD_WORDS, packet);
      if (end !== NOT_FOUND) return latest * 2 + end;
    }
    const hash = this.hashOf(packet);
    const buckets = this.#buckets;
    const mask = this.#mask;
    for (let bucket = hash & mask; ; bucket = (bucket + 1) & mask) {
      const entry = buckets[bucket] as number;
      if (entry === FREE) return NOT_FOUND;
      if (((entry ^ hash) & TAG_MASK) !== 0) continue;
      const slot = slotOf(entry);
      const end = senderOf(words, slot * RECORD_WORDS, packet);
      if (end === NOT_FOUND) continue;
      this.#latest = slot;
      return slot * 2 + end;
    }
  }

  /** Adds a flow that is not there; its record has its hash. */
  add(slot: number): void {
    if ((this.#size + 1) * 2 > this.#buckets.length) this.#grow();
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

/** Which end of the record's flow sent the packet: 0 for A, 1 for B; `NOT_FOUND` where it is another flow's. */
function senderOf(words: Int32Array, record: number, packet: Packet): number {
  const ports = words[record + PORTS];
  const { sourcePort, destinationPort } = packet;
  if (
    ports === ((sourcePort << 16) | destinationPort) &&
    isSource(words, record + ADDRESS_A, packet) &&
    isDestination(words, record + ADDRESS_B, packet)
  ) {
    return 0;
  }
  if (
    ports === ((destinationPort << 16) | sourcePort) &&
    isSource(words, record + ADDRESS_B, packet) &&
    isDestination(words, record + ADDRESS_A, packet)
  ) {
    return 1;
  }
  return NOT_FOUND;
}

function isSource(words: Int32Array, address: number, packet: Packet): boolean {
  return (
    words[address + 3] === packet.source3 &&
    words[address + 2] === packet.source2 &&
    words[address + 1] === packet.source1 &&
    words[address] === packet.source0
  );
}

function isDestination(words: Int32Array, address: number, packet: Packet): boolean {
  return (
    words[address + 3] === packet.destination3 &&
    words[address + 2] === packet.destination2 &&
    words[address + 1] === packet.destination1 &&
    words[address] === packet.destination0
  );
}

/**
 * Each word times its own odd number, the sum scrambled: odd numbers from the fractional parts of square roots. The
 * upper words of an IPv4 address are always the same and say nothing.
 */
function hashEndpoint(seed: number, w0: number, w1: number, w2: number, w3: number, port: number): number {
  let sum = (seed + Math.imul(w3 ^ seed, 0x6a09e667) + Math.imul(port ^ seed, 0xbb67ae85)) | 0;
  if ((w0 | w1 | (w2 ^ IPV4_MAPPED_WORD)) !== 0) {
    sum =
      (sum +
        Math.imul(w0 ^ seed, 0x3c6ef373) +
        Math.imul(w1 ^ seed, 0xa54ff53b) +
        Math.imul(w2 ^ seed, 0x510e527f)) |
      0;
  }
  return scramble(sum);
}

/** Spreads every bit over all: the finalizer of MurmurHash3 (Austin Appleby, public domain). */
function scramble(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
