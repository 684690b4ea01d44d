/**
 * Packets that a Linux firewall logged: attributes, one of them the IP packet.
 * https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html
 */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

/** Address family, version, resource id. */
const HEADER_LENGTH = 4;
const VERSION = 1;
const KNOWN_VERSION = 0;

const ATTRIBUTE_LENGTH = 0;
const ATTRIBUTE_TYPE = 2;
const ATTRIBUTE_HEADER_LENGTH = 4;
/** NFULA_PAYLOAD, include/uapi/linux/netfilter/nfnetlink_log.h; the two upper bits are flags of netlink. */
const PAYLOAD = 9;
const TYPE_MASK = 0x3fff;
/** There are some twenty; a packet carries about ten. */
const MAX_ATTRIBUTES = 32;

/** Moves to the IP packet. */
export function decodeNflog(view: DataView, packet: Packet): Step {
  if (packet.capturedEnd - packet.offset < HEADER_LENGTH) return 'truncated';
  if (view.getUint8(packet.offset + VERSION) !== KNOWN_VERSION) return 'not-ip';
  const end = packet.capturedEnd;
  let offset = packet.offset + HEADER_LENGTH;
  if (end - offset < ATTRIBUTE_HEADER_LENGTH) return 'truncated';
  // The byte order is that of the machine that captured: read in the wrong one, the first length is beyond the packet.
  const isLittleEndian = view.getUint16(offset + ATTRIBUTE_LENGTH, true) <= packet.wireEnd - offset;
  for (let count = 0; count < MAX_ATTRIBUTES; count++) {
    if (end - offset < ATTRIBUTE_HEADER_LENGTH) return packet.wireEnd > end ? 'truncated' : 'not-ip';
    const length = view.getUint16(offset + ATTRIBUTE_LENGTH, isLittleEndian);
    if (length < ATTRIBUTE_HEADER_LENGTH) return 'malformed';
    if ((view.getUint16(offset + ATTRIBUTE_TYPE, isLittleEndian) & TYPE_MASK) === PAYLOAD) {
      packet.offset = offset + ATTRIBUTE_HEADER_LENGTH;
      narrow(packet, offset + length);
      return 'ip';
    }
    offset += (length + 3) & ~3;
  }
  return 'malformed';
}
