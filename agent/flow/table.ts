/**
 * Packets to connections: counts each packet to its flow, opens flows, and ends them.
 *
 * Who opened a connection is proven by its handshake (see opening.ts). Until then the sender of a SYN, or the receiver
 * of a SYN-ACK, is taken for the initiator; joined midstream, the side whose endpoint is no known service, and where
 * neither or both are, the sender of the first packet. When it turns out to be the other way round the sides change
 * places and `tag` is cleared.
 *
 * A flow is identified by its addresses, its ports and the tunnel of its packets: what somebody wraps into a tunnel
 * never counts to the plain connection of the same addresses.
 *
 * A SYN with another initial sequence number than the one known for its sender begins a new flow, as a new
 * `tcp.stream` begins in tshark; the same SYN again is a retransmission. The new flow keeps what handshakes have proven
 * between these ends: one in the other direction leaves nothing proven.
 *
 * The table is bounded: when it is full, the flow that was quiet longest, to eight seconds, gives way: among those that
 * are over, else among unanswered attempts, else among those that no handshake proves, else among all. A flood of forged
 * packets thus drives out itself, not connections. For as long as a forgotten SYN may be answered nothing is proven of
 * the flows that begin.
 */
import { Frame, type FlowCounts } from '../capture/source.ts';
import { Packet, TCP_ACK } from '../decode/packet.ts';
import { DEFAULT_TIMEOUTS, FlowQueue, stretchOf, type FlowTimeouts } from './expiry.ts';
import { noteTime } from './flow-time.ts';
import { FlowIndex, NOT_FOUND } from './flow-index.ts';
import {
  ADDRESS_A,
  ADDRESS_B,
  AWAITS_ACK,
  B_IS_INITIATOR,
  FACTS_A,
  FACTS_B,
  FIRST_NANOSECONDS,
  FIRST_SECONDS,
  FlowStore,
  HASH,
  INITIAL_OF_A,
  INITIAL_OF_B,
  INITIALS,
  INTERFACE,
  LAST_NANOSECONDS,
  LAST_SECONDS,
  NO_SLOT,
  OPENED_A,
  OPENED_B,
  PORTS,
  PROVEN_A,
  PROVEN_B,
  QUEUE_SHIFT,
  RECORD_WORDS,
  ROLES,
  ROLES_MASK,
  SIDE_A,
  SIDE_B,
  SIDE_BYTES,
  SIDE_INITIAL_SEQUENCE,
  SIDE_INTERFACE,
  SIDE_PACKETS,
  SIDE_PAYLOAD_BYTES,
  SIDE_STREAM_BYTES,
  TUNNEL,
} from './flow-store.ts';
import { Flow, tunnelOf, type FlowTunnel } from './flow.ts';
import { isSyn, noteCompletion, noteInitialSequences, noteOpening } from './opening.ts';
import { OtherInterfaces } from './other-interfaces.ts';
import { changeBetween, NOTABLE, profileOf, standingAt, stateAt, type FlowChange } from './profile.ts';
import { noteSegment } from './stream.ts';
import { SENT_ACK, SENT_SYN, SENT_SYN_ACK, factsOf } from './tcp-state.ts';
import type { Address } from '../../common/address.ts';

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
  /** The most flows that are held at a time, at most `MAX_SLOTS`; one takes about 400 bytes. */
  readonly maxFlows: number;
  readonly timeouts?: FlowTimeouts;
  /** Whether a service is known at an endpoint: the address as four words, the port. */
  readonly isService: (w0: number, w1: number, w2: number, w3: number, port: number) => boolean;
  /**
   * Count a side of a flow only on the interface where it was seen first, or on the one that sees more of it: for
   * captures on all interfaces, where a bridge or a container's veth pair shows the same packet again.
   */
  readonly countOnOneInterface: boolean;
  /**
   * Takes each flow that is more than an attempt, its first packets counted, and again when more of it is proven or
   * initiator and responder turned out to be the other way round; and each attempt that is refused, or that stays
   * unanswered for some seconds: a flood of forged SYNs costs its owner nothing before that.
   */
  readonly changed?: (flow: Flow<Tag>, why: FlowChange) => void;
  /**
   * What to tag a flow with that begins with this frame, or whose initiator and responder turn out by it to be the
   * other way round. For owners who need to know no more of a flow that opens: it takes no object for each.
   */
  readonly tagOf?: (frame: Frame) => Tag | undefined;
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
const UNANSWERED = 1;
const ATTEMPTS = 2;
const UNPROVEN = 3;
const ESTABLISHED = 4;
/** The queue of a flow that has proven so much, by its standing. */
const QUEUE_OF_STANDING = [ATTEMPTS, UNPROVEN, ESTABLISHED] as const;

