/**
 * Layer Two Tunneling Protocol: version 2 over UDP, which carries PPP (RFC 2661, section 3.1), and version 3 over UDP or
 * IP (RFC 3931, sections 4.1.1 and 4.1.2), which carries what the two ends have agreed on: mostly Ethernet frames, behind
 * a cookie and a sublayer of which only they know the lengths.
 */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';
import { certainHeader, decodeUnnamed, isEthernet } from './unnamed.ts';

const FLAGS_AND_VERSION = 0;
const FLAGS_LENGTH = 2;
const IS_CONTROL = 0x8000;
const HAS_LENGTH = 0x4000;
const HAS_SEQUENCE = 0x0800;
const HAS_OFFSET = 0x0200;
const VERSION_MASK = 0x000f;

const LENGTH = 2;
const LENGTH_SIZE = 2;
/** Numbers of tunnel and session. */
const IDENTIFIERS_SIZE = 4;
const SEQUENCE_SIZE = 4;
const OFFSET_SIZE = 2;

/** Over UDP flags, version and two reserved bytes stand before the session's number. */
const VERSION_3_UDP_HEADER = 4;
const SESSION_SIZE = 4;
/** Over IP it is the session 0 that carries control messages. */
const CONTROL_SESSION = 0;
/** Bytes of cookie (none, 4 or 8) and of sublayer (none, or the 4 of RFC 3931, section 4.6) together. */
const VERSION_3_GAPS = [0, 4, 8, 12] as const;
/** RFC 4349 (HDLC) and RFC 3931, section 4.6.4: PPP with the address of all stations. */
const PPP_ADDRESS_AND_CONTROL = 0xff03;
const PPP_MINIMUM = 4;

/** Over UDP: moves to PPP, or to what a session of version 3 carries. */
export function decodeL2tp(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < FLAGS_LENGTH) return 'truncated';
  const flags = view.getUint16(offset + FLAGS_AND_VERSION);
  if ((flags & IS_CONTROL) !== 0) return 'not-tcp';
  switch (flags & VERSION_MASK) {
    case 2:
      return decodeVersion2(view, packet, flags);
    case 3:
      packet.offset = offset + VERSION_3_UDP_HEADER;
      return decodeL2tp3(view, packet);
    default:
      return 'not-tcp';
  }
}

/** Over IP, protocol 115: moves to what the session carries. */
export function decodeL2tp3(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < SESSION_SIZE) return 'truncated';
  if (view.getUint32(offset) === CONTROL_SESSION) return 'not-tcp';
  enterTunnel(packet, 'l2tp');
  const start = offset + SESSION_SIZE;
  for (const gap of VERSION_3_GAPS) {
    packet.offset = start + gap;
    const header = certainHeader(view, packet, packet.offset);
    if (header !== undefined) return header;
  }
  for (const gap of VERSION_3_GAPS) {
    packet.offset = start + gap;
    if (isEthernet(view, packet, packet.offset)) return 'ethernet';
    if (isPpp(view, packet)) return 'ppp';
  }
  // No frame at any of the places: a session of bare IP, or of something else.
  for (const gap of VERSION_3_GAPS) {
    packet.offset = start + gap;
    const step = decodeUnnamed(view, packet);
    if (step !== 'not-ip' && step !== 'truncated') return step;
  }
  return 'not-ip';
}

function decodeVersion2(view: DataView, packet: Packet, flags: number): Step {
  const { offset } = packet;
  let end = offset + FLAGS_LENGTH + IDENTIFIERS_SIZE;
  if ((flags & HAS_LENGTH) !== 0) end += LENGTH_SIZE;
  if ((flags & HAS_SEQUENCE) !== 0) end += SEQUENCE_SIZE;
  const hasOffset = (flags & HAS_OFFSET) !== 0;
  if (hasOffset) end += OFFSET_SIZE;
  if (packet.capturedEnd < end) return 'truncated';
  if ((flags & HAS_LENGTH) !== 0) {
    const length = view.getUint16(offset + LENGTH);
    if (offset + length < end) return 'malformed';
    narrow(packet, offset + length);
  }
  packet.offset = hasOffset ? end + view.getUint16(end - OFFSET_SIZE) : end;
  enterTunnel(packet, 'l2tp');
  return 'ppp';
}

function isPpp(view: DataView, { offset, capturedEnd }: Packet): boolean {
  return capturedEnd - offset >= PPP_MINIMUM && view.getUint16(offset) === PPP_ADDRESS_AND_CONTROL;
}
