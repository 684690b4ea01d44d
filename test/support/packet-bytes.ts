/** Packets as hex that a reader can decode by hand. */
import { Frame } from '../../agent/capture/source.ts';
import { decode, Packet } from '../../agent/decode/packet.ts';

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

/** The Ethernet addresses 02:00:00:00:00:01 and 02:00:00:00:00:02; a type belongs behind them. */
export const ETHERNET_ADDRESSES = '02 00 00 00 00 01  02 00 00 00 00 02';

/** An Ethernet frame with the TCP packet of `IPV4_PACKET`. */
export const ETHERNET_FRAME = `${ETHERNET_ADDRESSES} 08 00 ${IPV4_PACKET}`;

/** An IPv6 packet with the TCP header of `TCP_HEADER`. */
export const IPV6_PACKET = `${IPV6_HEADER} ${TCP_HEADER}`;

/** The outer addresses of `ipv4Packet`: 198.51.100.1 > 198.51.100.2. */
export const OUTER_SOURCE = 0xc6336401 | 0;
export const OUTER_DESTINATION = 0xc6336402 | 0;

/** A packet of any protocol between `OUTER_SOURCE` and `OUTER_DESTINATION`, its length by the payload's. */
export function ipv4Packet(protocol: number, payload: string, fragment = '00 00 00 00'): string {
  const length = hex16(20 + bytesOf(payload).length);
  return `45 00 ${length} ${fragment} 40 ${hex16(protocol).slice(3)} 00 00 c6 33 64 01 c6 33 64 02 ${payload}`;
}

/** A UDP datagram from port 50000 in an IPv4 packet. */
export function udpPacket(port: number, payload: string): string {
  return ipv4Packet(17, `c3 50 ${hex16(port)} ${hex16(8 + bytesOf(payload).length)} 00 00 ${payload}`);
}

/** 16 bits as two bytes of hex. */
export function hex16(value: number): string {
  const hex = value.toString(16).padStart(4, '0');
  return `${hex.slice(0, 2)} ${hex.slice(2)}`;
}

/** What is in most tests' interest of a decoded packet. */
export function decodeHex(hex: string, fields: { linkType: number; originalLength?: number }) {
  const packet = new Packet();
  const outcome = decode(frameOf(hex, fields), packet);
  const { sourcePort, destinationPort, payloadLength, tunnel } = packet;
  return outcome === 'tcp' ? { outcome, sourcePort, destinationPort, payloadLength, tunnel } : { outcome };
}

/** The same packet with the right checksum in its IPv4 header (RFC 791, section 3.1). */
export function checksummed(hex: string): string {
  const bytes = bytesOf(hex);
  const view = new DataView(bytes.buffer);
  view.setUint16(10, 0);
  let sum = 0;
  for (let word = 0; word < ((bytes[0] ?? 0) & 0x0f) * 4; word += 2) sum += view.getUint16(word);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum & 0xffff);
  return Buffer.from(bytes).toString('hex');
}
