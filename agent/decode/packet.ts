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
 *
 * Tunnels are entered: the connection is the innermost, and the addresses between which the outermost tunnel runs are
 * kept beside it. What an ICMP error quotes is no packet of a connection and is left alone.
 */
import type { Frame } from '../capture/source.ts';
import { NO_TUNNEL_ID, type TunnelType } from '../../common/tunnel.ts';
import { decodeAyiya } from './ayiya.ts';
import { decodeErspan2, decodeErspan3 } from './erspan.ts';
import { decodeEthernet } from './ethernet.ts';
import { decodeFddi } from './fddi.ts';
import { decodeGeneve } from './geneve.ts';
import { decodeEtherIp, decodeGre } from './gre.ts';
import { decodeGtp } from './gtp.ts';
import { decodeIeee80211, decodePaddedIeee80211, decodeRadiotap } from './ieee802-11.ts';
import { decodeInfiniband } from './infiniband.ts';
import { decodeIpv4 } from './ipv4.ts';
import { decodeAuthentication } from './ipv6-extension.ts';
import { decodeIpv6 } from './ipv6.ts';
import { headerOfLinkType } from './link-type.ts';
import { decodeL2tp, decodeL2tp3 } from './l2tp.ts';
import { decodeLinuxCooked1, decodeLinuxCooked2 } from './linux-cooked.ts';
import { decodeLlc } from './llc.ts';
import { decodeNullLoopback, decodeOpenbsdLoopback } from './loopback.ts';
import { decodeMpls, decodeMplsTunnel } from './mpls.ts';
import { decodeNflog } from './nflog.ts';
import { decodePktap } from './pktap.ts';
import { decodeCiscoHdlc, decodePpp, decodePppoe, decodePppWithDirection } from './ppp.ts';
import { decodeRawIp } from './raw-ip.ts';
import { decodeBackboneService, decodeETag, decodeFabricPath, decodeVlan, decodeVnTag } from './tag.ts';
import { decodeTcp } from './tcp.ts';
import { decodeTeredo } from './teredo.ts';
import { decodeTzsp } from './tzsp.ts';
import { decodeUdp } from './udp.ts';
import { decodeUnnamed } from './unnamed.ts';
import { decodeVxlan, decodeVxlanGpe } from './vxlan.ts';

