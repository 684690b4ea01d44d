/** Transmission Control Protocol: RFC 9293, section 3.1. */
import type { DecodeOutcome, Packet } from './packet.ts';

const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const SEQUENCE = 4;
const ACKNOWLEDGMENT = 8;
const DATA_OFFSET = 12;
const FLAGS = 13;
const WINDOW = 14;
const MINIMUM_HEADER_LENGTH = 20;

/** Fills the TCP fields and the place of the payload. */
export function decodeTcp(view: DataView, packet: Packet): DecodeOutcome {
  const { offset, capturedEnd, wireEnd } = packet;
  if (wireEnd - offset < MINIMUM_HEADER_LENGTH) return packet.isFragment ? 'tiny-fragment' : 'malformed';
  if (capturedEnd - offset < MINIMUM_HEADER_LENGTH) return 'truncated';
  const headerLength = (view.getUint8(offset + DATA_OFFSET) >>> 4) * 4;
  if (headerLength < MINIMUM_HEADER_LENGTH) return 'malformed';
  const payloadOffset = offset + headerLength;
  if (payloadOffset > wireEnd) return packet.isFragment ? 'tiny-fragment' : 'malformed';

  packet.sourcePort = view.getUint16(offset + SOURCE_PORT);
  packet.destinationPort = view.getUint16(offset + DESTINATION_PORT);
  packet.sequence = view.getUint32(offset + SEQUENCE);
  packet.acknowledgment = view.getUint32(offset + ACKNOWLEDGMENT);
  packet.tcpFlags = view.getUint8(offset + FLAGS);
  packet.window = view.getUint16(offset + WINDOW);
  packet.payloadLength = wireEnd - payloadOffset;
  packet.payloadOffset = payloadOffset;
  packet.payloadCaptured = capturedEnd > payloadOffset ? capturedEnd - payloadOffset : 0;
  return 'tcp';
}