export class FlowTable<Tag> implements Iterable<Flow<Tag>> {
  readonly #options: FlowTableOptions<Tag>;
  readonly #countOnOneInterface: boolean;
  readonly #attemptSeconds: number;
  readonly #store: FlowStore;
  readonly #index: FlowIndex;
  /** What `account` makes of counts, so that look-ups see one kind of record. */
  readonly #countedFrame = new Frame();
  readonly #countedPacket = new Packet();
  /** By slot: of the flows that the owner was told of. 10,000 more objects cost a collection of garbage or two. */
  readonly #flows: (Flow<Tag> | undefined)[] = [];
  /** By slot: of the few flows that came in one. */
  readonly #tunnels = new Map<number, FlowTunnel>();
  readonly #otherInterfaces: OtherInterfaces;
  /** By number. */
  readonly #queues: readonly [FlowQueue, FlowQueue, FlowQueue, FlowQueue, FlowQueue];
  #opened = 0;
  #evicted = 0;
  /** Until then a SYN may be answered whose flow gave way. */
  #forgottenUntilSeconds = 0;
  #duplicates = 0;

  constructor(options: FlowTableOptions<Tag>) {
    this.#options = options;
    this.#countOnOneInterface = options.countOnOneInterface;
    this.#attemptSeconds = (options.timeouts ?? DEFAULT_TIMEOUTS).attemptSeconds;
    this.#store = new FlowStore(Math.min(options.maxFlows, MOST_FIRST_SLOTS));
    this.#otherInterfaces = new OtherInterfaces(this.#store);
    this.#index = new FlowIndex(this.#store, options.hashSeed ?? 0);
    const newQueue = (): FlowQueue => new FlowQueue(this.#store);
    this.#queues = [newQueue(), newQueue(), newQueue(), newQueue(), newQueue()];
  }

  get size(): number {
    return this.#index.size;
  }

  get counters(): FlowTableCounters {
    return { opened: this.#opened, evicted: this.#evicted, duplicates: this.#duplicates };
  }

  /**
   * Counts a packet to its flow, which it may open.
   *
   * The first packets of a connection need other work than the later ones. Where it costs nothing the same is done for
   * all: V8 compiles for what it has seen, and anew when something else comes.
   */
  observe(frame: Frame, packet: Packet): void {
    const { tcpFlags } = packet;
    const openedBefore = this.#opened;
    let found = this.#index.find(packet);
    if (found === NOT_FOUND || isSyn(tcpFlags)) found = this.#begin(found, frame, packet);
    const record = (found >> 1) * RECORD_WORDS;
    const store = this.#store;
    const { words, doubles } = store;
    const isB = (found & 1) === 1;
    const side = record + (isB ? SIDE_B : SIDE_A);
    const totals = side >> 1;
    const { interfaceIndex } = frame;
    if (doubles[totals + SIDE_PACKETS] === 0) words[side + SIDE_INTERFACE] = interfaceIndex;
    if (words[side + SIDE_INTERFACE] !== interfaceIndex && this.#countOnOneInterface) {
      this.#observeElsewhere(found, frame, packet);
    } else if (!frame.isCounted) {
      (doubles[totals + SIDE_PACKETS] as number) += 1;
      (doubles[totals + SIDE_BYTES] as number) += frame.originalLength;
      (doubles[totals + SIDE_PAYLOAD_BYTES] as number) += packet.payloadLength;
      noteSegment(store, record, isB, packet);
    }
    const isLater = noteTime(store, record, frame);
    const news = newsOf(words, record, isB, factsOf(tcpFlags, packet.payloadLength));
    const openInitials = (words[record + INITIALS] as number) ^ (INITIAL_OF_A | INITIAL_OF_B);
    // Few packets of a connection: those that open and end it, and one in eight seconds.
    if ((news | openInitials) !== 0 || isLater) {
      this.#learn(found, frame, packet, isLater, this.#opened !== openedBefore);
    }
  }

  /** Takes a packet on another interface than the one that its side is counted on; what it proves counts all the same. */
  #observeElsewhere(
    found: number,
    { isCounted, interfaceIndex, originalLength }: Frame,
    packet: Packet,
  ): void {
    this.#duplicates++;
    if (!isCounted)
      this.#otherInterfaces.count(found, interfaceIndex, 1, originalLength, packet.payloadLength);
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
    const record = slot * RECORD_WORDS;
    const { words, doubles } = this.#store;
    const isB = (found & 1) === 1;
    const side = record + (isB ? SIDE_B : SIDE_A);
    const totals = side / 2;
    const { interfaceIndex } = counts;
    if (doubles[totals + SIDE_PACKETS] === 0) words[side + SIDE_INTERFACE] = interfaceIndex;
    if (words[side + SIDE_INTERFACE] !== interfaceIndex && this.#countOnOneInterface) {
      this.#duplicates += counts.packets;
      const { packets, bytes, payloadBytes } = counts;
      this.#otherInterfaces.count(found, interfaceIndex, packets, bytes, payloadBytes);
    } else {
      (doubles[totals + SIDE_PACKETS] as number) += counts.packets;
      (doubles[totals + SIDE_BYTES] as number) += counts.bytes;
      (doubles[totals + SIDE_PAYLOAD_BYTES] as number) += counts.payloadBytes;
      (doubles[totals + SIDE_STREAM_BYTES] as number) += counts.payloadBytes;
    }
    const isLater = noteTime(this.#store, record, frame);
    if (isNew) this.#tag(slot, frame);
    // SYNs are not among the flags that counts have, so a flow's sides stay as they are.
    const facts = factsOf(packet.tcpFlags, counts.payloadBytes);
    if (newsOf(words, record, isB, facts) !== 0 || isLater) this.#noteFacts(slot, isB, facts, packet, frame);
  }

  /** Whether there is a flow between these two ends, in either direction and in no tunnel. */
  has(end: Address, port: number, otherEnd: Address, otherPort: number): boolean {
    const packet = this.#countedPacket;
    packet.source0 = end.w0;
    packet.source1 = end.w1;
    packet.source2 = end.w2;
    packet.source3 = end.w3;
    packet.sourcePort = port;
    packet.tunnelKey = 0;
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
    const timeouts = this.#options.timeouts ?? DEFAULT_TIMEOUTS;
    const { attemptSeconds, unansweredSeconds, establishedSeconds, closedSeconds } = timeouts;
    this.#ageAttempts(seconds - unansweredSeconds);
    this.#expireQueue(this.#queues[UNANSWERED], seconds - attemptSeconds, 'idle');
    this.#expireQueue(this.#queues[CLOSED], seconds - closedSeconds, 'closed');
    this.#expireQueue(this.#queues[ATTEMPTS], seconds - attemptSeconds, 'idle');
    this.#expireQueue(this.#queues[UNPROVEN], seconds - establishedSeconds, 'idle');
    this.#expireQueue(this.#queues[ESTABLISHED], seconds - establishedSeconds, 'idle');
  }

  /** Ends every flow. */
  endAll(): void {
    for (const queue of this.#queues) {
      while (queue.oldest !== NO_SLOT) this.#end(queue.oldest, 'stopped');
    }
  }

  /**
   * The flows in the table. The one just handed out may end before the next is asked for; others may not. To an owner
   * who was not told of a flow it is an object for the moment, not to be kept.
   */
  [Symbol.iterator](): Iterator<Flow<Tag>> {
    const queues: FlowQueue[] = [...this.#queues];
    let queue = queues.shift();
    let slot = queue?.oldest ?? NO_SLOT;
    // No generator: V8 takes longer to compile one than a list of some thousand flows takes.
    const next = (): IteratorResult<Flow<Tag>> => {
      while (slot === NO_SLOT && queue !== undefined) {
        queue = queues.shift();
        slot = queue?.oldest ?? NO_SLOT;
      }
      if (queue === undefined) return { done: true, value: undefined };
      const value = this.#flows[slot] ?? this.#windowOn(slot);
      slot = queue.newerThan(slot);
      return { done: false, value };
    };
    return { next };
  }

  /**
   * The flow of a packet that may begin one: the one that was found, or a new one.
   *
   * @param found as `FlowIndex.find` answers; so is the result
   */
  #begin(found: number, frame: Frame, packet: Packet): number {
    if (found === NOT_FOUND) return this.#open(frame, packet) * 2;
    if (!this.#beginsAnother(found, packet)) return found;
    const openings = openingsBySender(this.#store.words, found);
    this.#end(found >> 1, 'reused');
    const slot = this.#open(frame, packet);
    (this.#store.words[slot * RECORD_WORDS + ROLES] as number) |= openings;
    return slot * 2;
  }

  /** The slot of a new flow whose end A is the packet's sender. */
  #open(frame: Frame, packet: Packet): number {
    if (this.size >= this.#options.maxFlows) this.#evict(frame.seconds);
    const slot = this.#store.allocate();
    const { words, doubles } = this.#store;
    const record = slot * RECORD_WORDS;
    writeEndpoints(words, record, packet);
    doubles[record / 2 + FIRST_SECONDS] = frame.seconds;
    words[record + FIRST_NANOSECONDS] = frame.nanoseconds;
    doubles[record / 2 + LAST_SECONDS] = frame.seconds;
    words[record + LAST_NANOSECONDS] = frame.nanoseconds;
    words[record + INTERFACE] = frame.interfaceIndex;
    words[record + HASH] = this.#index.hashOf(packet);
    words[record + TUNNEL] = packet.tunnelKey;
    words[record + ROLES] =
      (this.#isSenderInitiator(packet) ? 0 : B_IS_INITIATOR) |
      (this.#mayHaveForgotten(frame) ? OPENED_A | OPENED_B : 0) |
      (ATTEMPTS << QUEUE_SHIFT);
    this.#queues[ATTEMPTS].add(slot);
    this.#index.add(slot);
    this.#flows[slot] = undefined;
    const tunnel = tunnelOf(packet);
    if (tunnel !== undefined) this.#tunnels.set(slot, tunnel);
    this.#opened++;
    return slot;
  }

  /**
   * Whether a SYN may be forgotten, because the table was full: one end answers a SYN with another, when a flood has made
   * us forget the first. Then no handshake proves who opened the connection.
   */
  #mayHaveForgotten({ seconds }: Frame): boolean {
    return seconds <= this.#forgottenUntilSeconds;
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
    const { words } = this.#store;
    const record = (found >> 1) * RECORD_WORDS;
    const isB = (found & 1) === 1;
    const known = words[record + INITIALS] as number;
    const isKnown = (known & (isB ? INITIAL_OF_B : INITIAL_OF_A)) !== 0;
    return isKnown && words[record + (isB ? SIDE_B : SIDE_A) + SIDE_INITIAL_SEQUENCE] !== packet.sequence;
  }

  /** Takes in what a packet may tell of its flow beyond numbers. */
  #learn(found: number, frame: Frame, packet: Packet, isLater: boolean, isNew: boolean): void {
    const slot = found >> 1;
    const isB = (found & 1) === 1;
    if (isNew) this.#tag(slot, frame);
    const { words } = this.#store;
    const record = slot * RECORD_WORDS;
    const facts = factsOf(packet.tcpFlags, packet.payloadLength);
    const isAwaited = ((words[record + INITIALS] as number) & AWAITS_ACK) !== 0;
    if (newsOf(words, record, isB, facts) !== 0 || isAwaited || isLater) {
      this.#noteFacts(slot, isB, facts, packet, frame);
    }
    noteInitialSequences(words, record, isB, packet);
  }

  /** Adds what a segment proves of its sender, and hands the flow over where that says more of it. */
  #noteFacts(slot: number, isB: boolean, facts: number, packet: Packet, frame: Frame): void {
    const { words } = this.#store;
    const record = slot * RECORD_WORDS;
    const { changed } = this.#options;
    const before = changed === undefined ? 0 : profileOf(words, record);
    const rolesBefore = words[record + ROLES] as number;
    if ((facts & (SENT_SYN | SENT_SYN_ACK)) !== 0) noteOpening(words, record, isB, facts, packet);
    else if ((facts & SENT_ACK) !== 0 && ((words[record + INITIALS] as number) & AWAITS_ACK) !== 0) {
      noteCompletion(this.#store, record, isB, packet);
    }
    (words[record + (isB ? FACTS_B : FACTS_A)] as number) |= facts;
    this.#queueOf(record).remove(slot);
    const roles = (words[record + ROLES] as number) & ROLES_MASK;
    words[record + ROLES] = roles | (queueAt(words, record) << QUEUE_SHIFT);
    this.#queueOf(record).add(slot);
    // The sides have changed places: what was known of the flow is of another one.
    if (((roles ^ rolesBefore) & B_IS_INITIATOR) !== 0) this.#tag(slot, frame);
    if (changed === undefined) return;
    const after = profileOf(words, record);
    if (after !== before && after >= NOTABLE) changed(this.#flowAt(slot), changeBetween(before, after));
  }

  /** Tags a flow that begins with this frame, or whose sides have changed places by it. */
  #tag(slot: number, frame: Frame): void {
    const tag = this.#options.tagOf?.(frame);
    const flow = this.#flows[slot];
    if (flow !== undefined) flow.tag = tag;
    else if (tag !== undefined) this.#flowAt(slot).tag = tag;
  }

  /** Hands over the attempts that have been quiet since then; they stay until their time is up. */
  #ageAttempts(limitSeconds: number): void {
    const { words } = this.#store;
    this.#forQuiet(this.#queues[ATTEMPTS], limitSeconds, (slot) => {
      const record = slot * RECORD_WORDS;
      this.#queues[ATTEMPTS].remove(slot);
      words[record + ROLES] = ((words[record + ROLES] as number) & ROLES_MASK) | (UNANSWERED << QUEUE_SHIFT);
      this.#queues[UNANSWERED].add(slot);
      this.#options.changed?.(this.#flowAt(slot), 'unanswered');
    });
  }

  #expireQueue(queue: FlowQueue, limitSeconds: number, cause: FlowEndCause): void {
    this.#forQuiet(queue, limitSeconds, (slot) => this.#end(slot, cause));
  }

  /** Calls `act`, which takes the flow out of the queue, for each whose last packet is not later. */
  #forQuiet(queue: FlowQueue, limitSeconds: number, act: (slot: number) => void): void {
    const lastStretch = stretchOf(limitSeconds);
    let slot = queue.oldest;
    while (slot !== NO_SLOT) {
      const record = slot * RECORD_WORDS;
      const { words, doubles } = this.#store;
      const seconds = doubles[record / 2 + LAST_SECONDS] as number;
      if (stretchOf(seconds) > lastStretch) return;
      const next = queue.newerThan(slot);
      const isQuiet = seconds + (words[record + LAST_NANOSECONDS] as number) / 1e9 <= limitSeconds;
      if (isQuiet) act(slot);
      slot = next;
    }
  }

