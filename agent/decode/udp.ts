/**
 * User Datagram Protocol (RFC 768) as far as it carries tunnels, which are told by their port (IANA, service names
 * and port numbers). What stands behind the length is no part of the datagram (RFC 9868 calls it the surplus area).
 */
import { narrow } from './ip-packet.ts';
import type { Packet, Step } from './packet.ts';
import { isTeredo } from './teredo.ts';

const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
const LENGTH = 4;
const HEADER_LENGTH = 8;

const VXLAN_PORT = 4789;
/** Linux's own default, older than the one that IANA gave. */
const VXLAN_LINUX_PORT = 8472;
const VXLAN_GPE_PORT = 4790;
const GENEVE_PORT = 6081;
const GTP_PORT = 2152;
const TEREDO_PORT = 3544;
const AYIYA_PORT = 5072;
/** RFC 8086. */
const GRE_PORT = 4754;
/** RFC 7510. */
const MPLS_PORT = 6635;
const L2TP_PORT = 1701;
const TZSP_PORT = 37_008;

/** Moves to the tunnel's header, where the datagram carries one. */
export function decodeUdp(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
  const length = view.getUint16(offset + LENGTH);
  // Length 0: a datagram that the card cuts up later, or a jumbogram (RFC 2675, section 4); the IP packet's end holds.
  if (length !== 0) {
    if (length < HEADER_LENGTH) return 'malformed';
    narrow(packet, offset + length);
  }
  packet.offset = offset + HEADER_LENGTH;
  const step = headerOfPort(view.getUint16(offset + DESTINATION_PORT));
  if (step !== 'not-tcp') return step;
  const reverseStep = headerOfPort(view.getUint16(offset + SOURCE_PORT));
  if (reverseStep !== 'not-tcp') return reverseStep;
  // Only a Teredo client's first packets go through the server's port; the rest goes from relay to client directly.
  return isTeredo(view, packet) ? 'teredo' : 'not-tcp';
}

function headerOfPort(port: number): Step {
  switch (port) {
    case VXLAN_PORT:
    case VXLAN_LINUX_PORT:
      return 'vxlan';
    case VXLAN_GPE_PORT:
      return 'vxlan-gpe';
    case GENEVE_PORT:
      return 'geneve';
    case GTP_PORT:
      return 'gtp';
    case TEREDO_PORT:
      return 'teredo';
    case AYIYA_PORT:
      return 'ayiya';
    case GRE_PORT:
      return 'gre';
    case MPLS_PORT:
      return 'mpls-tunnel';
    case L2TP_PORT:
      return 'l2tp';
    case TZSP_PORT:
      return 'tzsp';
    default:
      return 'not-tcp';
  }
}
