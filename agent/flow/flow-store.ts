/**
 * Where the numbers of all flows are: records of a fixed layout in one block of memory.
 *
 * What a packet touches of its flow lies together: the first 64 bytes, and the part of its sender. Objects with fields
 * spread the same numbers over a dozen places of the heap; with 50,000 flows the table needed 300 ns a packet for
 * them, and 60 ns with records (bench/replay).
 */
import { IPV4_MAPPED_WORD } from '../../common/address.ts';

/** The record: offsets in bytes. Numbers are little-endian. */
export const RECORD_BYTES = 256;
/** Addresses of the two ends, four words each; end A sent the first packet. */
export const ADDRESS_A = 0;
export const ADDRESS_B = 16;
export const ADDRESS_BYTES = 16;
/** Ports: 16 bits each. */
export const PORT_A = 32;
export const PORT_B = 34;
/** Facts of tcp-state.ts: 8 bits each. */
export const FACTS_A = 36;
export const FACTS_B = 37;
/** 8 bits: 1 where end B is the initiator. */
export const IS_B_INITIATOR = 38;
/** 8 bits: the number of the queue (expiry.ts) that holds the flow. */
export const QUEUE = 39;
/** Slots of the neighbours in that queue. */
export const OLDER = 40;
export const NEWER = 44;
/** The latest packet: seconds as a double, nanoseconds. */
export const LAST_SECONDS = 48;
export const LAST_NANOSECONDS = 56;
/** 8 bits: of which ends the initial sequence number is known. */
export const KNOWN_INITIALS = 60;
/** What each end has sent. */
export const SIDE_A = 64;
export const SIDE_B = 144;
/** The earliest packet. */
export const FIRST_SECONDS = 224;
export const FIRST_NANOSECONDS = 232;
export const HASH = 236;
/** `Frame.interfaceIndex` of the first packet. */
export const INTERFACE = 240;

/** The part of a side, from `SIDE_A` or `SIDE_B`: totals as doubles. */
export const SIDE_PACKETS = 0;
export const SIDE_BYTES = 8;
export const SIDE_PAYLOAD_BYTES = 16;
export const SIDE_STREAM_BYTES = 24;
/** Sequence numbers: of the SYN, and the one expected next (see stream.ts). */
export const SIDE_INITIAL_SEQUENCE = 32;
export const SIDE_NEXT_SEQUENCE = 36;
/** The interface that the side's packets are counted on. */
export const SIDE_INTERFACE = 40;
/** 8 bits: 1 where the sequence number expected next is known. */
export const SIDE_NEXT_IS_KNOWN = 44;
/** 8 bits: how many holes there are. */
export const SIDE_HOLES = 45;
/** Holes in the stream, first and end of each. */
export const SIDE_HOLE = 48;
export const HOLE_BYTES = 8;
export const MAX_HOLES = 4;

/** Bits of `KNOWN_INITIALS`. */
export const INITIAL_OF_A = 1;
export const INITIAL_OF_B = 2;

/** Whether the address that starts there is one of IPv4. */
export function isIpv4At(view: DataView, address: number): boolean {
  return (
    view.getInt32(address, true) === 0 &&
    view.getInt32(address + 4, true) === 0 &&
    view.getInt32(address + 8, true) === IPV4_MAPPED_WORD
  );
}

/** Stands for no slot. */
export const NO_SLOT = -1;

/** The slots of a new store; it doubles when they are used up. */
const FIRST_SLOTS = 1024;

export class FlowStore {
  /** Replaced when the store grows: not to be kept over an `allocate`. */
  view: DataView;
  #bytes: Uint8Array;
  /** Slots that were used once, and are free again. */
  readonly #freeSlots: number[] = [];
  #usedSlots = 0;

  /**
   * @param slots to begin with. Memory is taken from the system when a slot is used for the first time, so a store of
   *   the size that it may come to costs nothing, and saves the copying
   */
  constructor(slots = FIRST_SLOTS) {
    this.#bytes = new Uint8Array(slots * RECORD_BYTES);
    this.view = new DataView(this.#bytes.buffer);
  }

  /** A slot whose record is all zero. */
  allocate(): number {
    const free = this.#freeSlots.pop();
    if (free !== undefined) return free;
    if ((this.#usedSlots + 1) * RECORD_BYTES > this.#bytes.length) this.#grow();
    return this.#usedSlots++;
  }

  /** Takes a slot back and clears it. */
  release(slot: number): void {
    this.#bytes.fill(0, slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES);
    this.#freeSlots.push(slot);
  }

  /** A store of one slot, with a copy of this record. */
  copyOf(slot: number): FlowStore {
    const copy = new FlowStore(1);
    copy.#bytes.set(this.#bytes.subarray(slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES));
    return copy;
  }

  #grow(): void {
    const bytes = new Uint8Array(this.#bytes.length * 2);
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }
}
