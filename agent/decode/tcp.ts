/** Transmission Control Protocol: RFC 9293, section 3.1. */
import type { DecodeOutcome, Packet } from './packet.ts';

/** Words, each read at once: both ports; data offset, flags and window. */
const PORTS = 0;
const SEQUENCE = 4;
const ACKNOWLEDGMENT = 8;
const DATA_OFFSET_FLAGS_WINDOW = 12;
const MINIMUM_HEADER_LENGTH = 20;

/** The part of the header that a flow needs at least. */
const PORTS_LENGTH = 4;
/** What a state needs of it: up to the flags. A snap length may end here, or behind the window two bytes later. */
const FLAGS_LENGTH = 14;
const DATA_OFFSET = 12;
const FLAGS = 13;
const WINDOW = 14;
const WINDOW_LENGTH = 16;

/** Fills the TCP fields and the place of the payload. */
export function decodeTcp(view: DataView, packet: Packet): DecodeOutcome {
  const { offset, capturedEnd, wireEnd } = packet;
  if (capturedEnd - offset < MINIMUM_HEADER_LENGTH) return decodeCut(view, packet);
  const word = view.getInt32(offset + DATA_OFFSET_FLAGS_WINDOW);
  const headerLength = (word >>> 28) * 4;
  const payloadOffset = offset + headerLength;
  // The options of a first fragment may go on in the next one.
  if (headerLength < MINIMUM_HEADER_LENGTH || (payloadOffset > wireEnd && !packet.isFragment)) {
    return decodePorts(view, packet);
  }

  const ports = view.getInt32(offset + PORTS);
  packet.sourcePort = ports >>> 16;
  packet.destinationPort = ports & 0xffff;
  packet.sequence = view.getInt32(offset + SEQUENCE);
  packet.acknowledgment = view.getInt32(offset + ACKNOWLEDGMENT);
  packet.tcpFlags = (word >>> 16) & 0xff;
  packet.window = word & 0xffff;
  packet.payloadLength = orNothing(wireEnd - payloadOffset);
  packet.payloadOffset = payloadOffset;
  packet.payloadCaptured = orNothing(capturedEnd - payloadOffset);
  return 'tcp';
}

/**
 * A header that the capture cuts off before its end. As long as the flags are there they count: otherwise a snap length of
 * 48 bytes would leave every connection without a state.
 */
function decodeCut(view: DataView, packet: Packet): DecodeOutcome {
  const { offset, capturedEnd, wireEnd } = packet;
  const captured = capturedEnd - offset;
  if (captured < FLAGS_LENGTH) return decodePorts(view, packet);
  const headerLength = (view.getUint8(offset + DATA_OFFSET) >>> 4) * 4;
  const payloadOffset = offset + headerLength;
  if (headerLength < MINIMUM_HEADER_LENGTH || (payloadOffset > wireEnd && !packet.isFragment)) {
    return decodePorts(view, packet);
  }
  const ports = view.getInt32(offset + PORTS);
  packet.sourcePort = ports >>> 16;
  packet.destinationPort = ports & 0xffff;
  packet.sequence = view.getInt32(offset + SEQUENCE);
  packet.acknowledgment = view.getInt32(offset + ACKNOWLEDGMENT);
  packet.tcpFlags = view.getUint8(offset + FLAGS);
  packet.window = captured < WINDOW_LENGTH ? 0 : view.getUint16(offset + WINDOW);
  packet.payloadLength = orNothing(wireEnd - payloadOffset);
  packet.payloadOffset = payloadOffset;
  packet.payloadCaptured = 0;
  return 'tcp';
}

function orNothing(length: number): number {
  return length > 0 ? length : 0;
}

/**
 * A header that goes on in the next fragment (RFC 1858 describes how that fools filters) or beyond the snap length, or
 * that contradicts itself, still has ports: whose packet it is must not be lost. Its flags and payload are nobody's.
 */
function decodePorts(view: DataView, packet: Packet): DecodeOutcome {
  const { offset, capturedEnd, wireEnd } = packet;
  if (wireEnd - offset < PORTS_LENGTH) return 'malformed';
  if (capturedEnd - offset < PORTS_LENGTH) return 'truncated';
  const ports = view.getInt32(offset + PORTS);
  packet.sourcePort = ports >>> 16;
  packet.destinationPort = ports & 0xffff;
  packet.sequence = 0;
  packet.acknowledgment = 0;
  packet.tcpFlags = 0;
  packet.window = 0;
  packet.payloadLength = 0;
  packet.payloadOffset = offset;
  packet.payloadCaptured = 0;
  return 'tcp';
}
