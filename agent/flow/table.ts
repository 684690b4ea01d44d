/**
 * Packets to connections: counts each packet to its flow, opens flows, and ends them.
 *
 * Who opened a connection is told by its SYN. Joined midstream, the side whose endpoint is a known service is taken
 * for the responder; where neither or both are, the sender of the first packet is taken for the initiator (of a
 * SYN-ACK, for the responder). When a later SYN proves otherwise the sides change places and `tag` is cleared.
 *
 * A flow is told by its addresses and ports alone. That of a tunnel's inside is one flow whichever way it takes; the
 * price is that two tenants of an overlay who use the same addresses and ports at the same time are taken for one.
 *
 * A SYN with another initial sequence number than the one known for its sender begins a new flow, as a new
 * `tcp.stream` begins in tshark; the same SYN again is a retransmission.
 *
 * The table is bounded: when it is full, the flow that was quiet longest gives way: among those that are over, else
 * among unanswered attempts, else among all. A flood of SYNs thus drives out attempts, not connections.
 */
import { Frame, type FlowCounts } from '../capture/source.ts';
import { Packet, TCP_ACK, TCP_RST, TCP_SYN } from '../decode/packet.ts';
import { DEFAULT_TIMEOUTS, FlowQueue, type FlowTimeouts } from './expiry.ts';
import { FlowIndex, NOT_FOUND } from './flow-index.ts';
import {
  ADDRESS_A,
  ADDRESS_B,
  FACTS_A,
  FACTS_B,
  FIRST_NANOSECONDS,
  FIRST_SECONDS,
  FlowStore,
  HASH,
  INITIAL_OF_A,
  INITIAL_OF_B,
  INTERFACE,
  IS_B_INITIATOR,
  KNOWN_INITIALS,
  LAST_NANOSECONDS,
  LAST_SECONDS,
  NO_SLOT,
  PORT_A,
  PORT_B,
  QUEUE,
  RECORD_BYTES,
  SIDE_A,
  SIDE_B,
  SIDE_BYTES,
  SIDE_INITIAL_SEQUENCE,
  SIDE_INTERFACE,
  SIDE_PACKETS,
  SIDE_PAYLOAD_BYTES,
  SIDE_STREAM_BYTES,
} from './flow-store.ts';
import { Flow, tunnelOf } from './flow.ts';
import { noteSegment } from './stream.ts';
import { SENT_ACK, SENT_SYN, SENT_SYN_ACK, factsOf, stateOf } from './tcp-state.ts';
import type { Address } from '../../common/address.ts';
import type { FlowState } from '../../common/event.ts';

/**
 * Why a flow ended.
 * - `closed`: it was over, and its time after that has passed
 * - `idle`: nothing was heard for its time limit
 * - `evicted`: the table was full
 * - `reused`: a new connection began between the same endpoints
 * - `stopped`: the table was told to end all
 */
export type FlowEndCause = 'closed' | 'idle' | 'evicted' | 'reused' | 'stopped';

export interface FlowTableOptions<Tag> {
  /** The most flows that are held at a time; one takes about 400 bytes. */
  readonly maxFlows: number;
  readonly timeouts?: FlowTimeouts;
  /** Whether a service is known at an endpoint: the address as four words, the port. */
  readonly isService: (w0: number, w1: number, w2: number, w3: number, port: number) => boolean;
  /**
   * Count a side of a flow only on the interface where it was seen first: for captures on all interfaces, where a
   * bridge or a container's veth pair shows the same packet again.
   */
  readonly countOnOneInterface: boolean;
  /**
   * Takes each flow with its first packet counted, and again when initiator and responder turned out to be the other
   * way round.
   */
  readonly opened?: (flow: Flow<Tag>, frame: Frame) => void;
  /** Takes each flow when it leaves the table: for the last time, unless it is kept (`Flow.keep`). */
  readonly ended: (flow: Flow<Tag>, cause: FlowEndCause) => void;
  /** A random 32-bit number, where strangers choose the packets. */
  readonly hashSeed?: number;
}

