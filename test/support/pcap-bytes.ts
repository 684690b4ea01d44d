/** Captures built by hand: TCP segments in Ethernet frames, in a classic pcap file. */
import { parseAddress, type Address } from '../../common/address.ts';

interface Segment {
  /** `address:port`, IPv4. */
  readonly from: string;
  readonly to: string;
  /** Letters of S, A, F, R, P. */
  readonly flags: string;
  readonly sequence?: number;
  readonly acknowledgment?: number;
  /** Bytes of payload, all zero. */
  readonly payload?: number;
}

const FLAG_BITS: Readonly<Record<string, number>> = { F: 1, S: 2, R: 4, P: 8, A: 16 };
const ETHERNET_LENGTH = 14;
const IPV4_LENGTH = 20;
const TCP_LENGTH = 20;

/** An Ethernet frame with an IPv4 packet with a TCP segment; checksums are left 0. */
export function tcpFrame({
  from,
  to,
  flags,
  sequence = 0,
  acknowledgment = 0,
  payload = 0,
}: Segment): Uint8Array {
  const [source, sourcePort] = parseEndpoint(from);
  const [destination, destinationPort] = parseEndpoint(to);
  const bytes = new Uint8Array(ETHERNET_LENGTH + IPV4_LENGTH + TCP_LENGTH + payload);
  const view = new DataView(bytes.buffer);
  view.setUint16(12, 0x0800);
  view.setUint8(ETHERNET_LENGTH, 0x45);
  view.setUint16(ETHERNET_LENGTH + 2, bytes.length - ETHERNET_LENGTH);
  view.setUint8(ETHERNET_LENGTH + 8, 64);
  view.setUint8(ETHERNET_LENGTH + 9, 6);
  view.setUint32(ETHERNET_LENGTH + 12, source.w3);
  view.setUint32(ETHERNET_LENGTH + 16, destination.w3);
  const tcp = ETHERNET_LENGTH + IPV4_LENGTH;
  view.setUint16(tcp, sourcePort);
  view.setUint16(tcp + 2, destinationPort);
  view.setUint32(tcp + 4, sequence);
  view.setUint32(tcp + 8, acknowledgment);
  view.setUint8(tcp + 12, 0x50);
  view.setUint8(
    tcp + 13,
    flags.split('').reduce((bits, letter) => bits | (FLAG_BITS[letter] ?? 0), 0),
  );
  return bytes;
}

/** A little-endian pcap file with these frames, a second apart from 1,700,000,000 on. */
export function pcapFile(frames: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(24 + frames.reduce((sum, frame) => sum + 16 + frame.length, 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xa1b2c3d4, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, 262_144, true);
  view.setUint32(20, 1, true);
  let position = 24;
  frames.forEach((frame, index) => {
    view.setUint32(position, 1_700_000_000 + index, true);
    view.setUint32(position + 8, frame.length, true);
    view.setUint32(position + 12, frame.length, true);
    bytes.set(frame, position + 16);
    position += 16 + frame.length;
  });
  return bytes;
}

function parseEndpoint(text: string): [Address, number] {
  const [ip = '', port = ''] = text.split(':');
  const address = parseAddress(ip);
  if (address === undefined) throw new Error(`no address: ${text}`);
  return [address, Number(port)];
}
