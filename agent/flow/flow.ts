/** A TCP connection as it was seen: who talks to whom, how much, since when. */
import {
  ADDRESS_A,
  ADDRESS_B,
  B_IS_INITIATOR,
  FACTS_A,
  FACTS_B,
  FIRST_NANOSECONDS,
  FIRST_SECONDS,
  INTERFACE,
  LAST_NANOSECONDS,
  LAST_SECONDS,
  NO_SLOT,
  portAt,
  RECORD_WORDS,
  ROLES,
  SIDE_A,
  SIDE_B,
  SIDE_BYTES,
  SIDE_PACKETS,
  SIDE_PAYLOAD_BYTES,
  SIDE_STREAM_BYTES,
  TUNNEL,
  type FlowStore,
} from './flow-store.ts';
import { isDirectionProven, turn } from './opening.ts';
import { STANDINGS, standingOf, type Standing } from './standing.ts';
import { stateOf } from './tcp-state.ts';
import type { Address } from '../../common/address.ts';
import type { FlowState } from '../../common/event.ts';
import { NO_TUNNEL_ID, type TunnelType } from '../../common/tunnel.ts';
import type { Packet } from '../decode/packet.ts';
import { outerDestinationOf, outerSourceOf } from '../decode/tunnel.ts';

/** The tunnel that a flow's first packet came in: the ends of the outermost, the kind of the innermost. */
export interface FlowTunnel {
  readonly type: TunnelType;
  /** On the sender's side of the first packet, and on the other one. */
  readonly endA: Address;
  readonly endB: Address;
  /** The number of the outermost, where it has one. */
  readonly id: number | undefined;
}

/** A tunnel as seen from the initiator. */
export interface OrientedTunnel {
  readonly type: TunnelType;
  readonly source: Address;
  readonly destination: Address;
  readonly id: number | undefined;
}

/** The tunnel of a flow that begins with this packet; undefined where there is none. */
export function tunnelOf(packet: Packet): FlowTunnel | undefined {
  if (packet.tunnel === 'none') return undefined;
  return {
    type: packet.tunnel,
    id: packet.outerTunnelId === NO_TUNNEL_ID ? undefined : packet.outerTunnelId,
    endA: outerSourceOf(packet),
    endB: outerDestinationOf(packet),
  };
}

/**
 * One TCP connection: a window on its record in the table's store. What it says goes on changing until the table
 * passes it to `ended`, and ends with that, unless it is kept there.
 */
export class Flow<Tag> {
  /** The owner's slot. Becomes undefined again when initiator and responder turn out to be the other way round. */
  tag: Tag | undefined = undefined;
  #store: FlowStore;
  #slot: number;
  readonly #tunnel: FlowTunnel | undefined;
  #isKept = false;

  /** @param slot of a flow in `store` */
  constructor(store: FlowStore, slot: number, tunnel: FlowTunnel | undefined) {
    this.#store = store;
    this.#slot = slot;
    this.#tunnel = tunnel;
  }

