/**
 * A label of Multiprotocol Label Switching: RFC 3032, section 2.1. The labels do not say what they carry; routers know
 * it from their tables, everybody else guesses by the first four bits (RFC 4928, section 2).
 */
import { isKnownEtherType } from './ether-type.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

const LABEL_LENGTH = 4;
const BOTTOM_OF_STACK = 0x100;

/** RFC 4385, section 3: the control word of a pseudowire, 4 bytes that begin with four 0 bits. */
const CONTROL_WORD_LENGTH = 4;
const ETHER_TYPE = 12;
const ETHERNET_LENGTH = 14;

/** Moves behind a label, and behind the last one to IP or to the Ethernet frame of a pseudowire. */
export function decodeMpls(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  // One byte more than the label: the version of IP.
  if (packet.capturedEnd - offset <= LABEL_LENGTH) return 'truncated';
  packet.offset = offset + LABEL_LENGTH;
  if ((view.getUint32(offset) & BOTTOM_OF_STACK) === 0) return 'mpls';
  const version = view.getUint8(packet.offset) >>> 4;
  if (version === 4) return 'ipv4';
  if (version === 6) return 'ipv6';
  return decodePseudowire(view, packet, version);
}

/** Enters a tunnel between two addresses: RFC 4023 (in IP), RFC 7510 (in UDP). */
export function decodeMplsTunnel(_view: DataView, packet: Packet): Step {
  enterTunnel(packet, 'mpls');
  return 'mpls';
}

/** RFC 4448: an Ethernet frame, with or without a control word. */
function decodePseudowire(view: DataView, packet: Packet, firstBits: number): Step {
  if (isEthernet(view, packet)) return 'ethernet';
  if (firstBits !== 0) return 'not-ip';
  packet.offset += CONTROL_WORD_LENGTH;
  return isEthernet(view, packet) ? 'ethernet' : 'not-ip';
}

function isEthernet(view: DataView, { offset, capturedEnd }: Packet): boolean {
  return capturedEnd - offset >= ETHERNET_LENGTH && isKnownEtherType(view.getUint16(offset + ETHER_TYPE));
}
