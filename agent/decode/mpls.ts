/**
 * A label of Multiprotocol Label Switching: RFC 3032, section 2.1. The labels do not say what they carry; routers know
 * it from their tables, everybody else guesses by the first four bits (RFC 4928, section 2), and where these are those of
 * IP, by what would be the IP header: the Ethernet frame of a pseudowire without a control word may begin with any bits.
 */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';
import { certainHeader, decodeUnnamed, isEthernet } from './unnamed.ts';

const LABEL_LENGTH = 4;
const BOTTOM_OF_STACK = 0x100;

/**
 * RFC 4385, section 3: the control word of a pseudowire, 4 bytes that begin with four 0 bits. The length counts it and
 * all behind it; 0 where the frame needed no padding.
 */
const CONTROL_WORD_LENGTH = 4;
const CONTROL_WORD_SIZE = 1;
const CONTROL_WORD_SIZE_MASK = 0x3f;

/** Moves behind a label, and behind the last one to IP or to the Ethernet frame of a pseudowire. */
export function decodeMpls(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  // One byte more than the label: the version of IP.
  if (packet.capturedEnd - offset <= LABEL_LENGTH) return 'truncated';
  packet.offset = offset + LABEL_LENGTH;
  if ((view.getUint32(offset) & BOTTOM_OF_STACK) === 0) return 'mpls';
  const firstBits = view.getUint8(packet.offset) >>> 4;
  if (firstBits !== 0) {
    const step = decodeUnnamed(view, packet);
    if (step !== 'not-ip') return step;
  }
  switch (firstBits) {
    case 4:
      return 'ipv4';
    case 6:
      return 'ipv6';
    case 0:
      return decodePseudowire(view, packet);
    default:
      return 'not-ip';
  }
}

/** Enters a tunnel between two addresses: RFC 4023 (in IP), RFC 7510 (in UDP). */
export function decodeMplsTunnel(_view: DataView, packet: Packet): Step {
  enterTunnel(packet, 'mpls');
  return 'mpls';
}

/** RFC 4448: an Ethernet frame, with or without a control word. */
function decodePseudowire(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  const isBehindWord = certainHeader(view, packet, offset + CONTROL_WORD_LENGTH) === 'ethernet';
  if (!isBehindWord && isEthernet(view, packet, offset)) return 'ethernet';
  if (!isBehindWord && !isEthernet(view, packet, offset + CONTROL_WORD_LENGTH)) return 'not-ip';
  const size = view.getUint8(offset + CONTROL_WORD_SIZE) & CONTROL_WORD_SIZE_MASK;
  packet.offset = offset + CONTROL_WORD_LENGTH;
  if (size >= CONTROL_WORD_LENGTH) narrow(packet, offset + size);
  return 'ethernet';
}
