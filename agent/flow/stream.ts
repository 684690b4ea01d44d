/**
 * How much of a side's byte stream was seen at least once, by sequence numbers (RFC 9293, section 3.4): what is sent
 * again, overlaps or keeps the connection alive counts once or not at all.
 *
 * Kept for a side: the number expected next, and up to four holes before it, for segments that come out of order. So
 * the cost of a packet is bounded, and these bytes are not counted although they were seen:
 * - those that fill a fifth hole: the lowest hole is given up for it,
 * - those before the first segment of a side that was joined midstream,
 * - those in IP fragments other than the first, which have no sequence number,
 * - those in a reset, which belong to no stream.
 *
 * Bytes that were sent but not captured are holes: they do not count.
 *
 * Where a stream begins is what the handshake says (see opening.ts): of several answers to a SYN, the one that its sender
 * acknowledges (RFC 9293, sections 3.8.1 and 3.10.7). Until a byte of it was seen that is a claim, which anybody can make
 * in another's name: data that ends before it moves the beginning there. Data that reaches beyond it does so only where
 * its sender answered a SYN, possibly with several numbers. The number of a SYN is certain (another one begins another
 * flow), so that the receiver cuts off what lies before it (RFC 9293, section 3.10.7.4).
 */
import {
  FACTS_A,
  FACTS_B,
  HOLE_WORDS,
  HOLES_A,
  HOLES_B,
  MAX_HOLES,
  SIDE_A,
  SIDE_B,
  SIDE_NEXT_SEQUENCE,
  SIDE_STREAM_BYTES,
  SIDE_STREAM_STATE,
  type FlowStore,
} from './flow-store.ts';
import { SENT_SYN_ACK } from './tcp-state.ts';
import { TCP_RST, TCP_SYN, type Packet } from '../decode/packet.ts';

/** The largest window there is (RFC 7323, section 2.3): farther off, a number says nothing of the one before. */
const LARGEST_WINDOW = 2 ** 30;

/** Values of `SIDE_STREAM_STATE`; further ones are further holes. */
const NEXT_IS_UNKNOWN = 0;
const NO_HOLES = 1;

/**
 * Counts what a segment adds to its sender's stream. Numbers go round at 2^32; compared are differences, as signed
 * 32-bit numbers.
 *
 * @param record the word at which the flow's record starts
 * @param isB whether end B is the sender
 */
export function noteSegment(store: FlowStore, record: number, isB: boolean, packet: Packet): void {
  const { tcpFlags, payloadLength: length } = packet;
  const isSyn = (tcpFlags & TCP_SYN) !== 0;
  // Without flags it is no segment of a connection, or one of which only the ports are known.
  if ((length === 0 && !isSyn) || tcpFlags === 0 || (tcpFlags & TCP_RST) !== 0) return;
  const { words } = store;
  const side = record + (isB ? SIDE_B : SIDE_A);
  // A SYN takes a number of its own, before the data that may come with it (RFC 7413).
  const start = isSyn ? (packet.sequence + 1) | 0 : packet.sequence;
  const state = words[side + SIDE_STREAM_STATE];
  const isExpected = start === words[side + SIDE_NEXT_SEQUENCE];
  if (state !== NEXT_IS_UNKNOWN && !isExpected) {
    // Another SYN moves a stream that has begun only where its handshake is the one that counts.
    if (isSyn) return;
    const hasAnswered = ((words[record + (isB ? FACTS_B : FACTS_A)] as number) & SENT_SYN_ACK) !== 0;
    noteUnexpected(store, side, record + (isB ? HOLES_B : HOLES_A), start, length, hasAnswered);
    return;
  }
  if (state === NEXT_IS_UNKNOWN) words[side + SIDE_STREAM_STATE] = NO_HOLES;
  addToStream(store, side, length);
  words[side + SIDE_NEXT_SEQUENCE] = (start + length) | 0;
}

/** The number expected next of a side of which no byte was counted, as one that its other side may acknowledge. */
export function isClaimedStart(store: FlowStore, record: number, isB: boolean, sequence: number): boolean {
  const side = record + (isB ? SIDE_B : SIDE_A);
  const { words } = store;
  return (
    words[side + SIDE_STREAM_STATE] === NO_HOLES &&
    words[side + SIDE_NEXT_SEQUENCE] === sequence &&
    hasNotBegun(store, side)
  );
}

/** Lets a side's stream begin with this number, unless bytes of it were counted. */
export function beginStream(store: FlowStore, record: number, isB: boolean, sequence: number): void {
  const side = record + (isB ? SIDE_B : SIDE_A);
  const { words } = store;
  if (!hasNotBegun(store, side)) return;
  words[side + SIDE_STREAM_STATE] = NO_HOLES;
  words[side + SIDE_NEXT_SEQUENCE] = sequence;
}

