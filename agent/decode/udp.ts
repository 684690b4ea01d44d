/**
 * User Datagram Protocol (RFC 768) as far as it carries tunnels, which are told by their port (IANA, service names
 * and port numbers). The length field is not used: the IP header within a tunnel has its own, and a datagram of more
 * than 64 KiB that the card cuts up later says 0.
 */
import type { Packet, Step } from './packet.ts';
import { isTeredo } from './teredo.ts';

const SOURCE_PORT = 0;
const DESTINATION_PORT = 2;
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

/** Moves to the tunnel's header, where the datagram carries one. */
export function decodeUdp(view: DataView, packet: Packet): Step {
  const { offset } = packet;
  if (packet.capturedEnd - offset < HEADER_LENGTH) return 'truncated';
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
    default:
      return 'not-tcp';
  }
}
