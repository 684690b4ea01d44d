/**
 * Generic Routing Encapsulation: RFC 2784 and RFC 2890 (version 0, with what RFC 1701 had before), RFC 2637, section
 * 4.1 (version 1, of PPTP), RFC 7637 (a virtual network's Ethernet frames); EoIP, which MikroTik's manual and Wireshark
 * describe.
 */
import { headerOfEtherType } from './ether-type.ts';
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { enterTunnel } from './tunnel.ts';

const FLAGS_AND_VERSION = 0;
const PROTOCOL_TYPE = 2;
const HEADER_LENGTH = 4;
/** Each optional field: checksum with offset, key, sequence number, acknowledgment number. */
const FIELD_LENGTH = 4;

const HAS_CHECKSUM = 0x8000;
const HAS_ROUTING = 0x4000;
const HAS_KEY = 0x2000;
const HAS_SEQUENCE = 0x1000;
/** Version 1 only. */
const HAS_ACKNOWLEDGMENT = 0x0080;
const VERSION_MASK = 0x0007;

/** Mirrored frames of a switch: see erspan.ts. */
const ERSPAN_1_OR_2 = 0x88be;
const ERSPAN_3 = 0x22eb;
/** Web cache communication protocol: IP, and before it, in version 2, four bytes that do not begin with 4. */
const WCCP = 0x883e;
const WCCP_HEADER_LENGTH = 4;

/** Access points of Aruba send the wireless frames themselves: 0x8200, 0x8210, … */
const ARUBA = 0x8200;
const ARUBA_MASK = 0xff0f;

/**
 * MikroTik's Ethernet over IP (EoIP): version 1 with a key, of which the first half is the length of what follows and the
 * second the tunnel's number, the only little-endian one. An empty one keeps the tunnel alive.
 */
const EOIP = 0x6400;
const EOIP_FLAGS = 0x2001;
const EOIP_IDENTIFIER = 6;

/** The key of version 1 (RFC 2637, section 4.1): the length of the payload, then the call. */
const KEY = 4;

const ETHER_IP_LENGTH = 2;

/** Moves to what the tunnel carries. */
export function decodeGre(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  const flags = view.getUint16(offset + FLAGS_AND_VERSION);
  const protocolType = view.getUint16(offset + PROTOCOL_TYPE);
  const version = flags & VERSION_MASK;
  // Source routes were never in use (RFC 2784, appendix A).
  if (version > 1 || (flags & HAS_ROUTING) !== 0) return 'not-tcp';
  let length = HEADER_LENGTH;
  if ((flags & HAS_CHECKSUM) !== 0) length += FIELD_LENGTH;
  if ((flags & HAS_KEY) !== 0) length += FIELD_LENGTH;
  if ((flags & HAS_SEQUENCE) !== 0) length += FIELD_LENGTH;
  if (version === 1 && (flags & HAS_ACKNOWLEDGMENT) !== 0) length += FIELD_LENGTH;
  packet.offset = offset + length;
  if (version === 1 && (flags & HAS_KEY) !== 0) {
    if (packet.capturedEnd - offset < length) return 'truncated';
    narrow(packet, offset + length + view.getUint16(offset + KEY));
  }

  switch (protocolType) {
    case EOIP:
      if (flags !== EOIP_FLAGS) break;
      enterTunnel(packet, 'eoip', view.getUint16(offset + EOIP_IDENTIFIER, true));
      return packet.capturedEnd === packet.offset ? 'not-ip' : 'ethernet';
    case ERSPAN_1_OR_2:
      enterTunnel(packet, 'erspan');
      // Only the second version has a header of its own, and only it numbers its frames.
      return (flags & HAS_SEQUENCE) === 0 ? 'ethernet' : 'erspan-2';
    case ERSPAN_3:
      enterTunnel(packet, 'erspan');
      return 'erspan-3';
    case WCCP:
      enterTunnel(packet, 'gre');
      return decodeWccp(view, packet);
    default:
  }
  enterTunnel(packet, version === 1 ? 'pptp' : 'gre');
  if ((protocolType & ARUBA_MASK) === ARUBA) return 'ieee802-11';
  // An acknowledgment alone carries nothing.
  return version === 1 && (flags & HAS_SEQUENCE) === 0 ? 'not-ip' : headerOfEtherType(protocolType);
}

function decodeWccp(view: DataView, packet: Packet): Step {
  if (packet.capturedEnd <= packet.offset) return 'truncated';
  if (view.getUint8(packet.offset) >>> 4 !== 4) packet.offset += WCCP_HEADER_LENGTH;
  return 'ipv4';
}

/** Ethernet within IP: RFC 3378, section 3. */
export function decodeEtherIp(_view: DataView, packet: Packet): Step {
  packet.offset += ETHER_IP_LENGTH;
  enterTunnel(packet, 'etherip');
  return 'ethernet';
}
