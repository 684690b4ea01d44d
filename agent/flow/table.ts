/**
 * Packets to connections: counts each packet to its flow, opens flows, and ends them.
 *
 * Who opened a connection is told by its SYN. Joined midstream, the side whose endpoint is a known service is taken
 * for the responder; where neither or both are, the sender of the first packet is taken for the initiator (of a
 * SYN-ACK, for the responder). When a later SYN proves otherwise the sides change places and `tag` is cleared.
 *
 * A SYN with another initial sequence number than the one known for its sender begins a new flow, as a new
 * `tcp.stream` begins in tshark; the same SYN again is a retransmission.
 *
 * The table is bounded: when it is full, the flow that was quiet longest gives way: among those that are over, else
 * among unanswered attempts, else among all. A flood of SYNs thus drives out attempts, not connections.
 */
import type { Frame } from '../capture/source.ts';
import { TCP_ACK, TCP_RST, TCP_SYN, type Packet } from '../decode/packet.ts';
import { DEFAULT_TIMEOUTS, FlowQueue, type FlowTimeouts } from './expiry.ts';
import { FlowIndex, isSender } from './flow-index.ts';
import { Flow, FlowSide, UNKNOWN_SEQUENCE } from './flow.ts';
import { SENT_SYN, SENT_SYN_ACK, factsOf, stateOf } from './tcp-state.ts';
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
  /** The most flows that are held at a time; one takes about half a kilobyte. */
  readonly maxFlows: number;
  readonly timeouts?: FlowTimeouts;
  /** Whether a service is known at an endpoint: the address as four words, the port. */
  readonly isService: (w0: number, w1: number, w2: number, w3: number, port: number) => boolean;
  /**
   * Count a side of a flow only on the interface where it was seen first: for captures on all interfaces, where a
   * bridge or a container's veth pair shows the same packet again.
   */
  readonly countOnOneInterface: boolean;
  /** Takes each flow once it has left the table. */
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

export class FlowTable<Tag> implements Iterable<Flow<Tag>> {
  readonly #options: FlowTableOptions<Tag>;
  readonly #index: FlowIndex<Tag>;
  readonly #closed = new FlowQueue<Tag>();
  readonly #attempts = new FlowQueue<Tag>();
  readonly #established = new FlowQueue<Tag>();
  #opened = 0;
  #evicted = 0;
  #duplicates = 0;

  constructor(options: FlowTableOptions<Tag>) {
    this.#options = options;
    this.#index = new FlowIndex(options.hashSeed ?? 0);
  }

  get size(): number {
    return this.#index.size;
  }

  get counters(): FlowTableCounters {
    return { opened: this.#opened, evicted: this.#evicted, duplicates: this.#duplicates };
  }

  /**
   * Counts a packet.
   *
   * @returns its flow, which is new or was turned round when its `tag` is undefined
   */
  observe(frame: Frame, packet: Packet): Flow<Tag> {
    const hash = this.#index.hashOf(packet);
    let flow = this.#index.find(hash, packet);
    if (flow !== undefined && beginsAnother(flow, packet)) {
      this.#end(flow, 'reused');
      flow = undefined;
    }
    flow ??= this.#open(frame, packet, hash);

    const isFromInitiator = isSender(flow.initiator, packet);
    const sender = isFromInitiator ? flow.initiator : flow.responder;
    if (sender.packets === 0) sender.interfaceIndex = frame.interfaceIndex;
    else if (this.#options.countOnOneInterface && sender.interfaceIndex !== frame.interfaceIndex) {
      this.#duplicates++;
      return flow;
    }
    sender.packets++;
    sender.bytes += frame.originalLength;
    sender.payloadBytes += packet.payloadLength;
    noteTime(flow, frame);
    noteSequences(sender, isFromInitiator ? flow.responder : flow.initiator, packet);
    this.#noteFacts(flow, sender, factsOf(packet.tcpFlags));
    return flow;
  }

  /**
   * Ends the flows whose time is up.
   *
   * @param seconds now, since the epoch: of the clock, or of the packets in replay
   */
  expire(seconds: number): void {
    const { attemptSeconds, establishedSeconds, closedSeconds } = this.#options.timeouts ?? DEFAULT_TIMEOUTS;
    this.#expireQueue(this.#closed, seconds - closedSeconds, 'closed');
    this.#expireQueue(this.#attempts, seconds - attemptSeconds, 'idle');
    this.#expireQueue(this.#established, seconds - establishedSeconds, 'idle');
  }

  /** Ends every flow. */
  endAll(): void {
    for (const flow of this) this.#end(flow, 'stopped');
  }

  /** The flows in the table. The one just handed out may end before the next is asked for; others may not. */
  *[Symbol.iterator](): Iterator<Flow<Tag>> {
    for (const queue of [this.#closed, this.#attempts, this.#established]) {
      let flow = queue.oldest;
      while (flow !== undefined) {
        const next: Flow<Tag> | undefined = flow.newer;
        yield flow;
        flow = next;
      }
    }
  }

  #open(frame: Frame, packet: Packet, hash: number): Flow<Tag> {
    if (this.size >= this.#options.maxFlows) this.#evict();
    const sender = new FlowSide(
      packet.source0,
      packet.source1,
      packet.source2,
      packet.source3,
      packet.sourcePort,
    );
    const receiver = new FlowSide(
      packet.destination0,
      packet.destination1,
      packet.destination2,
      packet.destination3,
      packet.destinationPort,
    );
    const isSenderInitiator = this.#isInitiator(sender, receiver, packet.tcpFlags);
    const flow = new Flow<Tag>(isSenderInitiator ? sender : receiver, isSenderInitiator ? receiver : sender, {
      seconds: frame.seconds,
      nanoseconds: frame.nanoseconds,
      interfaceIndex: frame.interfaceIndex,
      hash,
      queue: this.#established,
    });
    this.#opened++;
    this.#index.add(flow);
    flow.queue.add(flow);
    return flow;
  }

  /** Whether the sender of a flow's first packet is the initiator. */
  #isInitiator(sender: FlowSide, receiver: FlowSide, tcpFlags: number): boolean {
    if (isSyn(tcpFlags)) return (tcpFlags & TCP_ACK) === 0;
    const { isService } = this.#options;
    const isSenderService = isService(sender.w0, sender.w1, sender.w2, sender.w3, sender.port);
    return !isSenderService || isService(receiver.w0, receiver.w1, receiver.w2, receiver.w3, receiver.port);
  }

  #noteFacts(flow: Flow<Tag>, sender: FlowSide, facts: number): void {
    if ((facts & (SENT_SYN | SENT_SYN_ACK)) !== 0) {
      if (isOtherWayRound(flow, sender, facts)) turnRound(flow);
      if (facts === SENT_SYN && flow.state === 'refused') restart(flow);
    }
    if ((sender.facts | facts) !== sender.facts) {
      sender.facts |= facts;
      flow.state = stateOf(flow.initiator.facts, flow.responder.facts);
    }
    const queue = this.#queueOf(flow.state);
    if (queue === flow.queue) {
      queue.renew(flow);
      return;
    }
    flow.queue.remove(flow);
    flow.queue = queue;
    queue.add(flow);
  }

