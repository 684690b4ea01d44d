/**
 * Packets that a Linux firewall logged: attributes, one of them the packet, mostly of IP. Of a bridge, or of a device's
 * own chains, it may begin with a VLAN tag or be a whole frame.
 * https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html
 */
import { headerOfEtherType } from './ether-type.ts';
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { decodeUnnamed } from './unnamed.ts';

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
/** More than the kernel has: 23 in Linux 6. */
const LARGEST_TYPE = 0xff;
/** NFULA_PACKET_HDR: begins with the EtherType, in network byte order; 0 or ETH_P_ALL where the kernel knew none. */
const PACKET_HEADER = 1;
const PACKET_HEADER_LENGTH = 8;
const NO_ETHER_TYPE = 0;
/** There are some twenty; a packet carries about ten. */
const MAX_ATTRIBUTES = 32;

/** Moves to the IP packet. */
export function decodeNflog(view: DataView, packet: Packet): Step {
  if (packet.capturedEnd - packet.offset < HEADER_LENGTH) return 'truncated';
  if (view.getUint8(packet.offset + VERSION) !== KNOWN_VERSION) return 'not-ip';
  const end = packet.capturedEnd;
  let offset = packet.offset + HEADER_LENGTH;
  if (end - offset < ATTRIBUTE_HEADER_LENGTH) return 'truncated';
  // The byte order is that of the machine that captured. Types are small numbers: read in the wrong order they are not.
  const isLittleEndian = (view.getUint16(offset + ATTRIBUTE_TYPE, true) & TYPE_MASK) <= LARGEST_TYPE;
  let etherType = NO_ETHER_TYPE;
  for (let count = 0; count < MAX_ATTRIBUTES; count++) {
    if (end - offset < ATTRIBUTE_HEADER_LENGTH) return packet.wireEnd > end ? 'truncated' : 'not-ip';
    const length = view.getUint16(offset + ATTRIBUTE_LENGTH, isLittleEndian);
    if (length < ATTRIBUTE_HEADER_LENGTH) return 'malformed';
    const type = view.getUint16(offset + ATTRIBUTE_TYPE, isLittleEndian) & TYPE_MASK;
    if (type === PAYLOAD) {
      packet.offset = offset + ATTRIBUTE_HEADER_LENGTH;
      narrow(packet, offset + length);
      return headerOfPayload(view, packet, etherType);
    }
    if (type === PACKET_HEADER && length >= PACKET_HEADER_LENGTH && end - offset >= PACKET_HEADER_LENGTH) {
      etherType = view.getUint16(offset + ATTRIBUTE_HEADER_LENGTH);
    }
    offset += (length + 3) & ~3;
  }
  return 'malformed';
}

/** What the type names where it is no IP, else what the payload looks like. */
function headerOfPayload(view: DataView, packet: Packet, etherType: number): Step {
  const named = headerOfEtherType(etherType);
  if (named !== 'not-ip' && named !== 'ipv4' && named !== 'ipv6') return named;
  const step = decodeUnnamed(view, packet);
  return step === 'not-ip' ? 'ip' : step;
}
