/** Packets as hex that a reader can decode by hand. */
import { Frame } from '../../agent/capture/source.ts';

/** 40000 > 43800, sequence 0x11223344, acknowledgment 0x55667788, 20 bytes, PSH and ACK, window 0x1234. */
export const TCP_HEADER = '9c 40 ab 18  11 22 33 44  55 66 77 88  50 18 12 34  00 00 00 00';

/** 192.168.0.1 > 10.200.0.2, 40 bytes in all, TCP. */
export const IPV4_HEADER = '45 00 00 28  00 00 40 00  40 06 00 00  c0 a8 00 01  0a c8 00 02';

export const IPV4_PACKET = `${IPV4_HEADER} ${TCP_HEADER}`;

/** fd00::1 > fe80::abcd, 20 bytes of payload, TCP. */
export const IPV6_HEADER =
  '60 00 00 00  00 14 06 40  fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01  fe 80 00 00 00 00 00 00 00 00 00 00 00 00 ab cd';

export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
}

/** A frame of these bytes, cut nowhere unless `originalLength` is more than there are. */
export function frameOf(hex: string, fields: { linkType: number; originalLength?: number }): Frame {
  const bytes = bytesOf(hex);
  const frame = new Frame();
  frame.view = new DataView(bytes.buffer);
  frame.capturedLength = bytes.length;
  frame.originalLength = fields.originalLength ?? bytes.length;
  frame.linkType = fields.linkType;
  return frame;
}