  #expireQueue(queue: FlowQueue<Tag>, limitSeconds: number, cause: FlowEndCause): void {
    let flow = queue.oldest;
    while (flow !== undefined && flow.lastSeconds + flow.lastNanoseconds / 1e9 <= limitSeconds) {
      this.#end(flow, cause);
      flow = queue.oldest;
    }
  }

  #evict(): void {
    const flow = this.#closed.oldest ?? this.#attempts.oldest ?? this.#established.oldest;
    if (flow === undefined) return;
    this.#evicted++;
    this.#end(flow, 'evicted');
  }

  #end(flow: Flow<Tag>, cause: FlowEndCause): void {
    flow.queue.remove(flow);
    this.#index.remove(flow);
    this.#options.ended(flow, cause);
  }

  #queueOf(state: FlowState): FlowQueue<Tag> {
    switch (state) {
      case 'closed':
      case 'reset':
      case 'refused':
        return this.#closed;
      case 'attempt':
        return this.#attempts;
      default:
        return this.#established;
    }
  }
}

function isSyn(tcpFlags: number): boolean {
  return (tcpFlags & (TCP_SYN | TCP_RST)) === TCP_SYN;
}

/** Whether the packet is the SYN of another connection than the flow's. */
function beginsAnother(flow: Flow<unknown>, packet: Packet): boolean {
  if (!isSyn(packet.tcpFlags) || (packet.tcpFlags & TCP_ACK) !== 0) return false;
  const { initialSequence } = isSender(flow.initiator, packet) ? flow.initiator : flow.responder;
  return initialSequence !== UNKNOWN_SEQUENCE && initialSequence !== packet.sequence;
}

/** Widens the flow's time to the frame's. Frames of several interfaces may be a little out of order. */
function noteTime(flow: Flow<unknown>, { seconds, nanoseconds }: Frame): void {
  if (seconds > flow.lastSeconds || (seconds === flow.lastSeconds && nanoseconds > flow.lastNanoseconds)) {
    flow.lastSeconds = seconds;
    flow.lastNanoseconds = nanoseconds;
  } else if (
    seconds < flow.firstSeconds ||
    (seconds === flow.firstSeconds && nanoseconds < flow.firstNanoseconds)
  ) {
    flow.firstSeconds = seconds;
    flow.firstNanoseconds = nanoseconds;
  }
}

/**
 * Learns the initial sequence numbers. Without the SYN the number before the first one seen must do: good enough to
 * tell a SYN that was captured late from the SYN of another connection.
 */
function noteSequences(sender: FlowSide, receiver: FlowSide, packet: Packet): void {
  // Without flags it is no segment of a connection, or one of which only the ports are known.
  if (packet.tcpFlags === 0) return;
  if (sender.initialSequence === UNKNOWN_SEQUENCE) {
    sender.initialSequence = isSyn(packet.tcpFlags) ? packet.sequence : (packet.sequence - 1) >>> 0;
  }
  if (receiver.initialSequence === UNKNOWN_SEQUENCE && (packet.tcpFlags & TCP_ACK) !== 0) {
    receiver.initialSequence = (packet.acknowledgment - 1) >>> 0;
  }
}

/** Whether a SYN or SYN-ACK shows that who was taken for the initiator is the responder. */
function isOtherWayRound(flow: Flow<unknown>, sender: FlowSide, facts: number): boolean {
  // With a SYN of each side both open the connection (RFC 9293, section 3.5); the first one counts.
  if ((flow.initiator.facts & SENT_SYN) !== 0) return false;
  if (facts === SENT_SYN) return sender === flow.responder;
  return sender === flow.initiator && (flow.responder.facts & SENT_SYN_ACK) === 0;
}

function turnRound(flow: Flow<unknown>): void {
  const { initiator, responder } = flow;
  flow.initiator = responder;
  flow.responder = initiator;
  flow.tag = undefined;
}

/** A refused initiator tries once more with the number it had: what came before says nothing of this attempt. */
function restart(flow: Flow<unknown>): void {
  flow.initiator.facts = 0;
  flow.responder.facts = 0;
}