/** Totals since the table was made. */
export interface FlowTableCounters {
  readonly opened: number;
  /** Flows that gave way because the table was full. */
  readonly evicted: number;
  /** Packets that were not counted because they had been seen on another interface. */
  readonly duplicates: number;
}

/** Slots that are reserved at once, 32 MiB: a table that grows needs its old and its new memory for a moment. */
const MOST_FIRST_SLOTS = 131_072;

/** Numbers of the queues, as in the flows' records. */
const CLOSED = 0;
const ATTEMPTS = 1;
const ESTABLISHED = 2;

export class FlowTable<Tag> implements Iterable<Flow<Tag>> {
  readonly #options: FlowTableOptions<Tag>;
  readonly #store: FlowStore;
  readonly #index: FlowIndex;
  /** What `account` makes of counts, so that look-ups see one kind of record. */
  readonly #countedFrame = new Frame();
  readonly #countedPacket = new Packet();
  /** By slot. */
  readonly #flows: (Flow<Tag> | undefined)[] = [];
  /** By number. */
  readonly #queues: readonly [FlowQueue, FlowQueue, FlowQueue];
  #opened = 0;
  #evicted = 0;
  #duplicates = 0;

  constructor(options: FlowTableOptions<Tag>) {
    this.#options = options;
    this.#store = new FlowStore(Math.min(options.maxFlows, MOST_FIRST_SLOTS));
    this.#index = new FlowIndex(this.#store, options.hashSeed ?? 0);
    this.#queues = [new FlowQueue(this.#store), new FlowQueue(this.#store), new FlowQueue(this.#store)];
  }

  get size(): number {
    return this.#index.size;
  }

