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
  NO_SLOT,
  PORT_A,
  PORT_B,
  RECORD_BYTES,
  type FlowStore,
} from './flow-store.ts';

/** Buckets to begin with; always a power of two. A bucket is two numbers: a hash and a slot. */
const FIRST_BUCKETS = 1024;
/** The bucket is free; no flow has this hash. */
const FREE = 0;

/** What `find` answers when there is no such flow. */
export const NOT_FOUND = -1;

export class FlowIndex {
  readonly #store: FlowStore;
  readonly #seed: number;
  #buckets = new Int32Array(FIRST_BUCKETS * 2);
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
    this.#seed = seed;
  }

  get size(): number {
    return this.#size;
  }

  /** The hash of the packet's connection: never 0, the same for both directions. */
  hashOf(packet: Packet): number {
    const seed = this.#seed;
    // As signed numbers: unsigned ones above 2^31 are boxed where a call is not inlined, 16 bytes each.
    const source = hashEndpoint(
      seed,
      packet.source0 | 0,
      packet.source1 | 0,
      packet.source2 | 0,
      packet.source3 | 0,
      packet.sourcePort,
    );
    const destination = hashEndpoint(
      seed,
      packet.destination0 | 0,
      packet.destination1 | 0,
      packet.destination2 | 0,
      packet.destination3 | 0,
      packet.destinationPort,
    );
    const hash = scramble((source + destination) | 0);
    return hash === FREE ? 1 : hash;
  }

  /**
   * The flow that the packet belongs to, in either direction.
   *
   * @returns twice its slot, plus 1 where end B is the sender; `NOT_FOUND` when there is none
   */
  find(packet: Packet): number {
    const { view } = this.#store;
    const latest = this.#latest;
    if (latest !== NO_SLOT) {
      const end = senderOf(view, latest * RECORD_BYTES, packet);
      if (end !== NOT_FOUND) return latest * 2 + end;
    }
    const hash = this.hashOf(packet);
    const buckets = this.#buckets;
    const mask = this.#mask;
    for (let bucket = hash & mask; ; bucket = (bucket + 1) & mask) {
      const found = numberAt(buckets, bucket * 2);
      if (found === FREE) return NOT_FOUND;
      if (found !== hash) continue;
      const slot = numberAt(buckets, bucket * 2 + 1);
      const end = senderOf(view, slot * RECORD_BYTES, packet);
      if (end === NOT_FOUND) continue;
      this.#latest = slot;
      return slot * 2 + end;
    }
  }

  /** Adds a flow that is not there; its record has its hash. */
  add(slot: number): void {
    if ((this.#size + 1) * 4 > this.#buckets.length) this.#grow();
    this.#size++;
    this.#put(this.#hashAt(slot), slot);
  }

  /** Removes a flow that is there, and closes the gap so that no search ends at it. */
  remove(slot: number): void {
    const buckets = this.#buckets;
    const mask = this.#mask;
    let hole = this.#hashAt(slot) & mask;
    while (buckets[hole * 2 + 1] !== slot) hole = (hole + 1) & mask;
    this.#size--;
    if (this.#latest === slot) this.#latest = NO_SLOT;
    for (let next = (hole + 1) & mask; ; next = (next + 1) & mask) {
      const hash = numberAt(buckets, next * 2);
      if (hash === FREE) break;
      const distanceFromHome = (next - hash) & mask;
      if (distanceFromHome < ((next - hole) & mask)) continue;
      buckets[hole * 2] = hash;
      buckets[hole * 2 + 1] = numberAt(buckets, next * 2 + 1);
      hole = next;
    }
    buckets[hole * 2] = FREE;
  }

  #hashAt(slot: number): number {
    return this.#store.view.getInt32(slot * RECORD_BYTES + HASH, true);
  }

  #put(hash: number, slot: number): void {
    let bucket = hash & this.#mask;
    while (this.#buckets[bucket * 2] !== FREE) bucket = (bucket + 1) & this.#mask;
    this.#buckets[bucket * 2] = hash;
    this.#buckets[bucket * 2 + 1] = slot;
  }

  #grow(): void {
    const old = this.#buckets;
    this.#buckets = new Int32Array(old.length * 2);
    this.#mask = old.length - 1;
    for (let index = 0; index < old.length; index += 2) {
      const hash = numberAt(old, index);
      if (hash !== FREE) this.#put(hash, numberAt(old, index + 1));
    }
  }
}

/** Which end of the record's flow sent the packet: 0 for A, 1 for B; `NOT_FOUND` where it is another flow's. */
function senderOf(view: DataView, record: number, packet: Packet): number {
  if (
    isSource(view, record + ADDRESS_A, record + PORT_A, packet) &&
    isDestination(view, record + ADDRESS_B, record + PORT_B, packet)
  ) {
    return 0;
  }
  if (
    isSource(view, record + ADDRESS_B, record + PORT_B, packet) &&
    isDestination(view, record + ADDRESS_A, record + PORT_A, packet)
  ) {
    return 1;
  }
  return NOT_FOUND;
}

// Words are compared as signed numbers: the packet's unsigned ones are doubles, and comparing as such takes longer.

function isSource(view: DataView, address: number, port: number, packet: Packet): boolean {
  return (
    view.getUint16(port, true) === packet.sourcePort &&
    view.getInt32(address + 12, true) === (packet.source3 | 0) &&
    view.getInt32(address + 8, true) === (packet.source2 | 0) &&
    view.getInt32(address + 4, true) === (packet.source1 | 0) &&
    view.getInt32(address, true) === (packet.source0 | 0)
  );
}

function isDestination(view: DataView, address: number, port: number, packet: Packet): boolean {
  return (
    view.getUint16(port, true) === packet.destinationPort &&
    view.getInt32(address + 12, true) === (packet.destination3 | 0) &&
    view.getInt32(address + 8, true) === (packet.destination2 | 0) &&
    view.getInt32(address + 4, true) === (packet.destination1 | 0) &&
    view.getInt32(address, true) === (packet.destination0 | 0)
  );
}

/** A number of the array; the index is known to be within. */
function numberAt(array: Int32Array, index: number): number {
  return array[index] as number;
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
