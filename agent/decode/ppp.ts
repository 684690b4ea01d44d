/**
 * The Point-to-Point Protocol on a serial line (RFC 1661, section 2; RFC 1662, section 3.1), over Ethernet (RFC 2516,
 * section 4), and Cisco's protocol for the same lines (https://www.tcpdump.org/linktypes/LINKTYPE_C_HDLC.html).
 */
import { headerOfEtherType } from './ether-type.ts';
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';

/** The address of all stations with the control byte, which both sides may agree to leave out. */
const ADDRESS_AND_CONTROL = 0xff03;
const ADDRESS_AND_CONTROL_LENGTH = 2;

/** IANA, PPP DLL protocol numbers. Odd, so that a first byte that is odd is the whole field (RFC 1661, section 6.5). */
const PROTOCOL_IPV4 = 0x21;
const PROTOCOL_IPV6 = 0x57;
const PROTOCOL_MPLS = 0x0281;
const PROTOCOL_MPLS_UPSTREAM = 0x0283;
const PROTOCOL_LENGTH = 2;

/** Cisco's address: a single station or all of them. */
const CISCO_UNICAST = 0x0f00;
const CISCO_BROADCAST = 0x8f00;
const CISCO_TYPE = 2;
const CISCO_LENGTH = 4;

const PPPOE_CODE = 1;
const PPPOE_PAYLOAD_LENGTH = 4;
const PPPOE_LENGTH = 6;
const PPPOE_SESSION_DATA = 0;

/** Moves behind the protocol field. */
export function decodePpp(view: DataView, packet: Packet): Step {
  let { offset } = packet;
  if (packet.capturedEnd - offset < PROTOCOL_LENGTH) return 'truncated';
  const first = view.getUint16(offset);
  if (first === ADDRESS_AND_CONTROL) offset += ADDRESS_AND_CONTROL_LENGTH;
  else if (first === CISCO_UNICAST || first === CISCO_BROADCAST) return 'cisco-hdlc';
  if (packet.capturedEnd - offset < PROTOCOL_LENGTH) return 'truncated';
  const isShort = (view.getUint8(offset) & 1) === 1;
  packet.offset = offset + (isShort ? 1 : PROTOCOL_LENGTH);
  switch (isShort ? view.getUint8(offset) : view.getUint16(offset)) {
    case PROTOCOL_IPV4:
      return 'ipv4';
    case PROTOCOL_IPV6:
      return 'ipv6';
    case PROTOCOL_MPLS:
    case PROTOCOL_MPLS_UPSTREAM:
      return 'mpls';
    default:
      return 'not-ip';
  }
}

/** Moves behind the header of a session's packet, and ends it where that says so. */
export function decodePppoe(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < PPPOE_LENGTH) return 'truncated';
  if (view.getUint8(offset + PPPOE_CODE) !== PPPOE_SESSION_DATA) return 'not-ip';
  packet.offset = offset + PPPOE_LENGTH;
  narrow(packet, packet.offset + view.getUint16(offset + PPPOE_PAYLOAD_LENGTH));
  return 'ppp';
}

/** LINKTYPE_C_HDLC. */
export function decodeCiscoHdlc(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < CISCO_LENGTH) return 'truncated';
  packet.offset = offset + CISCO_LENGTH;
  return headerOfEtherType(view.getUint16(offset + CISCO_TYPE));
}

/** LINKTYPE_PPP_WITH_DIR: a byte that tells the direction stands before the header. */
export function decodePppWithDirection(_view: DataView, packet: Packet): Step {
  packet.offset++;
  return 'ppp';
}
