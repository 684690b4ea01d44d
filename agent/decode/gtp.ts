/** GTP-U, the tunnels of mobile networks, version 1: 3GPP TS 29.281, sections 5.1 and 5.2. */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

const FLAGS = 0;
const MESSAGE_TYPE = 1;
/** Bytes behind the first eight. */
const LENGTH = 2;
const HEADER_LENGTH = 8;
/** Sequence number, N-PDU number and type of the first extension: there when one of three flags is set. */
const OPTIONAL_LENGTH = 4;
const OPTIONAL_NEXT_EXTENSION = 3;

/** Version 1, and GTP rather than GTP' (charging). */
const VERSION_AND_PROTOCOL_MASK = 0xf0;
const VERSION_AND_PROTOCOL = 0x30;
const HAS_OPTIONAL = 0x07;
const HAS_EXTENSION = 0x04;
/** A packet of the user. */
const MESSAGE_USER_PACKET = 255;

/** An extension header's first byte is its length in units of 4 bytes, its last byte the type of the next one. */
const NO_MORE_EXTENSIONS = 0;
/** More than the types that there are for user packets. */
const MAX_EXTENSIONS = 8;

/** Moves to the user's packet, whose kind only the tunnel's ends know: IP is told by its version. */
export function decodeGtp(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  const flags = view.getUint8(offset + FLAGS);
  if ((flags & VERSION_AND_PROTOCOL_MASK) !== VERSION_AND_PROTOCOL) return 'not-tcp';
  if (view.getUint8(offset + MESSAGE_TYPE) !== MESSAGE_USER_PACKET) return 'not-tcp';
  packet.offset = offset + HEADER_LENGTH;
  narrow(packet, packet.offset + view.getUint16(offset + LENGTH));
  enterTunnel(packet, 'gtp');
  if ((flags & HAS_OPTIONAL) === 0) return 'ip';
  if (packet.capturedEnd - packet.offset < OPTIONAL_LENGTH) return 'truncated';
  const next = view.getUint8(packet.offset + OPTIONAL_NEXT_EXTENSION);
  packet.offset += OPTIONAL_LENGTH;
  return (flags & HAS_EXTENSION) === 0 ? 'ip' : stepOverExtensions(view, packet, next);
}

function stepOverExtensions(view: DataView, packet: Packet, firstExtension: number): Step {
  let next = firstExtension;
  for (let count = 0; count <= MAX_EXTENSIONS; count++) {
    if (next === NO_MORE_EXTENSIONS) return 'ip';
    const { offset } = packet;
    if (packet.capturedEnd <= offset) return 'truncated';
    const length = view.getUint8(offset) * 4;
    if (length === 0) return 'malformed';
    if (packet.capturedEnd - offset < length) return 'truncated';
    next = view.getUint8(offset + length - 1);
    packet.offset = offset + length;
  }
  return 'malformed';
}
