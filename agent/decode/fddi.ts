/** Fiber Distributed Data Interface: ISO 9314-2; RFC 1390, section 2 (IP in it). */
import type { Packet, Step } from './packet.ts';

const FRAME_CONTROL = 0;
const HEADER_LENGTH = 13;

/** Frames for LLC have these two bits; the others are the ring's own. */
const LLC_MASK = 0xf0;
const LLC = 0x50;

/** Moves behind the header of a frame that carries data. */
export function decodeFddi(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  if ((view.getUint8(offset + FRAME_CONTROL) & LLC_MASK) !== LLC) return 'not-ip';
  packet.offset = offset + HEADER_LENGTH;
  return 'llc';
}