  #evict(nowSeconds: number): void {
    const queue = this.#queues.find(({ oldest }) => oldest !== NO_SLOT);
    if (queue === undefined) return;
    this.#evicted++;
    this.#forgottenUntilSeconds = nowSeconds + this.#attemptSeconds;
    this.#end(queue.oldest, 'evicted');
  }

  #end(slot: number, cause: FlowEndCause): void {
    this.#queueOf(slot * RECORD_WORDS).remove(slot);
    this.#index.remove(slot);
    const flow = this.#flowAt(slot);
    this.#flows[slot] = undefined;
    this.#tunnels.delete(slot);
    this.#otherInterfaces.forget(slot);
    this.#options.ended(flow, cause);
    flow.leave();
    this.#store.release(slot);
  }

  #flowAt(slot: number): Flow<Tag> {
    return (this.#flows[slot] ??= this.#windowOn(slot));
  }

  #windowOn(slot: number): Flow<Tag> {
    return new Flow<Tag>(this.#store, slot, this.#tunnels.get(slot));
  }

  /** The queue that holds the record's flow. */
  #queueOf(record: number): FlowQueue {
    return this.#queues[(this.#store.words[record + ROLES] as number) >>> QUEUE_SHIFT] as FlowQueue;
  }
}

/** The queue that a flow belongs into: in the order in which flows give way when the table is full. */
function queueAt(words: Int32Array, record: number): number {
  const state = stateAt(words, record);
  const isOver = state === 'closed' || state === 'reset' || state === 'refused';
  return isOver ? CLOSED : (QUEUE_OF_STANDING[standingAt(words, record)] as number);
}