  get counters(): FlowTableCounters {
    return { opened: this.#opened, evicted: this.#evicted, duplicates: this.#duplicates };
  }

  /** Counts a packet to its flow, which it may open. */
  observe(frame: Frame, packet: Packet): void {
    let found = this.#index.find(packet);
    if (found !== NOT_FOUND && isSyn(packet.tcpFlags) && this.#beginsAnother(found, packet)) {
      this.#end(found >> 1, 'reused');
      found = NOT_FOUND;
    }
    const isNew = found === NOT_FOUND;
    if (isNew) found = this.#open(frame, packet) * 2;
    const slot = found >> 1;
    const record = slot * RECORD_BYTES;
    const { view } = this.#store;
    const isB = (found & 1) === 1;
    const side = record + (isB ? SIDE_B : SIDE_A);
    const packets = view.getFloat64(side + SIDE_PACKETS, true);
    if (packets === 0) {
      view.setInt32(side + SIDE_INTERFACE, frame.interfaceIndex, true);
    } else if (
      this.#options.countOnOneInterface &&
      view.getInt32(side + SIDE_INTERFACE, true) !== frame.interfaceIndex
    ) {
      this.#duplicates++;
      return;
    }
    if (!frame.isCounted) {
      view.setFloat64(side + SIDE_PACKETS, packets + 1, true);
      const bytes = view.getFloat64(side + SIDE_BYTES, true);
      view.setFloat64(side + SIDE_BYTES, bytes + frame.originalLength, true);
      const { payloadLength } = packet;
      const payloadBytes = view.getFloat64(side + SIDE_PAYLOAD_BYTES, true);
      view.setFloat64(side + SIDE_PAYLOAD_BYTES, payloadBytes + payloadLength, true);
      noteSegment(view, side, packet);
    }
    const isLater = noteTime(view, record, frame);
    // Known after the first packets, and the record's first part tells it: the other side's need not be touched.
    if (view.getUint8(record + KNOWN_INITIALS) !== (INITIAL_OF_A | INITIAL_OF_B)) {
      noteInitialSequences(view, record, isB, packet);
    }
    const isTurned = this.#noteSender(slot, isB, factsOf(packet.tcpFlags), isLater);
    if (isNew || isTurned) this.#tell(slot, frame);
  }

  /**
   * Adds what the kernel has counted of one direction of a flow, which it may open: midstream. The kernel has told one
   * interface from the other, and it knows no sequence numbers: what was sent again counts again in the stream.
   */
  account(counts: FlowCounts): void {
    const frame = this.#countedFrame;
    const packet = this.#countedPacket;
    describeCounts(counts, frame, packet);
    let found = this.#index.find(packet);
    const isNew = found === NOT_FOUND;
    if (isNew) found = this.#open(frame, packet) * 2;
    const slot = found >> 1;
    const record = slot * RECORD_BYTES;
    const { view } = this.#store;
    const isB = (found & 1) === 1;
    const side = record + (isB ? SIDE_B : SIDE_A);
    view.setInt32(side + SIDE_INTERFACE, counts.interfaceIndex, true);
    add(view, side + SIDE_PACKETS, counts.packets);
    add(view, side + SIDE_BYTES, counts.bytes);
    add(view, side + SIDE_PAYLOAD_BYTES, counts.payloadBytes);
    add(view, side + SIDE_STREAM_BYTES, counts.payloadBytes);
    const isLater = noteTime(view, record, frame);
    // SYNs are not among the flags that counts have, so a flow's sides stay as they are.
    this.#noteSender(slot, isB, factsOf(packet.tcpFlags), isLater);
    if (isNew) this.#tell(slot, frame);
  }

  /** Whether there is a flow between these two ends, in either direction. */
  has(end: Address, port: number, otherEnd: Address, otherPort: number): boolean {
    const packet = this.#countedPacket;
    packet.source0 = end.w0;
    packet.source1 = end.w1;
    packet.source2 = end.w2;
    packet.source3 = end.w3;
    packet.sourcePort = port;
    packet.destination0 = otherEnd.w0;
    packet.destination1 = otherEnd.w1;
    packet.destination2 = otherEnd.w2;
    packet.destination3 = otherEnd.w3;
    packet.destinationPort = otherPort;
    return this.#index.find(packet) !== NOT_FOUND;
  }

  /**
   * Ends the flows whose time is up.
   *
   * @param seconds now, since the epoch: of the clock, or of the packets in replay
   */
  expire(seconds: number): void {
    const { attemptSeconds, establishedSeconds, closedSeconds } = this.#options.timeouts ?? DEFAULT_TIMEOUTS;
    this.#expireQueue(this.#queues[CLOSED], seconds - closedSeconds, 'closed');
    this.#expireQueue(this.#queues[ATTEMPTS], seconds - attemptSeconds, 'idle');
    this.#expireQueue(this.#queues[ESTABLISHED], seconds - establishedSeconds, 'idle');
  }

  /** Ends every flow. */
  endAll(): void {
    for (const queue of this.#queues) {
      while (queue.oldest !== NO_SLOT) this.#end(queue.oldest, 'stopped');
    }
  }

  /** The flows in the table. The one just handed out may end before the next is asked for; others may not. */
  *[Symbol.iterator](): Iterator<Flow<Tag>> {
    for (const queue of this.#queues) {
      let slot = queue.oldest;
      while (slot !== NO_SLOT) {
        const next = queue.newerThan(slot);
        const flow = this.#flows[slot];
        if (flow !== undefined) yield flow;
        slot = next;
      }
    }
  }

  /** The slot of a new flow whose end A is the packet's sender. */
  #open(frame: Frame, packet: Packet): number {
    if (this.size >= this.#options.maxFlows) this.#evict();
    const slot = this.#store.allocate();
    const { view } = this.#store;
    const record = slot * RECORD_BYTES;
    writeEndpoints(view, record, packet);
    view.setFloat64(record + FIRST_SECONDS, frame.seconds, true);
    view.setUint32(record + FIRST_NANOSECONDS, frame.nanoseconds, true);
    view.setFloat64(record + LAST_SECONDS, frame.seconds, true);
    view.setUint32(record + LAST_NANOSECONDS, frame.nanoseconds, true);
    view.setInt32(record + INTERFACE, frame.interfaceIndex, true);
    view.setInt32(record + HASH, this.#index.hashOf(packet), true);
    view.setUint8(record + IS_B_INITIATOR, this.#isSenderInitiator(packet) ? 0 : 1);
    view.setUint8(record + QUEUE, ESTABLISHED);
    this.#queues[ESTABLISHED].add(slot);
    this.#index.add(slot);
    this.#flows[slot] = new Flow<Tag>(this.#store, slot, tunnelOf(packet));
    this.#opened++;
    return slot;
  }

  /** Whether the sender of a flow's first packet is the initiator. */
  #isSenderInitiator(packet: Packet): boolean {
    if (isSyn(packet.tcpFlags)) return (packet.tcpFlags & TCP_ACK) === 0;
    const { isService } = this.#options;
    return (
      !isService(packet.source0, packet.source1, packet.source2, packet.source3, packet.sourcePort) ||
      isService(
        packet.destination0,
        packet.destination1,
        packet.destination2,
        packet.destination3,
        packet.destinationPort,
      )
    );
  }

  /** Whether the SYN is of another connection than the flow that it was found to belong to. */
  #beginsAnother(found: number, packet: Packet): boolean {
    if ((packet.tcpFlags & TCP_ACK) !== 0) return false;
    const { view } = this.#store;
    const record = (found >> 1) * RECORD_BYTES;
    const isB = (found & 1) === 1;
    const isKnown = (view.getUint8(record + KNOWN_INITIALS) & (isB ? INITIAL_OF_B : INITIAL_OF_A)) !== 0;
    const initial = record + (isB ? SIDE_B : SIDE_A) + SIDE_INITIAL_SEQUENCE;
    return isKnown && view.getUint32(initial, true) !== packet.sequence;
  }

  /** Takes in what a segment proves of its sender: mostly nothing new. Returns whether the sides changed places. */
  #noteSender(slot: number, isB: boolean, facts: number, isLater: boolean): boolean {
    const { view } = this.#store;
    const record = slot * RECORD_BYTES;
    const known = view.getUint8(record + (isB ? FACTS_B : FACTS_A));
    if ((known | facts) !== known || (facts & (SENT_SYN | SENT_SYN_ACK)) !== 0) {
      return this.#noteFacts(slot, isB, facts);
    }
    if (isLater) this.#queueAt(view.getUint8(record + QUEUE)).renew(slot);
    return false;
  }

