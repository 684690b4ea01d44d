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
 */
import {
  HOLE_BYTES,
  MAX_HOLES,
  SIDE_HOLE,
  SIDE_HOLES,
  SIDE_NEXT_IS_KNOWN,
  SIDE_NEXT_SEQUENCE,
  SIDE_STREAM_BYTES,
} from './flow-store.ts';
import { TCP_RST, TCP_SYN, type Packet } from '../decode/packet.ts';

/** The largest window there is (RFC 7323, section 2.3): farther off, a number says nothing of the one before. */
const LARGEST_WINDOW = 2 ** 30;

/**
 * Counts what a segment adds to its sender's stream. Numbers go round at 2^32; compared are differences, as signed
 * 32-bit numbers.
 *
 * @param side where the sender's part of the record starts in the view
 */
export function noteSegment(view: DataView, side: number, packet: Packet): void {
  const { tcpFlags, payloadLength: length } = packet;
  // Without flags it is no segment of a connection, or one of which only the ports are known.
  if (tcpFlags === 0 || (tcpFlags & TCP_RST) !== 0) return;
  const isSyn = (tcpFlags & TCP_SYN) !== 0;
  if (length === 0 && !isSyn) return;
  // A SYN takes a number of its own, before the data that may come with it (RFC 7413).
  const start = isSyn ? (packet.sequence + 1) | 0 : packet.sequence | 0;
  const isKnown = view.getUint8(side + SIDE_NEXT_IS_KNOWN) === 1;
  const expected = view.getInt32(side + SIDE_NEXT_SEQUENCE, true);
  const ahead = (start - expected) | 0;
  if (ahead === 0 && isKnown) {
    addToStream(view, side, length);
    view.setInt32(side + SIDE_NEXT_SEQUENCE, start + length, true);
  } else if (!isKnown || ahead > LARGEST_WINDOW || ahead < -LARGEST_WINDOW) {
    view.setUint8(side + SIDE_NEXT_IS_KNOWN, 1);
    view.setUint8(side + SIDE_HOLES, 0);
    addToStream(view, side, length);
    view.setInt32(side + SIDE_NEXT_SEQUENCE, start + length, true);
  } else {
    noteOutOfOrder(view, side, start, length, expected);
  }
}

function noteOutOfOrder(view: DataView, side: number, start: number, length: number, expected: number): void {
  const end = (start + length) | 0;
  const ahead = (start - expected) | 0;
  if (ahead > 0) {
    if (length === 0) return;
    openHole(view, side, expected, start);
    addToStream(view, side, length);
    view.setInt32(side + SIDE_NEXT_SEQUENCE, end, true);
    return;
  }
  fillHoles(view, side, start, end);
  const beyond = (end - expected) | 0;
  if (beyond <= 0) return;
  addToStream(view, side, beyond);
  view.setInt32(side + SIDE_NEXT_SEQUENCE, end, true);
}

/** Counts what of `[start, end)` lies in holes, and makes them smaller by it. */
function fillHoles(view: DataView, side: number, start: number, end: number): void {
  // From the last: a hole that is filled is replaced by the last, one that is split is added behind.
  for (let index = view.getUint8(side + SIDE_HOLES) - 1; index >= 0; index--) {
    const hole = side + SIDE_HOLE + index * HOLE_BYTES;
    const first = view.getInt32(hole, true);
    const last = view.getInt32(hole + 4, true);
    const fillStart = ((start - first) | 0) > 0 ? start : first;
    const fillEnd = ((end - last) | 0) < 0 ? end : last;
    const filled = (fillEnd - fillStart) | 0;
    if (filled <= 0) continue;
    addToStream(view, side, filled);
    if (fillStart === first && fillEnd === last) {
      closeHole(view, side, hole);
    } else if (fillStart === first) {
      view.setInt32(hole, fillEnd, true);
    } else {
      view.setInt32(hole + 4, fillStart, true);
      if (fillEnd !== last) openHole(view, side, fillEnd, last);
    }
  }
}

/** Adds a hole; where there is no room, the lowest gives way. */
function openHole(view: DataView, side: number, first: number, end: number): void {
  const count = view.getUint8(side + SIDE_HOLES);
  const hole = count < MAX_HOLES ? side + SIDE_HOLE + count * HOLE_BYTES : lowestHole(view, side);
  if (count < MAX_HOLES) view.setUint8(side + SIDE_HOLES, count + 1);
  else if (((view.getInt32(hole, true) - first) | 0) > 0) return;
  view.setInt32(hole, first, true);
  view.setInt32(hole + 4, end, true);
}

function closeHole(view: DataView, side: number, hole: number): void {
  const last = view.getUint8(side + SIDE_HOLES) - 1;
  const lastHole = side + SIDE_HOLE + last * HOLE_BYTES;
  view.setInt32(hole, view.getInt32(lastHole, true), true);
  view.setInt32(hole + 4, view.getInt32(lastHole + 4, true), true);
  view.setUint8(side + SIDE_HOLES, last);
}

function lowestHole(view: DataView, side: number): number {
  let lowest = side + SIDE_HOLE;
  for (let index = 1; index < MAX_HOLES; index++) {
    const hole = side + SIDE_HOLE + index * HOLE_BYTES;
    if (((view.getInt32(hole, true) - view.getInt32(lowest, true)) | 0) < 0) lowest = hole;
  }
  return lowest;
}

function addToStream(view: DataView, side: number, bytes: number): void {
  const field = side + SIDE_STREAM_BYTES;
  view.setFloat64(field, view.getFloat64(field, true) + bytes, true);
}