/** What is known of who opened connections between the ends of a flow, for a flow whose end A is the found sender. */
function openingsBySender(words: Int32Array, found: number): number {
  const roles = words[(found >> 1) * RECORD_WORDS + ROLES] as number;
  const ofA = roles & (PROVEN_A | OPENED_A);
  const ofB = roles & (PROVEN_B | OPENED_B);
  return (found & 1) === 0 ? ofA | ofB : (ofA << 1) | (ofB >> 1);
}

/** What the facts of a segment tell of its sender that was not known. A SYN is always news: of another attempt, mostly. */
function newsOf(words: Int32Array, record: number, isB: boolean, facts: number): number {
  const known = words[record + (isB ? FACTS_B : FACTS_A)] as number;
  return (facts & ~known) | (facts & (SENT_SYN | SENT_SYN_ACK));
}

function writeEndpoints(words: Int32Array, record: number, packet: Packet): void {
  words[record + ADDRESS_A] = packet.source0;
  words[record + ADDRESS_A + 1] = packet.source1;
  words[record + ADDRESS_A + 2] = packet.source2;
  words[record + ADDRESS_A + 3] = packet.source3;
  words[record + ADDRESS_B] = packet.destination0;
  words[record + ADDRESS_B + 1] = packet.destination1;
  words[record + ADDRESS_B + 2] = packet.destination2;
  words[record + ADDRESS_B + 3] = packet.destination3;
  words[record + PORTS] = (packet.sourcePort << 16) | packet.destinationPort;
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
  packet.tunnelKey = counts.tunnelKey;
  packet.acknowledgment = 0;
  packet.tcpFlags = counts.tcpFlags & TCP_ACK;
}
