/**
 * Frames that a switch mirrors through GRE: draft-foschiano-erspan-03, section 4. The first version is the bare frame
 * and has no header.
 */
import type { Packet, Step } from './packet.ts';

const VERSION_2_LENGTH = 8;

const VERSION_3_LENGTH = 12;
/** The last two bytes of the header: what kind of frame follows in five bits, and in one whether a subheader does. */
const VERSION_3_FLAGS = 10;
const VERSION_3_HAS_SUBHEADER = 0x0001;
const VERSION_3_FRAME_TYPE_SHIFT = 10;
const VERSION_3_FRAME_TYPE_MASK = 0x1f;
const VERSION_3_FRAME_ETHERNET = 0;
const VERSION_3_FRAME_IP = 2;
const VERSION_3_SUBHEADER_LENGTH = 8;

/** Moves to the mirrored Ethernet frame. */
export function decodeErspan2(_view: DataView, packet: Packet): Step {
  packet.offset += VERSION_2_LENGTH;
  return 'ethernet';
}

/** Moves to the mirrored frame, Ethernet or IP. */
export function decodeErspan3(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < VERSION_3_LENGTH) return 'truncated';
  const flags = view.getUint16(offset + VERSION_3_FLAGS);
  const hasSubheader = (flags & VERSION_3_HAS_SUBHEADER) !== 0;
  packet.offset = offset + VERSION_3_LENGTH + (hasSubheader ? VERSION_3_SUBHEADER_LENGTH : 0);
  switch ((flags >>> VERSION_3_FRAME_TYPE_SHIFT) & VERSION_3_FRAME_TYPE_MASK) {
    case VERSION_3_FRAME_ETHERNET:
      return 'ethernet';
    case VERSION_3_FRAME_IP:
      return 'ip';
    default:
      return 'not-ip';
  }
}
