/**
 * What macOS writes before each packet of its pseudo-device for all interfaces: struct pktap_header of bsd/net/pktap.h
 * in Apple's XNU, little-endian on every machine in use.
 */
import { headerOfLinkType } from './link-type.ts';
import type { Packet, Step } from './packet.ts';

const LENGTH = 0;
const LINK_TYPE = 8;
const MINIMUM_LENGTH = 108;

/** Moves to the packet, which has a link type of its own. */
export function decodePktap(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < MINIMUM_LENGTH) return 'truncated';
  const length = view.getUint32(offset + LENGTH, true);
  if (length < MINIMUM_LENGTH || length > packet.wireEnd - offset) return 'malformed';
  packet.offset = offset + length;
  packet.linkType = view.getUint32(offset + LINK_TYPE, true);
  return headerOfLinkType(packet.linkType);
}
