/** A TCP connection as it was seen: who talks to whom, how much, since when. */
import { IPV4_MAPPED_WORD, type Address } from '../../common/address.ts';
import type { FlowState } from '../../common/event.ts';
import type { FlowQueue } from './expiry.ts';

/** Stands for a sequence number that is not known. */
export const UNKNOWN_SEQUENCE = -1;

/** One side of a connection and what it has sent. It is an `Address`: pass it where one is asked for. */
export class FlowSide implements Address {
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w3: number;
  readonly port: number;
  packets = 0;
  /** Whole frames as they were on the wire, link header included. */
  bytes = 0;
  /** TCP payload by the IP header's length, retransmissions included. */
  payloadBytes = 0;
  /** What it was seen to send: facts of tcp-state.ts. The table's own. */
  facts = 0;
  /** The number of its SYN, or what follows for it from a later segment; the table's own. */
  initialSequence = UNKNOWN_SEQUENCE;
  /** The interface its packets are counted on. The table's own. */
  interfaceIndex = 0;

  constructor(w0: number, w1: number, w2: number, w3: number, port: number) {
    this.w0 = w0;
    this.w1 = w1;
    this.w2 = w2;
    this.w3 = w3;
    this.port = port;
  }
}

/**
 * One TCP connection. The table owns the record and goes on changing it until it has passed it to `ended`; after that
 * nobody does, and it may be kept.
 */
export class Flow<Tag> {
  /** Who opened the connection, or is taken for who did (see `FlowTable`). */
  initiator: FlowSide;
  responder: FlowSide;
  /** The earliest and the latest packet: whole seconds since the epoch, and nanoseconds. */
  firstSeconds: number;
  firstNanoseconds: number;
  lastSeconds: number;
  lastNanoseconds: number;
  state: FlowState = 'midstream';
  /** `Frame.interfaceIndex` of the first packet. */
  readonly interfaceIndex: number;
  /** The owner's slot. Becomes undefined again when initiator and responder turn out to be the other way round. */
  tag: Tag | undefined = undefined;

  /** The rest is the table's own: its hash, its queue, its neighbours there. */
  readonly hash: number;
  queue: FlowQueue<Tag>;
  older: Flow<Tag> | undefined = undefined;
  newer: Flow<Tag> | undefined = undefined;

  constructor(
    initiator: FlowSide,
    responder: FlowSide,
    seen: {
      seconds: number;
      nanoseconds: number;
      interfaceIndex: number;
      hash: number;
      queue: FlowQueue<Tag>;
    },
  ) {
    this.initiator = initiator;
    this.responder = responder;
    this.firstSeconds = seen.seconds;
    this.firstNanoseconds = seen.nanoseconds;
    this.lastSeconds = seen.seconds;
    this.lastNanoseconds = seen.nanoseconds;
    this.interfaceIndex = seen.interfaceIndex;
    this.hash = seen.hash;
    this.queue = seen.queue;
  }
}

/** Whether the side has an IPv4 address. */
export function isIpv4(side: Address): boolean {
  return side.w0 === 0 && side.w1 === 0 && side.w2 === IPV4_MAPPED_WORD;
}
