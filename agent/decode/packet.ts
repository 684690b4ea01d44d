/**
 * From a captured frame to the TCP packet in it: the record that decoding fills, and the entry point.
 *
 * Nothing is allocated, nothing is thrown, and nothing outside the captured bytes is read: every byte is under a
 * stranger's control.
 *
 * Each header has a file. Its function gets the view and the record, of which `offset`, `capturedEnd` and `wireEnd`
 * say where the header starts and how far it goes; it checks the length once, before its first read, moves `offset`
 * behind the header and names the header that follows, or the outcome. No header's function calls another's: the
 * loop in `decode` does, so that a tunnel is one more file and one more case.
 */
import type { Frame } from '../capture/source.ts';
import { decodeEthernet } from './ethernet.ts';
import { decodeIpv4 } from './ipv4.ts';
import { decodeIpv6 } from './ipv6.ts';
import { decodeLinuxCooked1, decodeLinuxCooked2 } from './linux-cooked.ts';
import { decodeNullLoopback, decodeOpenbsdLoopback } from './loopback.ts';
import { decodeRawIp } from './raw-ip.ts';
import { decodeTcp } from './tcp.ts';

/** What became of a packet; all but `tcp` are counted under their name. */
export const DECODE_OUTCOMES = [
  /** A TCP header was read. */
  'tcp',
  /** The frame carries something else than IP: ARP, LLDP, spanning tree, … */
  'not-ip',
  /** IP, but no TCP in it. */
  'not-tcp',
  /** A fragment other than the first: it has no ports. Only the first fragment is counted to its flow. */
  'later-fragment',
  /** The capture ends within a header, before the TCP ports. */
  'truncated',
  /** A header contradicts itself or the length of the frame. */
  'malformed',
  /** The capture's link type is none that we know. */
  'unsupported-link-type',
] as const;

export type DecodeOutcome = (typeof DECODE_OUTCOMES)[number];

/** The headers that the loop in `decode` knows. */
type Header =
  | 'ethernet'
  | 'linux-cooked-1'
  | 'linux-cooked-2'
  | 'null-loopback'
  | 'openbsd-loopback'
  | 'ip'
  | 'ipv4'
  | 'ipv6'
  | 'tcp-header';

/** What the function of a header answers: the header that follows, or the outcome of the whole packet. */
export type Step = Header | DecodeOutcome;

/** LINKTYPE_ values of the pcap registry (https://www.tcpdump.org/linktypes.html). */
export const LINKTYPE_NULL = 0;
export const LINKTYPE_ETHERNET = 1;
export const LINKTYPE_RAW = 101;
export const LINKTYPE_LOOP = 108;
export const LINKTYPE_LINUX_SLL = 113;
export const LINKTYPE_IPV4 = 228;
export const LINKTYPE_IPV6 = 229;
export const LINKTYPE_LINUX_SLL2 = 276;
/** DLT_RAW of most systems and of OpenBSD, as old files have it instead of LINKTYPE_RAW. */
const DLT_RAW = 12;
const DLT_RAW_OPENBSD = 14;

/** The flag bits of the TCP header (RFC 9293, section 3.1). */
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_ACK = 0x10;

/**
 * One TCP packet. One record serves every packet of a source: its owner hands it to `decode` again and again, and
 * copies what must live on. The fields may be read only after `decode` returned `tcp`.
 */
export class Packet {
  ipVersion: 4 | 6 = 4;
  /** The source address as four unsigned words, IPv4 as ::ffff:a.b.c.d (see common/address.ts). */
  source0 = 0;
  source1 = 0;
  source2 = 0;
  source3 = 0;
  destination0 = 0;
  destination1 = 0;
  destination2 = 0;
  destination3 = 0;
  sourcePort = 0;
  destinationPort = 0;
  /**
   * Unsigned, as they stand in the header. Where only the ports are known (see tcp.ts), these and all fields below
   * are 0, the flags among them, as in no segment of a real connection.
   */
  sequence = 0;
  acknowledgment = 0;
  /** The eight flags of byte 13: FIN is bit 0, CWR bit 7. */
  tcpFlags = 0;
  /** Not scaled. */
  window = 0;
  /** Bytes of TCP payload by the IP header's length: whole, also where the capture cut them off. */
  payloadLength = 0;
  /** Where the payload starts in `frame.view`; meaningful only when `payloadCaptured` is above 0. */
  payloadOffset = 0;
  /** Payload bytes that the capture holds; 0 to `payloadLength`. */
  payloadCaptured = 0;
  /** The packet is the first fragment of several: its payload is only a part of what was sent. */
  isFragment = false;

  /** Where the next header starts in `frame.view`. The decoder's own. */
  offset = 0;
  /** The first byte after what may be read: the end of the capture or of the IP packet. The decoder's own. */
  capturedEnd = 0;
  /** Where the frame, then the IP packet, ends on the wire; may lie beyond the view. The decoder's own. */
  wireEnd = 0;
}

/**
 * Fills `packet` from the frame.
 *
 * @returns `tcp` when the record holds a TCP packet, else the fixed name of why it does not
 */
export function decode(frame: Frame, packet: Packet): DecodeOutcome {
  const { view, offset, capturedLength, originalLength } = frame;
  packet.offset = offset;
  packet.capturedEnd = offset + capturedLength;
  packet.wireEnd = offset + (originalLength > capturedLength ? originalLength : capturedLength);
  packet.isFragment = false;
  let step = firstHeader(frame.linkType);
  for (;;) {
    switch (step) {
      case 'ethernet':
        step = decodeEthernet(view, packet);
        break;
      case 'ipv4':
        step = decodeIpv4(view, packet);
        break;
      case 'tcp-header':
        return decodeTcp(view, packet);
      case 'ipv6':
        step = decodeIpv6(view, packet);
        break;
      case 'ip':
        step = decodeRawIp(view, packet);
        break;
      case 'linux-cooked-1':
        step = decodeLinuxCooked1(view, packet);
        break;
      case 'linux-cooked-2':
        step = decodeLinuxCooked2(view, packet);
        break;
      case 'null-loopback':
        step = decodeNullLoopback(view, packet);
        break;
      case 'openbsd-loopback':
        step = decodeOpenbsdLoopback(view, packet);
        break;
      default:
        return step;
    }
  }
}

function firstHeader(linkType: number): Step {
  switch (linkType) {
    case LINKTYPE_ETHERNET:
      return 'ethernet';
    case LINKTYPE_RAW:
    case DLT_RAW:
    case DLT_RAW_OPENBSD:
      return 'ip';
    case LINKTYPE_IPV4:
      return 'ipv4';
    case LINKTYPE_IPV6:
      return 'ipv6';
    case LINKTYPE_LINUX_SLL:
      return 'linux-cooked-1';
    case LINKTYPE_LINUX_SLL2:
      return 'linux-cooked-2';
    case LINKTYPE_NULL:
      return 'null-loopback';
    case LINKTYPE_LOOP:
      return 'openbsd-loopback';
    default:
      return 'unsupported-link-type';
  }
}
