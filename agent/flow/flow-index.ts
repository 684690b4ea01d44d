/**
 * Finds a flow by the addresses and ports of a packet: a hash table with open addressing (linear probing) over
 * typed arrays, so that a look-up makes no key. Both directions of a connection have the same hash.
 */
import type { Packet } from '../decode/packet.ts';
import type { Flow, FlowSide } from './flow.ts';

/** Buckets to begin with; always a power of two. */
const FIRST_BUCKETS = 1024;
/** The bucket is free; no flow has this hash. */
const FREE = 0;

export class FlowIndex<Tag> {
  #hashes = new Int32Array(FIRST_BUCKETS);
  #flows: (Flow<Tag> | undefined)[] = Array.from({ length: FIRST_BUCKETS }, () => undefined);
  #mask = FIRST_BUCKETS - 1;
  #size = 0;
  readonly #seed: number;

  /** @param seed any 32-bit number; an unknown one keeps strangers from choosing ports that collide */
  constructor(seed: number) {
    this.#seed = seed;
  }

  get size(): number {
    return this.#size;
  }

  /** The hash of the packet's connection: never 0, the same for both directions. */
  hashOf(packet: Packet): number {
    const source = hashEndpoint(
      this.#seed,
      packet.source0,
      packet.source1,
      packet.source2,
      packet.source3,
      packet.sourcePort,
    );
    const destination = hashEndpoint(
      this.#seed,
      packet.destination0,
      packet.destination1,
      packet.destination2,
      packet.destination3,
      packet.destinationPort,
    );
    const hash = scramble((source + destination) | 0);
    return hash === FREE ? 1 : hash;
  }

  /** The flow that the packet belongs to, in either direction. */
  find(hash: number, packet: Packet): Flow<Tag> | undefined {
    const hashes = this.#hashes;
    for (let bucket = hash & this.#mask; ; bucket = (bucket + 1) & this.#mask) {
      const found = hashes[bucket];
      if (found === FREE) return undefined;
      if (found !== hash) continue;
      const flow = this.#flows[bucket];
      if (flow !== undefined && isConnectionOf(flow, packet)) return flow;
    }
  }

  /** Adds a flow that is not there. */
  add(flow: Flow<Tag>): void {
    if ((this.#size + 1) * 2 > this.#hashes.length) this.#grow();
    this.#size++;
    this.#put(flow);
  }

  /** Removes a flow that is there, and closes the gap so that no search ends at it. */
  remove(flow: Flow<Tag>): void {
    const mask = this.#mask;
    let hole = flow.hash & mask;
    while (this.#flows[hole] !== flow) hole = (hole + 1) & mask;
    this.#size--;
    for (let next = (hole + 1) & mask; ; next = (next + 1) & mask) {
      const hash = this.#hashes[next] ?? FREE;
      if (hash === FREE) break;
      const distanceFromHome = (next - hash) & mask;
      if (distanceFromHome < ((next - hole) & mask)) continue;
      this.#hashes[hole] = hash;
      this.#flows[hole] = this.#flows[next];
      hole = next;
    }
    this.#hashes[hole] = FREE;
    this.#flows[hole] = undefined;
  }

  #put(flow: Flow<Tag>): void {
    let bucket = flow.hash & this.#mask;
    while (this.#hashes[bucket] !== FREE) bucket = (bucket + 1) & this.#mask;
    this.#hashes[bucket] = flow.hash;
    this.#flows[bucket] = flow;
  }

  #grow(): void {
    const flows = this.#flows;
    const buckets = this.#hashes.length * 2;
    this.#hashes = new Int32Array(buckets);
    this.#flows = Array.from({ length: buckets }, () => undefined);
    this.#mask = buckets - 1;
    for (const flow of flows) if (flow !== undefined) this.#put(flow);
  }
}

/** Whether the side is the packet's sender. */
export function isSender(side: FlowSide, packet: Packet): boolean {
  return (
    side.port === packet.sourcePort &&
    side.w3 === packet.source3 &&
    side.w2 === packet.source2 &&
    side.w1 === packet.source1 &&
    side.w0 === packet.source0
  );
}

function isReceiver(side: FlowSide, packet: Packet): boolean {
  return (
    side.port === packet.destinationPort &&
    side.w3 === packet.destination3 &&
    side.w2 === packet.destination2 &&
    side.w1 === packet.destination1 &&
    side.w0 === packet.destination0
  );
}

function isConnectionOf(flow: Flow<unknown>, packet: Packet): boolean {
  const { initiator, responder } = flow;
  return (
    (isSender(initiator, packet) && isReceiver(responder, packet)) ||
    (isSender(responder, packet) && isReceiver(initiator, packet))
  );
}

/** Each word times its own odd number, the sum scrambled: odd numbers from the fractional parts of square roots. */
function hashEndpoint(seed: number, w0: number, w1: number, w2: number, w3: number, port: number): number {
  return scramble(
    (seed +
      Math.imul(w0 ^ seed, 0x6a09e667) +
      Math.imul(w1 ^ seed, 0xbb67ae85) +
      Math.imul(w2 ^ seed, 0x3c6ef373) +
      Math.imul(w3 ^ seed, 0xa54ff53b) +
      Math.imul(port ^ seed, 0x510e527f)) |
      0,
  );
}

/** Spreads every bit over all: the finalizer of MurmurHash3 (Austin Appleby, public domain). */
function scramble(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