  /** Adds what a segment proves of its sender. Returns whether the sides changed places. */
  #noteFacts(slot: number, isB: boolean, facts: number): boolean {
    const { view } = this.#store;
    const record = slot * RECORD_BYTES;
    const isTurned = (facts & (SENT_SYN | SENT_SYN_ACK)) !== 0 && noteOpening(view, record, isB, facts);
    const factsOfSender = record + (isB ? FACTS_B : FACTS_A);
    view.setUint8(factsOfSender, view.getUint8(factsOfSender) | facts);
    const oldQueue = view.getUint8(record + QUEUE);
    const queue = queueOf(stateAt(view, record));
    this.#queueAt(oldQueue).remove(slot);
    this.#queueAt(queue).add(slot);
    view.setUint8(record + QUEUE, queue);
    return isTurned;
  }

  #tell(slot: number, frame: Frame): void {
    const flow = this.#flows[slot];
    if (flow === undefined) return;
    flow.tag = undefined;
    this.#options.opened?.(flow, frame);
  }

  #expireQueue(queue: FlowQueue, limitSeconds: number, cause: FlowEndCause): void {
    while (queue.oldest !== NO_SLOT) {
      const record = queue.oldest * RECORD_BYTES;
      const { view } = this.#store;
      const nanoseconds = view.getUint32(record + LAST_NANOSECONDS, true);
      if (view.getFloat64(record + LAST_SECONDS, true) + nanoseconds / 1e9 > limitSeconds) return;
      this.#end(queue.oldest, cause);
    }
  }

  #evict(): void {
    const queue = this.#queues.find(({ oldest }) => oldest !== NO_SLOT);
    if (queue === undefined) return;
    this.#evicted++;
    this.#end(queue.oldest, 'evicted');
  }

  #end(slot: number, cause: FlowEndCause): void {
    this.#queueAt(this.#store.view.getUint8(slot * RECORD_BYTES + QUEUE)).remove(slot);
    this.#index.remove(slot);
    const flow = this.#flows[slot];
    this.#flows[slot] = undefined;
    if (flow !== undefined) {
      this.#options.ended(flow, cause);
      flow.leave();
    }
    this.#store.release(slot);
  }

  #queueAt(number: number): FlowQueue {
    return this.#queues[number] as FlowQueue;
  }
}