/** What became of a packet; all but `tcp` are counted under their name. */
export const DECODE_OUTCOMES = [
  /** A TCP header was read. */
  'tcp',
  /** The frame, or a tunnel in it, carries something else than IP: ARP, LLDP, spanning tree, … */
  'not-ip',
  /** IP, but no TCP in it. */
  'not-tcp',
  /** A fragment other than the first: it has no ports (see fragments.ts). */
  'later-fragment',
  /** The capture ends within a header, before the TCP ports. */
  'truncated',
  /** A header contradicts itself or the length of the frame. */
  'malformed',
  /** More headers, one in the other, than anybody has a use for. */
  'too-many-headers',
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
  | 'ppp'
  | 'ppp-with-direction'
  | 'pppoe'
  | 'cisco-hdlc'
  | 'ieee802-11'
  | 'ieee802-11-padded'
  | 'radiotap'
  | 'nflog'
  | 'pktap'
  | 'fddi'
  | 'infiniband'
  | 'llc'
  | 'vlan'
  | 'e-tag'
  | 'vn-tag'
  | 'backbone-service'
  | 'fabric-path'
  | 'mpls'
  | 'mpls-tunnel'
  | 'ip'
  | 'unnamed'
  | 'ipv4'
  | 'ipv6'
  | 'authentication'
  | 'udp'
  | 'vxlan'
  | 'vxlan-gpe'
  | 'geneve'
  | 'gtp'
  | 'teredo'
  | 'ayiya'
  | 'gre'
  | 'erspan-2'
  | 'erspan-3'
  | 'ether-ip'
  | 'l2tp'
  | 'l2tp-3'
  | 'tzsp'
  | 'tcp-header';

type RareHeader = Exclude<Header, 'ethernet' | 'ipv4' | 'ipv6' | 'tcp-header'>;

/** What the function of a header answers: the header that follows, or the outcome of the whole packet. */
export type Step = Header | DecodeOutcome;

/**
 * The most headers of a packet. Mirrored traffic of an overlay has about a dozen; every further one is time that a
 * stranger takes from us.
 */
const MAX_HEADERS = 32;

/** The flag bits of the TCP header (RFC 9293, section 3.1). */
export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_ACK = 0x10;

/** What tells the fragments of one IP packet from all others, and where in it this one lies. */
export class Fragment {
  source0 = 0;
  source1 = 0;
  source2 = 0;
  source3 = 0;
  destination0 = 0;
  destination1 = 0;
  destination2 = 0;
  destination3 = 0;
  /** 0 for IPv6, whose fragments need not agree in it. */
  protocol = 0;
  /** 16 bits of IPv4; 32 of IPv6, as a signed number. */
  identification = 0;
  /** `Packet.tunnelKey` of the tunnels that the fragments come in; 0 for none. */
  tunnelKey = 0;
  /** Bytes from the start of the whole packet's payload; 0 for the first fragment. */
  offset = 0;
}

/**
 * One TCP packet. One record serves every packet of a source: its owner hands it to `decode` again and again, and
 * copies what must live on. The fields may be read only after `decode` returned `tcp`.
 */
export class Packet {
  ipVersion: 4 | 6 = 4;
  /**
   * The source address as four signed words, IPv4 as ::ffff:a.b.c.d. What an IPv6 packet calls so has another first word
   * (see common/address.ts).
   */
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
   * Signed, so that V8 has no doubles to box; meant are their 32 bits. Where only the ports are known (see tcp.ts), these and all fields below
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
  /**
   * The packet, or that of a tunnel around it, is a fragment: its payload is only a part of what was sent. May be read
   * after any outcome, and when it is true, so may `fragment`.
   */
  isFragment = false;
  /** Of the innermost IP header that says so. */
  readonly fragment = new Fragment();
  /** The innermost tunnel that the packet came in. */
  tunnel: TunnelType | 'none' = 'none';
  /** The addresses of the outermost IP header, in the form of `source0`; stale where `tunnel` is `none`. */
  outerSource0 = 0;
  outerSource1 = 0;
  outerSource2 = 0;
  outerSource3 = 0;
  outerDestination0 = 0;
  outerDestination1 = 0;
  outerDestination2 = 0;
  outerDestination3 = 0;
  /** The number of the outermost tunnel (VNI), or `NO_TUNNEL_ID`; stale where `tunnel` is `none`. */
  outerTunnelId = NO_TUNNEL_ID;
  /**
   * Stands for the tunnels that the packet came in, the same for both directions: their kinds, ends and numbers. 0 where
   * it came in none. Whoever takes a tunnel's inside for plain traffic sets it to 0.
   */
  tunnelKey = 0;
  /** How many tunnels it came in, one in the other. */
  tunnelDepth = 0;
  /** The frame's link type, or the one that it names itself (see pktap.ts). May be read after any outcome. */
  linkType = 0;

  /** Where the next header starts in `frame.view`. The decoder's own. */
  offset = 0;
  /** The first byte after what may be read: the end of the capture or of the IP packet. The decoder's own. */
  capturedEnd = 0;
  /** Where the frame, then the IP packet, ends on the wire; may lie beyond the view. The decoder's own. */
  wireEnd = 0;

  /** Any 32-bit number; an unknown one keeps others from making two tunnels look the same. The decoder's own. */
  readonly tunnelSeed: number;

  constructor(tunnelSeed = 0) {
    this.tunnelSeed = tunnelSeed | 0;
  }
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
  if (packet.tunnel !== 'none') leaveTunnel(packet);
  packet.linkType = frame.linkType;
  let step = headerOfLinkType(frame.linkType);
  for (let headers = 0; headers < MAX_HEADERS; headers++) {
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
      default:
        if (isOutcome(step)) return step;
        step = decodeRarer(step, view, packet);
    }
  }
  return 'too-many-headers';
}

