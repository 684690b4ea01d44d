/**
 * Where the numbers of all flows are: records of a fixed layout in one block of memory.
 *
 * What a packet touches of its flow lies together: two cache lines of 64 bytes, the first one and that of its sender.
 * Objects with fields spread the same numbers over a dozen places of the heap; with 50,000 flows the table needed 300 ns
 * a packet for them, and 60 ns with records (bench/replay).
 *
 * The memory is seen as two arrays, one of words and one of doubles; both are cheaper than a `DataView`, most of all
 * before the code is compiled. A record starts at a word; the same place among the doubles is half of that number.
 */
import { IPV4_MAPPED_WORD } from '../../common/address.ts';

/** Words of 32 bits of a record. What follows are words of it, where nothing else is said. */
export const RECORD_WORDS = 64;
/** Addresses of the two ends, four words each; end A sent the first packet. */
export const ADDRESS_A = 0;
export const ADDRESS_B = 4;
export const ADDRESS_WORDS = 4;
/** The port of end A in the upper half, that of end B in the lower. */
export const PORTS = 8;
/** Facts of tcp-state.ts. */
export const FACTS_A = 9;
export const FACTS_B = 10;
/** `Packet.tunnelKey`: which tunnels the flow's packets come in; 0 for none. */
export const TUNNEL = 11;
/** The latest packet: seconds as a double (of which this is the place among the doubles), nanoseconds. */
export const LAST_SECONDS = 6;
export const LAST_NANOSECONDS = 14;
/** What is known of the initial sequence numbers, and whether the handshake waits for its last segment: bits. */
export const INITIALS = 15;
/** What each end has sent. */
export const SIDE_A = 16;
export const SIDE_B = 32;
/** Holes in the stream of each end (see stream.ts): first and end of each. */
export const HOLES_A = 48;
export const HOLES_B = 56;
/** In what is left behind the sides. The earliest packet: seconds as a double, nanoseconds. */
export const FIRST_SECONDS = 14;
export const FIRST_NANOSECONDS = 30;
export const HASH = 31;
/** `Frame.interfaceIndex` of the first packet. */
export const INTERFACE = 44;
/** Who opened the connection, and how far that is proven: bits; and the number of the queue that holds the flow. */
export const ROLES = 45;
/** Slots of the neighbours in the queue. */
export const OLDER = 46;
export const NEWER = 47;

/** Totals of a side: doubles, from half of `SIDE_A` or `SIDE_B`. */
export const SIDE_PACKETS = 0;
export const SIDE_BYTES = 1;
export const SIDE_PAYLOAD_BYTES = 2;
export const SIDE_STREAM_BYTES = 3;
/** Words of a side, from `SIDE_A` or `SIDE_B`. Sequence numbers: of the SYN, and the one expected next (see stream.ts). */
export const SIDE_INITIAL_SEQUENCE = 8;
export const SIDE_NEXT_SEQUENCE = 9;
/** The interface that the side's packets are counted on. */
export const SIDE_INTERFACE = 10;
/** 0 where the sequence number expected next is not known, else one more than there are holes. */
export const SIDE_STREAM_STATE = 11;
export const HOLE_WORDS = 2;
export const MAX_HOLES = 4;

/** Bits of `INITIALS`. The initial sequence number of an end is known, by its SYN or about. */
export const INITIAL_OF_A = 1;
export const INITIAL_OF_B = 2;
/** A handshake was answered, and the initiator has not acknowledged the answer yet. */
export const AWAITS_ACK = 4;

/** Bits of `ROLES`. End B is taken for the initiator. */
export const B_IS_INITIATOR = 1;
/** A handshake was seen that this end began: its SYN, and the SYN-ACK that acknowledges it. */
export const PROVEN_A = 2;
export const PROVEN_B = 4;
/** The initiator has acknowledged the SYN-ACK. */
export const COMPLETED = 8;
/** The end's initial sequence number was read from a SYN. */
export const EXACT_A = 16;
export const EXACT_B = 32;
/** The end has sent a SYN, in this flow or in one before it between the same ends. */
export const OPENED_A = 64;
export const OPENED_B = 128;
/** The number of the queue (expiry.ts) stands above the bits. */
export const QUEUE_SHIFT = 8;
export const ROLES_MASK = (1 << QUEUE_SHIFT) - 1;

/** Whether the address that starts there is one of IPv4. */
export function isIpv4At(words: Int32Array, address: number): boolean {
  return words[address] === 0 && words[address + 1] === 0 && words[address + 2] === IPV4_MAPPED_WORD;
}

/** The port of end A or B. */
export function portAt(words: Int32Array, record: number, isB: boolean): number {
  const ports = words[record + PORTS] as number;
  return isB ? ports & 0xffff : ports >>> 16;
}

/** Stands for no slot. */
export const NO_SLOT = -1;

/** The most slots of a store: an index of flows has that many bits for a slot's number (flow-index.ts). */
export const MAX_SLOTS = 2 ** 22 - 1;

/** The slots of a new store; it doubles when they are used up. */
const FIRST_SLOTS = 1024;

export class FlowStore {
  /** The records as words and as doubles. Replaced when the store grows: not to be kept over an `allocate`. */
  words: Int32Array;
  doubles: Float64Array;
  /** Slots that were used once, and are free again. */
  readonly #freeSlots: number[] = [];
  #usedSlots = 0;

  /**
   * @param slots to begin with. Memory is taken from the system when a slot is used for the first time, so a store of
   *   the size that it may come to costs nothing, and saves the copying
   */
  constructor(slots = FIRST_SLOTS) {
    this.words = new Int32Array(slots * RECORD_WORDS);
    this.doubles = new Float64Array(this.words.buffer);
  }

  /** A slot whose record is all zero. */
  allocate(): number {
    const free = this.#freeSlots.pop();
    if (free !== undefined) return free;
    if ((this.#usedSlots + 1) * RECORD_WORDS > this.words.length) this.#grow();
    return this.#usedSlots++;
  }

  /** Takes a slot back and clears it. */
  release(slot: number): void {
    this.words.fill(0, slot * RECORD_WORDS, (slot + 1) * RECORD_WORDS);
    this.#freeSlots.push(slot);
  }

  /** A store of one slot, with a copy of this record. */
  copyOf(slot: number): FlowStore {
    const copy = new FlowStore(1);
    copy.words.set(this.words.subarray(slot * RECORD_WORDS, (slot + 1) * RECORD_WORDS));
    return copy;
  }

  #grow(): void {
    const words = new Int32Array(this.words.length * 2);
    words.set(this.words);
    this.words = words;
    this.doubles = new Float64Array(words.buffer);
  }
}