/** The queue of the flows in this state: in the order in which flows give way when the table is full. */
function queueOf(state: FlowState): number {
  switch (state) {
    case 'closed':
    case 'reset':
    case 'refused':
      return CLOSED;
    case 'attempt':
      return ATTEMPTS;
    default:
      return ESTABLISHED;
  }
}

function isSyn(tcpFlags: number): boolean {
  return (tcpFlags & (TCP_SYN | TCP_RST)) === TCP_SYN;
}

function stateAt(view: DataView, record: number): FlowState {
  const factsA = view.getUint8(record + FACTS_A);
  const factsB = view.getUint8(record + FACTS_B);
  return view.getUint8(record + IS_B_INITIATOR) === 1 ? stateOf(factsB, factsA) : stateOf(factsA, factsB);
}

function writeEndpoints(view: DataView, record: number, packet: Packet): void {
  view.setUint32(record + ADDRESS_A, packet.source0, true);
  view.setUint32(record + ADDRESS_A + 4, packet.source1, true);
  view.setUint32(record + ADDRESS_A + 8, packet.source2, true);
  view.setUint32(record + ADDRESS_A + 12, packet.source3, true);
  view.setUint32(record + ADDRESS_B, packet.destination0, true);
  view.setUint32(record + ADDRESS_B + 4, packet.destination1, true);
  view.setUint32(record + ADDRESS_B + 8, packet.destination2, true);
  view.setUint32(record + ADDRESS_B + 12, packet.destination3, true);
  view.setUint16(record + PORT_A, packet.sourcePort, true);
  view.setUint16(record + PORT_B, packet.destinationPort, true);
}

/**
 * The counts as one packet of their direction. SYN, FIN and RST have come in frames of their own; of a connection that
 * is over, they would end the next one between the same endpoints.
 */
function describeCounts(counts: FlowCounts, frame: Frame, packet: Packet): void {
  frame.seconds = counts.seconds;
  frame.nanoseconds = counts.nanoseconds;
  frame.interfaceIndex = counts.interfaceIndex;
  packet.source0 = counts.source0;
  packet.source1 = counts.source1;
  packet.source2 = counts.source2;
  packet.source3 = counts.source3;
  packet.destination0 = counts.destination0;
  packet.destination1 = counts.destination1;
  packet.destination2 = counts.destination2;
  packet.destination3 = counts.destination3;
  packet.sourcePort = counts.sourcePort;
  packet.destinationPort = counts.destinationPort;
  packet.tcpFlags = counts.tcpFlags & TCP_ACK;
}

function add(view: DataView, field: number, value: number): void {
  view.setFloat64(field, view.getFloat64(field, true) + value, true);
}

/**
 * Widens the flow's time to the frame's. Frames of several interfaces may be a little out of order. Returns whether
 * the flow's last packet is of a later second now.
 */