/** The packet before came in a tunnel. */
function leaveTunnel(packet: Packet): void {
  packet.tunnel = 'none';
  packet.tunnelKey = 0;
  packet.tunnelDepth = 0;
}

/** One more header, of those that most packets do not have. Apart from the loop, which stays small and fast so. */
function decodeRarer(step: RareHeader, view: DataView, packet: Packet): Step {
  switch (step) {
    case 'ip':
      return decodeRawIp(view, packet);
    case 'udp':
      return decodeUdp(view, packet);
    case 'vxlan':
      return decodeVxlan(view, packet);
    case 'geneve':
      return decodeGeneve(view, packet);
    case 'vlan':
      return decodeVlan(view, packet);
    case 'linux-cooked-1':
      return decodeLinuxCooked1(view, packet);
    case 'linux-cooked-2':
      return decodeLinuxCooked2(view, packet);
    case 'null-loopback':
      return decodeNullLoopback(view, packet);
    case 'openbsd-loopback':
      return decodeOpenbsdLoopback(view, packet);
    case 'ppp':
      return decodePpp(view, packet);
    case 'ppp-with-direction':
      return decodePppWithDirection(view, packet);
    case 'pppoe':
      return decodePppoe(view, packet);
    case 'cisco-hdlc':
      return decodeCiscoHdlc(view, packet);
    case 'ieee802-11':
      return decodeIeee80211(view, packet);
    case 'ieee802-11-padded':
      return decodePaddedIeee80211(view, packet);
    case 'radiotap':
      return decodeRadiotap(view, packet);
    case 'nflog':
      return decodeNflog(view, packet);
    case 'pktap':
      return decodePktap(view, packet);
    case 'fddi':
      return decodeFddi(view, packet);
    case 'infiniband':
      return decodeInfiniband(view, packet);
    case 'llc':
      return decodeLlc(view, packet);
    case 'e-tag':
      return decodeETag(view, packet);
    case 'vn-tag':
      return decodeVnTag(view, packet);
    case 'fabric-path':
      return decodeFabricPath(view, packet);
    case 'backbone-service':
      return decodeBackboneService(view, packet);
    case 'mpls':
      return decodeMpls(view, packet);
    case 'mpls-tunnel':
      return decodeMplsTunnel(view, packet);
    case 'authentication':
      return decodeAuthentication(view, packet);
    case 'vxlan-gpe':
      return decodeVxlanGpe(view, packet);
    case 'gtp':
      return decodeGtp(view, packet);
    case 'ayiya':
      return decodeAyiya(view, packet);
    case 'teredo':
      return decodeTeredo(view, packet);
    case 'gre':
      return decodeGre(view, packet);
    case 'erspan-2':
      return decodeErspan2(view, packet);
    case 'erspan-3':
      return decodeErspan3(view, packet);
    case 'ether-ip':
      return decodeEtherIp(view, packet);
    case 'unnamed':
      return decodeUnnamed(view, packet);
    case 'l2tp':
      return decodeL2tp(view, packet);
    case 'l2tp-3':
      return decodeL2tp3(view, packet);
    case 'tzsp':
      return decodeTzsp(view, packet);
    default:
      return step satisfies never;
  }
}

function isOutcome(step: Step): step is DecodeOutcome {
  switch (step) {
    case 'not-tcp':
    case 'not-ip':
    case 'later-fragment':
    case 'truncated':
    case 'malformed':
    case 'unsupported-link-type':
    case 'too-many-headers':
    case 'tcp':
      return true;
    default:
      return false;
  }
}