/** Forgets where the streams of both sides were, for the next attempt to open the connection; counts stay. */
export function forgetStreams(words: Int32Array, record: number): void {
  words[record + SIDE_A + SIDE_STREAM_STATE] = NEXT_IS_UNKNOWN;
  words[record + SIDE_B + SIDE_STREAM_STATE] = NEXT_IS_UNKNOWN;
}

/**
 * A segment that starts at another number than the one expected next.
 *
 * @param holes the word at which the side's holes start
 * @param mayStartElsewhere whether the side's first number may be another one than the one taken for it
 */
function noteUnexpected(
  store: FlowStore,
  side: number,
  holes: number,
  start: number,
  length: number,
  mayStartElsewhere: boolean,
): void {
  const { words } = store;
  const expected = words[side + SIDE_NEXT_SEQUENCE] as number;
  const end = (start + length) | 0;
  const ahead = (start - expected) | 0;
  if (ahead > LARGEST_WINDOW || ahead < -LARGEST_WINDOW) {
    words[side + SIDE_STREAM_STATE] = NO_HOLES;
    addToStream(store, side, length);
    words[side + SIDE_NEXT_SEQUENCE] = end;
    return;
  }
  if (ahead > 0) {
    if (length === 0) return;
    openHole(words, side, holes, expected, start);
    addToStream(store, side, length);
    words[side + SIDE_NEXT_SEQUENCE] = end;
    return;
  }
  const isStartWrong = ((end - expected) | 0) <= 0 || mayStartElsewhere;
  if (
    words[side + SIDE_STREAM_STATE] === NO_HOLES &&
    isStartWrong &&
    hasNotBegun(store, side) &&
    !isKeepAlive(ahead, length)
  ) {
    addToStream(store, side, length);
    words[side + SIDE_NEXT_SEQUENCE] = end;
    return;
  }
  fillHoles(store, side, holes, start, end);
  const beyond = (end - expected) | 0;
  if (beyond <= 0) return;
  addToStream(store, side, beyond);
  words[side + SIDE_NEXT_SEQUENCE] = end;
}

/** Counts what of `[start, end)` lies in holes, and makes them smaller by it. */
function fillHoles(store: FlowStore, side: number, holes: number, start: number, end: number): void {
  const { words } = store;
  // From the last: a hole that is filled is replaced by the last, one that is split is added behind.
  for (let index = holeCount(words, side) - 1; index >= 0; index--) {
    const hole = holes + index * HOLE_WORDS;
    const first = words[hole] as number;
    const last = words[hole + 1] as number;
    const fillStart = ((start - first) | 0) > 0 ? start : first;
    const fillEnd = ((end - last) | 0) < 0 ? end : last;
    const filled = (fillEnd - fillStart) | 0;
    if (filled <= 0) continue;
    addToStream(store, side, filled);
    if (fillStart === first && fillEnd === last) {
      closeHole(words, side, holes, hole);
    } else if (fillStart === first) {
      words[hole] = fillEnd;
    } else {
      words[hole + 1] = fillStart;
      if (fillEnd !== last) openHole(words, side, holes, fillEnd, last);
    }
  }
}

/** Adds a hole; where there is no room, the lowest gives way. */
function openHole(words: Int32Array, side: number, holes: number, first: number, end: number): void {
  const count = holeCount(words, side);
  const hole = count < MAX_HOLES ? holes + count * HOLE_WORDS : lowestHole(words, holes);
  if (count < MAX_HOLES) words[side + SIDE_STREAM_STATE] = NO_HOLES + count + 1;
  else if ((((words[hole] as number) - first) | 0) > 0) return;
  words[hole] = first;
  words[hole + 1] = end;
}

function closeHole(words: Int32Array, side: number, holes: number, hole: number): void {
  const last = holeCount(words, side) - 1;
  words.copyWithin(hole, holes + last * HOLE_WORDS, holes + (last + 1) * HOLE_WORDS);
  words[side + SIDE_STREAM_STATE] = NO_HOLES + last;
}

/** How many holes there are, where the number expected next is known. */
function holeCount(words: Int32Array, side: number): number {
  return (words[side + SIDE_STREAM_STATE] as number) - NO_HOLES;
}

function lowestHole(words: Int32Array, holes: number): number {
  let lowest = holes;
  for (let index = 1; index < MAX_HOLES; index++) {
    const hole = holes + index * HOLE_WORDS;
    if ((((words[hole] as number) - (words[lowest] as number)) | 0) < 0) lowest = hole;
  }
  return lowest;
}

/** Whether a segment repeats the byte before the next one, to be answered (RFC 9293, section 3.8.4). */
function isKeepAlive(ahead: number, length: number): boolean {
  return ahead === -1 && length === 1;
}

/** Whether no byte of the side was counted. */
function hasNotBegun({ doubles }: FlowStore, side: number): boolean {
  return doubles[side / 2 + SIDE_STREAM_BYTES] === 0;
}

function addToStream({ doubles }: FlowStore, side: number, bytes: number): void {
  (doubles[side / 2 + SIDE_STREAM_BYTES] as number) += bytes;
}