function noteTime(view: DataView, record: number, { seconds, nanoseconds }: Frame): boolean {
  const lastSeconds = view.getFloat64(record + LAST_SECONDS, true);
  if (
    seconds > lastSeconds ||
    (seconds === lastSeconds && nanoseconds > view.getUint32(record + LAST_NANOSECONDS, true))
  ) {
    view.setFloat64(record + LAST_SECONDS, seconds, true);
    view.setUint32(record + LAST_NANOSECONDS, nanoseconds, true);
    return seconds > lastSeconds;
  }
  const firstSeconds = view.getFloat64(record + FIRST_SECONDS, true);
  if (
    seconds < firstSeconds ||
    (seconds === firstSeconds && nanoseconds < view.getUint32(record + FIRST_NANOSECONDS, true))
  ) {
    view.setFloat64(record + FIRST_SECONDS, seconds, true);
    view.setUint32(record + FIRST_NANOSECONDS, nanoseconds, true);
  }
  return false;
}

/**
 * Learns the initial sequence numbers. Without the SYN the number before the first one seen must do: good enough to
 * tell a SYN that was captured late from the SYN of another connection.
 */
function noteInitialSequences(view: DataView, record: number, isB: boolean, packet: Packet): void {
  const { tcpFlags } = packet;
  // Without flags it is no segment of a connection, or one of which only the ports are known.
  if (tcpFlags === 0) return;
  const sequence = isSyn(tcpFlags) ? packet.sequence : packet.sequence - 1;
  learnInitialSequence(view, record, isB, sequence);
  if ((tcpFlags & TCP_ACK) !== 0) learnInitialSequence(view, record, !isB, packet.acknowledgment - 1);
}

/** Sets it unless it is known. */
function learnInitialSequence(view: DataView, record: number, isB: boolean, sequence: number): void {
  const known = view.getUint8(record + KNOWN_INITIALS);
  const bit = isB ? INITIAL_OF_B : INITIAL_OF_A;
  if ((known & bit) !== 0) return;
  view.setUint8(record + KNOWN_INITIALS, known | bit);
  view.setUint32(record + (isB ? SIDE_B : SIDE_A) + SIDE_INITIAL_SEQUENCE, sequence, true);
}

/** What a SYN or SYN-ACK says of the flow before it. Returns whether the sides changed places. */
function noteOpening(view: DataView, record: number, isB: boolean, facts: number): boolean {
  const isBInitiator = view.getUint8(record + IS_B_INITIATOR) === 1;
  const initiatorFacts = view.getUint8(record + (isBInitiator ? FACTS_B : FACTS_A));
  const responderFacts = view.getUint8(record + (isBInitiator ? FACTS_A : FACTS_B));
  const isInitiator = isB === isBInitiator;
  if (isOtherWayRound(initiatorFacts, responderFacts, isInitiator, facts)) {
    view.setUint8(record + IS_B_INITIATOR, isBInitiator ? 0 : 1);
    return true;
  }
  if (isInitiator && facts === SENT_SYN && hasFailed(initiatorFacts, responderFacts)) {
    view.setUint8(record + FACTS_A, 0);
    view.setUint8(record + FACTS_B, 0);
  }
  return false;
}

/** Whether a SYN or SYN-ACK shows that who was taken for the initiator is the responder. */
function isOtherWayRound(initiator: number, responder: number, isInitiator: boolean, facts: number): boolean {
  // With a SYN of each side both open the connection (RFC 9293, section 3.5); the first one counts.
  if ((initiator & SENT_SYN) !== 0) return false;
  if (facts === SENT_SYN) return !isInitiator;
  return isInitiator && (responder & SENT_SYN_ACK) === 0;
}

/**
 * Whether the attempt was turned away, so that a SYN with the same number is the next attempt, of which what came
 * before says nothing: it was refused, or it met the rest of an old connection, which its initiator reset
 * (RFC 9293, section 3.5.1).
 */
function hasFailed(initiator: number, responder: number): boolean {
  const state = stateOf(initiator, responder);
  const isNeverOpen = (initiator & SENT_ACK) === 0 && (responder & SENT_SYN_ACK) === 0;
  return state === 'refused' || (state === 'reset' && isNeverOpen);
}