  /** The tunnel that its first packet came in; undefined where it came in none. */
  get tunnel(): OrientedTunnel | undefined {
    if (this.#tunnel === undefined) return undefined;
    const { type, endA, endB, id } = this.#tunnel;
    return this.#isBInitiator
      ? { type, source: endB, destination: endA, id }
      : { type, source: endA, destination: endB, id };
  }

  /** Who opened the connection, or is taken for who did (see `FlowTable`). */
  get initiator(): FlowSide {
    return new FlowSide(this, this.#isBInitiator);
  }

  get responder(): FlowSide {
    return new FlowSide(this, !this.#isBInitiator);
  }

  /** The earliest packet: whole seconds since the epoch. */
  get firstSeconds(): number {
    return this.#double(FIRST_SECONDS);
  }

  /** The rest of its time. */
  get firstNanoseconds(): number {
    return this.#word(FIRST_NANOSECONDS);
  }

  /** The latest packet: whole seconds since the epoch. */
  get lastSeconds(): number {
    return this.#double(LAST_SECONDS);
  }

  /** The rest of its time. */
  get lastNanoseconds(): number {
    return this.#word(LAST_NANOSECONDS);
  }

  get state(): FlowState {
    const factsA = this.#word(FACTS_A);
    const factsB = this.#word(FACTS_B);
    return this.#isBInitiator ? stateOf(factsB, factsA) : stateOf(factsA, factsB);
  }

  /** How much its packets prove of it. */
  get standing(): Standing {
    return STANDINGS[standingOf(this.#word(ROLES), this.#word(FACTS_A), this.#word(FACTS_B))] as Standing;
  }

  /** Whether a handshake proves who opened it. */
  get isDirectionProven(): boolean {
    return isDirectionProven(this.#word(ROLES));
  }

  /** `Packet.tunnelKey` of its packets: 0 where they come in no tunnel, or in one that ends here. */
  get tunnelKey(): number {
    return this.#word(TUNNEL);
  }

  /** Lets initiator and responder change places, where its owner knows better than its packets. */
  turn(): void {
    turn(this.#store.words, this.record);
  }

  /** `Frame.interfaceIndex` of the first packet. */
  get interfaceIndex(): number {
    return this.#word(INTERFACE);
  }

  /** The store, and the word at which the record starts in it. For the flow's sides. */
  get store(): FlowStore {
    return this.#store;
  }

  get record(): number {
    return this.#slot * RECORD_WORDS;
  }

  /** Takes a copy of the record, so that the flow may be kept when it leaves the table, and gives itself. */
  keep(): this {
    this.#store = this.#store.copyOf(this.#slot);
    this.#slot = 0;
    this.#isKept = true;
    return this;
  }

  /** Lets go of the record, which becomes another flow's; from then on every look at it fails. For the table. */
  leave(): void {
    if (!this.#isKept) this.#slot = NO_SLOT;
  }

  get #isBInitiator(): boolean {
    return (this.#word(ROLES) & B_IS_INITIATOR) !== 0;
  }

  #word(field: number): number {
    return this.#store.words[this.record + field] as number;
  }

  #double(field: number): number {
    return this.#store.doubles[this.record / 2 + field] as number;
  }
}

/** One side of a connection and what it has sent. It is an `Address`: pass it where one is asked for. */
export class FlowSide implements Address {
  readonly #flow: Flow<unknown>;
  readonly #isB: boolean;

  constructor(flow: Flow<unknown>, isB: boolean) {
    this.#flow = flow;
    this.#isB = isB;
  }

  get w0(): number {
    return this.#word(0);
  }

  get w1(): number {
    return this.#word(1);
  }

  get w2(): number {
    return this.#word(2);
  }

  get w3(): number {
    return this.#word(3);
  }

  get port(): number {
    return portAt(this.#flow.store.words, this.#flow.record, this.#isB);
  }

  get packets(): number {
    return this.#total(SIDE_PACKETS);
  }

  /** Whole frames as they were on the wire, link header included. */
  get bytes(): number {
    return this.#total(SIDE_BYTES);
  }

  /** TCP payload by the IP header's length, retransmissions included. */
  get payloadBytes(): number {
    return this.#total(SIDE_PAYLOAD_BYTES);
  }

  /** Bytes of the stream that were seen at least once: what is sent again counts once (see stream.ts). */
  get streamBytes(): number {
    return this.#total(SIDE_STREAM_BYTES);
  }

  #word(index: number): number {
    const { store, record } = this.#flow;
    return store.words[record + (this.#isB ? ADDRESS_B : ADDRESS_A) + index] as number;
  }

  #total(field: number): number {
    const { store, record } = this.#flow;
    return store.doubles[(record + (this.#isB ? SIDE_B : SIDE_A)) / 2 + field] as number;
  }
}
