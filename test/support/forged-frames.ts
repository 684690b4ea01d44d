/** Segments of a forger as the bytes that stand on the wire, plain or in a tunnel that nobody ends. */
import type { Segment, Tunnel } from './forgery.ts';
import { tcpFrame } from './pcap-bytes.ts';

const ETHERNET_LENGTH = 14;
const IPV4_LENGTH = 20;
const OUTER_SOURCE = [203, 0, 113, 77];
const OUTER_DESTINATION = [10, 0, 0, 1];

/** An Ethernet frame; checksums are left 0. */
export function frameOfSegment(segment: Segment): Uint8Array {
  const plain = tcpFrame(segment);
  return segment.tunnel === undefined ? plain : wrap(plain, segment.tunnel);
}

function wrap(frame: Uint8Array, tunnel: Tunnel): Uint8Array {
  const packet = frame.subarray(ETHERNET_LENGTH);
  switch (tunnel) {
    case 'ipip':
      return inIpv4(4, packet);
    case 'gre':
      return inIpv4(47, join([0, 0, 0x08, 0x00], packet));
    case 'vxlan':
      return inIpv4(17, inUdp(4789, join([8, 0, 0, 0, 0, 0, 7, 0], frame)));
    default:
      return inIpv4(17, inUdp(6081, join([0, 0, 0x65, 0x58, 0, 0, 7, 0], frame)));
  }
}

function inUdp(port: number, content: Uint8Array): Uint8Array {
  const length = 8 + content.length;
  return join([0x30, 0x39, port >>> 8, port & 255, length >>> 8, length & 255, 0, 0], content);
}

function inIpv4(protocol: number, content: Uint8Array): Uint8Array {
  const length = IPV4_LENGTH + content.length;
  const header = [0x45, 0, length >>> 8, length & 255, 0, 1, 0, 0, 64, protocol, 0, 0];
  const ethernet = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00];
  return join([...ethernet, ...header, ...OUTER_SOURCE, ...OUTER_DESTINATION], content);
}

function join(head: readonly number[], rest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + rest.length);
  bytes.set(head);
  bytes.set(rest, head.length);
  return bytes;
}
