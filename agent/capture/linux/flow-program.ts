/**
 * The program that keeps the flow table in the kernel: an eBPF socket filter (Linux: bpf/prog_sk_*,
 * networking/filter.rst) for a cooked packet socket, whose packets begin with the network header.
 *
 * One rule makes the counts exact: what goes up is counted in user space, what stays is counted here. Up go the first
 * packet or packets of each direction of a flow, those with SYN, FIN or RST, those that user space asked for, one in N
 * where sampling is on, and all that cannot be read here: fragments, odd headers. When the table is full, the
 * packets of flows that found no room go up as well: the counts stay exact, only the price rises.
 *
 * Tunnels that overlays use (VXLAN, Geneve, GRE, IP in IP) are looked into: the connection inside is the flow, as it is
 * for agent/decode.
 *
 * An exception from the rule are packets that the network card is to cut up, or has put together: they stand for many
 * on the wire, which only the kernel can tell. They are counted here even when they go up, and go up one byte shorter
 * than others (`COUNTED_SNAPLEN_BYTES`), by which user space knows.
 *
 * A SYN takes the entries of the connection before it out of the table, so that the counts of one connection never
 * become those of the next between the same endpoints. SYN and RST make no entry, so a flood of them does not touch the
 * table. A direction is counted on the interface where it was seen first: a bridge or a container's pair of interfaces
 * shows the same packet again. It moves to another interface once the first has been silent for `INTERFACE_HOLD_NS`.
 *
 * The table is a plain hash table and not one that drops the least recently used: that one drops without a word, and
 * with it what was not read yet. User space takes out what is idle.
 */
import {
  assemble,
  atomicAdd,
  atomicFetchAdd,
  atomicOr,
  call,
  compute,
  exit,
  fromNetworkOrder,
  HELPER,
  jump,
  jumpIf,
  label,
  type Line,
  load,
  loadMap,
  move,
  type Register,
  store,
} from './bpf-assembler.ts';
import * as linux from './constants.ts';
import { FLOW_CONTROL, FLOW_KEY, FLOW_STATISTICS, FLOW_VALUE, WANTED } from './flow-layout.ts';

/** Bytes of a packet that go up: from the network header on. */
export const FLOW_SNAPLEN_BYTES = 512;
/** What is left of a packet that goes up although it is counted. Such a packet is always longer. */
export const COUNTED_SNAPLEN_BYTES = FLOW_SNAPLEN_BYTES - 1;

/** Descriptors of the program's maps. */
export interface FlowMaps {
  /** FLOW_KEY to FLOW_VALUE. */
  readonly flows: number;
  /** A queue of ENDED_FLOW. */
  readonly ended: number;
  /** FLOW_KEY to WANTED: the flows whose packets user space wants. */
  readonly wanted: number;
  /** An array of 65,536 numbers of 32 bits: not 0 where the port is watched. */
  readonly ports: number;
  /** One FLOW_CONTROL. */
  readonly control: number;
  /** One FLOW_STATISTICS. */
  readonly statistics: number;
}

/** The program in the layout of `struct bpf_insn[]`. */
export function buildFlowProgram(maps: FlowMaps): Uint8Array {
  return assemble([
    ...readLink,
    ...readVlanTags,
    ...readIpv4,
    ...readIpv6,
    ...readTunnel,
    ...readPorts(maps),
    ...readSegment,
    ...endFlowBefore(maps),
    ...countKnownFlow(maps),
    ...openFlow(maps),
    label('drop'),
    move('r0', 0),
    exit(),
    label('hand up'),
    move('r0', FLOW_SNAPLEN_BYTES),
    exit(),
    label('hand up counted'),
    move('r0', COUNTED_SNAPLEN_BYTES),
    exit(),
  ]);
}

const ERROR_EXISTS = -17;
const LOOPBACK_INDEX = 1;
const INTERFACE_HOLD_NS = 2_000_000_000;

const TCP_FIN = 0x01;
const TCP_SYN = 0x02;
const TCP_RST = 0x04;
const TCP_ACK = 0x10;

/** Protocol numbers of IANA. */
const IPPROTO_IPIP = 4;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_IPV6 = 41;
const IPPROTO_GRE = 47;
/** What else than TCP is looked into. */
const TUNNELS = [IPPROTO_UDP, IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_IPV6];
/** More tunnels in one another are user space's to read. */
const MAX_TUNNELS = 1;
/** RFC 791, section 3.1. */
const IPV4 = {
  length: 20,
  totalLength: 2,
  fragment: 6,
  fragmentOffsetMask: 0x1fff,
  anyFragmentMask: 0x3fff,
  protocol: 9,
  source: 12,
  destination: 16,
} as const;
/** RFC 8200, section 3. */
const IPV6 = { length: 40, payloadLength: 4, nextHeader: 6, source: 8, destination: 24 } as const;
/** The IANA registry "IPv6 Extension Header Types" without ESP and the end; AH counts its length in another way. */
const FRAGMENT_HEADER = 44;
const AUTHENTICATION_HEADER = 51;
const OTHER_EXTENSION_HEADERS = [0, 43, 60, 135, 139, 140];
const EXTENSION_LENGTH = 8;
const MAX_EXTENSIONS = 8;
/** RFC 9293, section 3.1. */
const TCP = {
  length: 20,
  sourcePort: 0,
  destinationPort: 2,
  sequence: 4,
  dataOffset: 12,
  flags: 13,
} as const;
/** RFC 768. */
const UDP = { length: 8, destinationPort: 2 } as const;
/** RFC 7348, section 5; Linux' own port is older than IANA's. */
const VXLAN = { length: 8, ports: [4789, 8472] } as const;
/** RFC 8926, section 3.4: the length of the options in words, and the type of what follows them. */
const GENEVE = { length: 8, port: 6081, optionsLength: 0, optionsLengthMask: 0x3f, type: 2 } as const;
/** RFC 2784, section 2, and RFC 2890, section 2: each of these flags stands for four more bytes. */
const GRE = {
  length: 4,
  flags: 0,
  version: 1,
  versionMask: 7,
  type: 2,
  options: [0x80, 0x20, 0x10],
} as const;
const ETHERNET = { length: 14, type: 12 } as const;
const VLAN_TAG = { length: 4, type: 2 } as const;
const MAX_INNER_TAGS = 2;

/** Places on the stack, below r10. Key and value together are an ENDED_FLOW. */
const KEY = -40;
const VALUE = -104;
const HEADER = -144;
const PAYLOAD_BYTES = -152;
const SEGMENTS = -160;
const BYTES = -168;
const TCP_FLAGS = -176;
const IS_FRAGMENT = -184;
const EXTENSIONS = -192;
const ARRAY_INDEX = -200;
const TUNNEL_COUNT = -208;

// r6: the packet. r7: where the next header starts. r9: where the IP packet ends.
const readLink: readonly Line[] = [
  move('r6', 'r1'),
  move('r7', 0),
  // Loopback shows every packet twice: on its way out, and on its way in.
  load(4, 'r1', 'r6', linux.SK_BUFF.packetType),
  jumpIf('r1', '!=', linux.PACKET_OUTGOING, 'not on its way out'),
  load(4, 'r1', 'r6', linux.SK_BUFF.interfaceIndex),
  jumpIf('r1', '==', LOOPBACK_INDEX, 'drop'),
  label('not on its way out'),
  ...[0, 8, 16, 24, 32].map((offset) => store(8, 'r10', KEY + offset, 0)),
  store(8, 'r10', IS_FRAGMENT, 0),
  store(8, 'r10', EXTENSIONS, 0),
  store(8, 'r10', TUNNEL_COUNT, 0),
  load(4, 'r1', 'r6', linux.SK_BUFF.protocol),
  fromNetworkOrder('r1', 16),
  ...jumpByEtherType('r1'),
  jump('drop'),
];

/** The tags that the kernel left in the packet; see `vlanTagsLength` for how they are told from an IP header. */
const readVlanTags: readonly Line[] = [
  label('vlan tag'),
  jumpIf('r7', '>', (MAX_INNER_TAGS - 1) * VLAN_TAG.length, 'hand up'),
  ...loadHeader(6, 'drop'),
  load(4, 'r5', 'r6', linux.SK_BUFF.length),
  compute('subtract', 'r5', 'r7'),
  load(1, 'r1', 'r10', HEADER),
  compute('shiftRight', 'r1', 4),
  jumpIf('r1', '!=', 4, 'no ipv4 in place of a tag'),
  ...loadNetwork16('r2', HEADER + IPV4.totalLength),
  jumpIf('r2', '==', 'r5', 'ipv4'),
  label('no ipv4 in place of a tag'),
  jumpIf('r1', '!=', 6, 'no ipv6 in place of a tag'),
  ...loadNetwork16('r2', HEADER + IPV6.payloadLength),
  compute('add', 'r2', IPV6.length),
  jumpIf('r2', '==', 'r5', 'ipv6'),
  label('no ipv6 in place of a tag'),
  ...loadNetwork16('r1', HEADER + VLAN_TAG.type),
  compute('add', 'r7', VLAN_TAG.length),
  ...jumpByEtherType('r1'),
  jump('hand up'),
];

const readIpv4: readonly Line[] = [
  label('ipv4'),
  ...loadHeader(IPV4.length, 'drop'),
  load(1, 'r8', 'r10', HEADER + IPV4.protocol),
  ...[IPPROTO_TCP, ...TUNNELS].map((protocol) => jumpIf('r8', '==', protocol, 'ipv4 may carry tcp')),
  jump('drop'),
  label('ipv4 may carry tcp'),
  ...loadNetwork16('r1', HEADER + IPV4.fragment),
  jumpIf('r1', 'has', IPV4.fragmentOffsetMask, 'hand up'),
  compute('and', 'r1', IPV4.anyFragmentMask),
  store(8, 'r10', IS_FRAGMENT, 'r1'),
  ...['source', 'destination'].flatMap((end) => [
    store(2, 'r10', KEY + FLOW_KEY[end as 'source'] + 10, -1),
    load(4, 'r1', 'r10', HEADER + IPV4[end as 'source']),
    store(4, 'r10', KEY + FLOW_KEY[end as 'source'] + 12, 'r1'),
  ]),
  // The IP packet may end before the frame does: Ethernet pads short ones. A length of 0 is that of a very large one.
  ...loadNetwork16('r9', HEADER + IPV4.totalLength),
  jumpIf('r9', '!=', 0, 'ipv4 has a length'),
  load(4, 'r9', 'r6', linux.SK_BUFF.length),
  compute('subtract', 'r9', 'r7'),
  label('ipv4 has a length'),
  compute('add', 'r9', 'r7'),
  load(1, 'r1', 'r10', HEADER),
  compute('and', 'r1', 15),
  compute('multiply', 'r1', 4),
  jumpIf('r1', '<', IPV4.length, 'hand up'),
  compute('add', 'r7', 'r1'),
  ...hidePosition(),
  jumpIf('r8', '==', IPPROTO_TCP, 'tcp'),
  jump('tunnel'),
];

const readIpv6: readonly Line[] = [
  label('ipv6'),
  ...loadHeader(IPV6.length, 'drop'),
  ...[0, 8, 16, 24].flatMap((offset) => [
    load(8, 'r1', 'r10', HEADER + IPV6.source + offset),
    store(8, 'r10', KEY + FLOW_KEY.source + offset, 'r1'),
  ]),
  ...loadNetwork16('r9', HEADER + IPV6.payloadLength),
  jumpIf('r9', '!=', 0, 'ipv6 has a length'),
  load(4, 'r9', 'r6', linux.SK_BUFF.length),
  compute('subtract', 'r9', IPV6.length),
  compute('subtract', 'r9', 'r7'),
  label('ipv6 has a length'),
  compute('add', 'r9', IPV6.length),
  compute('add', 'r9', 'r7'),
  load(1, 'r8', 'r10', HEADER + IPV6.nextHeader),
  compute('add', 'r7', IPV6.length),

  // r8: the kind of header that starts at r7.
  label('next header'),
  jumpIf('r8', '==', IPPROTO_TCP, 'tcp'),
  jumpIf('r8', '==', FRAGMENT_HEADER, 'extension header'),
  jumpIf('r8', '==', AUTHENTICATION_HEADER, 'extension header'),
  ...OTHER_EXTENSION_HEADERS.map((header) => jumpIf('r8', '==', header, 'extension header')),
  ...TUNNELS.map((protocol) => jumpIf('r8', '==', protocol, 'tunnel')),
  jump('drop'),
  label('extension header'),
  load(8, 'r1', 'r10', EXTENSIONS),
  compute('add', 'r1', 1),
  jumpIf('r1', '>', MAX_EXTENSIONS, 'hand up'),
  store(8, 'r10', EXTENSIONS, 'r1'),
  ...loadHeader(EXTENSION_LENGTH, 'hand up'),
  load(1, 'r1', 'r10', HEADER + 1),
  jumpIf('r8', '==', AUTHENTICATION_HEADER, 'authentication header'),
  jumpIf('r8', '!=', FRAGMENT_HEADER, 'other extension header'),
  // Offset and "more fragments" without the two reserved bits between them.
  ...loadNetwork16('r1', HEADER + 2),
  jumpIf('r1', 'has', 0xfff8, 'hand up'),
  compute('and', 'r1', 1),
  store(8, 'r10', IS_FRAGMENT, 'r1'),
  move('r1', 0),
  label('other extension header'),
  compute('add', 'r1', 1),
  compute('multiply', 'r1', 8),
  jump('extension header has a length'),
  label('authentication header'),
  compute('add', 'r1', 2),
  compute('multiply', 'r1', 4),
  label('extension header has a length'),
  compute('add', 'r7', 'r1'),
  load(1, 'r8', 'r10', HEADER),
  ...hidePosition(),
  jump('next header'),
];

/** Looks into tunnels, where the IP header of another packet follows. r8: the protocol of what starts at r7. */
const readTunnel: readonly Line[] = [
  label('tunnel'),
  jumpIf('r8', '==', IPPROTO_GRE, 'gre'),
  jumpIf('r8', '==', IPPROTO_UDP, 'udp'),
  move('r1', linux.ETH_P_IP),
  jumpIf('r8', '==', IPPROTO_IPIP, 'inside'),
  move('r1', linux.ETH_P_IPV6),
  jump('inside'),

  label('udp'),
  ...loadHeader(UDP.length + VXLAN.length, 'drop'),
  ...loadNetwork16('r1', HEADER + UDP.destinationPort),
  compute('add', 'r7', UDP.length),
  ...VXLAN.ports.map((port) => jumpIf('r1', '==', port, 'vxlan')),
  jumpIf('r1', '!=', GENEVE.port, 'drop'),
  load(1, 'r2', 'r10', HEADER + UDP.length + GENEVE.optionsLength),
  compute('and', 'r2', GENEVE.optionsLengthMask),
  compute('multiply', 'r2', 4),
  compute('add', 'r7', 'r2'),
  compute('add', 'r7', GENEVE.length),
  ...loadNetwork16('r1', HEADER + UDP.length + GENEVE.type),
  jump('inner type'),
  label('vxlan'),
  compute('add', 'r7', VXLAN.length),
  jump('inner ethernet'),

  label('gre'),
  ...loadHeader(GRE.length, 'drop'),
  load(1, 'r1', 'r10', HEADER + GRE.version),
  jumpIf('r1', 'has', GRE.versionMask, 'drop'),
  compute('add', 'r7', GRE.length),
  load(1, 'r2', 'r10', HEADER + GRE.flags),
  ...GRE.options.flatMap((flag) => [
    move('r1', 'r2'),
    compute('and', 'r1', flag),
    jumpIf('r1', '==', 0, `no gre option ${flag}`),
    compute('add', 'r7', 4),
    label(`no gre option ${flag}`),
  ]),
  ...loadNetwork16('r1', HEADER + GRE.type),

  label('inner type'),
  jumpIf('r1', '!=', linux.ETH_P_TEB, 'inside'),
  label('inner ethernet'),
  ...loadHeader(ETHERNET.length, 'drop'),
  ...loadNetwork16('r1', HEADER + ETHERNET.type),
  compute('add', 'r7', ETHERNET.length),

  // r1: the EtherType of what starts at r7.
  label('inside'),
  load(8, 'r2', 'r10', TUNNEL_COUNT),
  compute('add', 'r2', 1),
  jumpIf('r2', '>', MAX_TUNNELS, 'hand up'),
  store(8, 'r10', TUNNEL_COUNT, 'r2'),
  ...[0, 8, 16, 24].map((offset) => store(8, 'r10', KEY + offset, 0)),
  ...hidePosition(),
  ...jumpByEtherType('r1'),
  jump('drop'),
];

/** Goes on with packets of watched ports. */
function readPorts({ ports }: FlowMaps): Line[] {
  return [
    label('tcp'),
    ...loadHeader(TCP.length, 'hand up'),
    // A look-up each, and no table to index: without CAP_PERFMON the verifier follows arithmetic with addresses so
    // closely that it gives up on programs with loops.
    ...askWhetherWatched(ports, TCP.sourcePort),
    ...askWhetherWatched(ports, TCP.destinationPort),
    jump('drop'),
    label('watched'),
    load(4, 'r1', 'r10', HEADER + TCP.sourcePort),
    store(4, 'r10', KEY + FLOW_KEY.sourcePort, 'r1'),
    load(8, 'r1', 'r10', IS_FRAGMENT),
    jumpIf('r1', '!=', 0, 'hand up'),
  ];
}

function askWhetherWatched(ports: number, port: number): Line[] {
  return [
    ...loadNetwork16('r1', HEADER + port),
    store(4, 'r10', ARRAY_INDEX, 'r1'),
    ...lookUp(ports, ARRAY_INDEX),
    jumpIf('r0', '==', 0, 'drop'),
    load(4, 'r1', 'r0', 0),
    jumpIf('r1', '!=', 0, 'watched'),
  ];
}

/** How much this packet is: payload, packets on the wire, bytes. */
const readSegment: readonly Line[] = [
  load(1, 'r1', 'r10', HEADER + TCP.flags),
  store(8, 'r10', TCP_FLAGS, 'r1'),
  load(1, 'r1', 'r10', HEADER + TCP.dataOffset),
  compute('shiftRight', 'r1', 4),
  compute('multiply', 'r1', 4),
  jumpIf('r1', '<', TCP.length, 'hand up'),
  // r7: the length of all headers.
  compute('add', 'r7', 'r1'),
  load(4, 'r5', 'r6', linux.SK_BUFF.length),
  load(4, 'r3', 'r6', linux.SK_BUFF.gsoSize),
  jumpIf('r3', '==', 0, 'one segment'),
  // The IP header of a packet that the card is to cut up need not say its length.
  move('r9', 'r5'),
  label('one segment'),
  jumpIf('r9', '>', 'r5', 'hand up'),
  jumpIf('r7', '>', 'r9', 'hand up'),
  move('r4', 'r9'),
  compute('subtract', 'r4', 'r7'),
  store(8, 'r10', PAYLOAD_BYTES, 'r4'),
  // Virtual machines may leave the number of segments to whoever needs it.
  load(4, 'r2', 'r6', linux.SK_BUFF.gsoSegments),
  jumpIf('r2', '!=', 0, 'segments known'),
  move('r2', 1),
  jumpIf('r3', '==', 0, 'segments known'),
  jumpIf('r4', '==', 0, 'segments known'),
  move('r2', 'r4'),
  compute('add', 'r2', 'r3'),
  compute('subtract', 'r2', 1),
  compute('divide', 'r2', 'r3'),
  label('segments known'),
  store(8, 'r10', SEGMENTS, 'r2'),
  // Each segment has all headers, and the tag that the kernel has taken out.
  move('r1', 'r2'),
  compute('subtract', 'r1', 1),
  compute('multiply', 'r1', 'r7'),
  compute('add', 'r1', 'r5'),
  load(4, 'r4', 'r6', linux.SK_BUFF.vlanPresent),
  jumpIf('r4', '==', 0, 'bytes known'),
  compute('multiply', 'r2', VLAN_TAG.length),
  compute('add', 'r1', 'r2'),
  label('bytes known'),
  store(8, 'r10', BYTES, 'r1'),
];

/**
 * A SYN begins another connection: what was counted of the one before it must not become the new one's. Both
 * directions leave the table for a queue, which user space reads before it handles the SYN. Where the queue is full
 * they stay, and the new connection inherits what user space has not read.
 */
function endFlowBefore({ flows, ended }: FlowMaps): Line[] {
  return [
    load(8, 'r1', 'r10', TCP_FLAGS),
    compute('and', 'r1', TCP_SYN | TCP_ACK),
    jumpIf('r1', '!=', TCP_SYN, 'no connection begins'),
    ...endDirection(flows, ended, 'that way'),
    ...swapEnds,
    ...endDirection(flows, ended, 'other way'),
    jump('hand up'),
    label('no connection begins'),
  ];
}

function endDirection(flows: number, ended: number, way: string): Line[] {
  const words = Array.from({ length: FLOW_VALUE.size / 8 }, (_, index) => index * 8);
  return [
    ...lookUp(flows, KEY),
    jumpIf('r0', '==', 0, `${way}: nothing`),
    ...words.flatMap((offset) => [load(8, 'r1', 'r0', offset), store(8, 'r10', VALUE + offset, 'r1')]),
    load(4, 'r1', 'r10', HEADER + TCP.sequence),
    store(4, 'r10', VALUE + FLOW_VALUE.nextSequence, 'r1'),
    ...loadMap('r1', ended),
    ...addressOf('r2', VALUE),
    move('r3', linux.BPF_ANY),
    call(HELPER.mapPush),
    jumpIf('r0', '!=', 0, `${way}: nothing`),
    ...loadMap('r1', flows),
    ...addressOf('r2', KEY),
    call(HELPER.mapDelete),
    label(`${way}: nothing`),
  ];
}

/** Makes the key that of the other direction. */
const swapEnds: readonly Line[] = [
  ...[0, 8].flatMap((offset) => [
    load(8, 'r1', 'r10', KEY + FLOW_KEY.source + offset),
    load(8, 'r2', 'r10', KEY + FLOW_KEY.destination + offset),
    store(8, 'r10', KEY + FLOW_KEY.source + offset, 'r2'),
    store(8, 'r10', KEY + FLOW_KEY.destination + offset, 'r1'),
  ]),
  load(2, 'r1', 'r10', KEY + FLOW_KEY.sourcePort),
  load(2, 'r2', 'r10', KEY + FLOW_KEY.destinationPort),
  store(2, 'r10', KEY + FLOW_KEY.sourcePort, 'r2'),
  store(2, 'r10', KEY + FLOW_KEY.destinationPort, 'r1'),
];

/** r9: the flow's FLOW_VALUE, r8: the FLOW_CONTROL. */
function countKnownFlow({ flows, wanted, control }: FlowMaps): Line[] {
  return [
    ...lookUp(flows, KEY),
    jumpIf('r0', '==', 0, 'new flow'),
    move('r9', 'r0'),
    call(HELPER.coarseMonotonicTime),
    load(4, 'r1', 'r6', linux.SK_BUFF.interfaceIndex),
    load(4, 'r2', 'r9', FLOW_VALUE.interfaceIndex),
    jumpIf('r1', '==', 'r2', 'on its interface'),
    load(8, 'r3', 'r9', FLOW_VALUE.last),
    compute('add', 'r3', INTERFACE_HOLD_NS),
    jumpIf('r3', '>', 'r0', 'drop'),
    store(4, 'r9', FLOW_VALUE.interfaceIndex, 'r1'),
    label('on its interface'),
    store(8, 'r9', FLOW_VALUE.last, 'r0'),
    load(8, 'r1', 'r10', TCP_FLAGS),
    load(4, 'r2', 'r9', FLOW_VALUE.tcpFlags),
    move('r3', 'r2'),
    compute('or', 'r3', 'r1'),
    jumpIf('r3', '==', 'r2', 'flags known'),
    atomicOr('r9', FLOW_VALUE.tcpFlags, 'r1'),
    label('flags known'),
    load(8, 'r1', 'r10', TCP_FLAGS),
    jumpIf('r1', 'has', TCP_SYN | TCP_FIN | TCP_RST, 'needed above'),

    store(4, 'r10', ARRAY_INDEX, 0),
    ...lookUp(control, ARRAY_INDEX),
    jumpIf('r0', '==', 0, 'stays'),
    move('r8', 'r0'),
    load(4, 'r2', 'r8', FLOW_CONTROL.firstPackets),
    ...takeOneOf('r9', FLOW_VALUE.firstPackets, 'not among the first'),
    jump('needed above'),
    label('not among the first'),
    load(4, 'r1', 'r8', FLOW_CONTROL.wantedCount),
    jumpIf('r1', '==', 0, 'not wanted'),
    ...lookUp(wanted, KEY),
    jumpIf('r0', '==', 0, 'not wanted'),
    load(4, 'r2', 'r0', WANTED.limit),
    ...takeOneOf('r0', WANTED.handedUp, 'not wanted'),
    jump('needed above'),
    label('not wanted'),
    load(4, 'r1', 'r8', FLOW_CONTROL.sampleEvery),
    jumpIf('r1', '==', 0, 'stays'),
    call(HELPER.randomNumber),
    load(4, 'r1', 'r8', FLOW_CONTROL.sampleEvery),
    move('r2', 'r0'),
    compute('divide', 'r2', 'r1'),
    compute('multiply', 'r2', 'r1'),
    jumpIf('r2', '==', 'r0', 'needed above'),

    label('stays'),
    ...addToFlow('r9'),
    jump('drop'),
    label('needed above'),
    load(8, 'r1', 'r10', SEGMENTS),
    jumpIf('r1', '<=', 1, 'hand up'),
    ...addToFlow('r9'),
    jump('hand up counted'),
  ];
}

/** r9: the FLOW_STATISTICS. */
function openFlow({ flows, statistics }: FlowMaps): Line[] {
  return [
    label('new flow'),
    load(8, 'r1', 'r10', TCP_FLAGS),
    jumpIf('r1', 'has', TCP_SYN | TCP_RST, 'hand up'),
    store(4, 'r10', ARRAY_INDEX, 0),
    ...lookUp(statistics, ARRAY_INDEX),
    jumpIf('r0', '==', 0, 'hand up'),
    move('r9', 'r0'),
    ...[0, 8, 16, 24, 32, 40, 48, 56].map((offset) => store(8, 'r10', VALUE + offset, 0)),
    move('r1', 1),
    atomicFetchAdd('r9', FLOW_STATISTICS.nextId, 'r1'),
    store(8, 'r10', VALUE + FLOW_VALUE.id, 'r1'),
    call(HELPER.coarseMonotonicTime),
    store(8, 'r10', VALUE + FLOW_VALUE.first, 'r0'),
    store(8, 'r10', VALUE + FLOW_VALUE.last, 'r0'),
    load(4, 'r1', 'r6', linux.SK_BUFF.interfaceIndex),
    store(4, 'r10', VALUE + FLOW_VALUE.interfaceIndex, 'r1'),
    load(8, 'r1', 'r10', TCP_FLAGS),
    store(4, 'r10', VALUE + FLOW_VALUE.tcpFlags, 'r1'),
    store(4, 'r10', VALUE + FLOW_VALUE.firstPackets, 1),
    load(8, 'r1', 'r10', SEGMENTS),
    jumpIf('r1', '<=', 1, 'counted above'),
    ...COUNTS.flatMap(([field, amount]) => [
      load(8, 'r1', 'r10', amount),
      store(8, 'r10', VALUE + FLOW_VALUE[field], 'r1'),
    ]),
    label('counted above'),
    ...loadMap('r1', flows),
    ...addressOf('r2', KEY),
    ...addressOf('r3', VALUE),
    move('r4', linux.BPF_NOEXIST),
    call(HELPER.mapUpdate),
    jumpIf('r0', '!=', 0, 'not in the table'),
    load(8, 'r1', 'r10', SEGMENTS),
    jumpIf('r1', '<=', 1, 'hand up'),
    jump('hand up counted'),
    label('not in the table'),
    // Another processor was faster with a packet of the same direction.
    jumpIf('r0', '==', ERROR_EXISTS, 'hand up'),
    move('r1', 1),
    atomicAdd('r9', FLOW_STATISTICS.overflowed, 'r1'),
    jump('hand up'),
  ];
}

const COUNTS = [
  ['packets', SEGMENTS],
  ['bytes', BYTES],
  ['payloadBytes', PAYLOAD_BYTES],
] as const;

function addToFlow(value: Register): Line[] {
  return COUNTS.flatMap(([field, amount]) => [
    load(8, 'r1', 'r10', amount),
    atomicAdd(value, FLOW_VALUE[field], 'r1'),
  ]);
}

/** Counts one more at `offset` behind a register, unless r2 of them were counted: then on at `otherwise`. */
function takeOneOf(register: Register, offset: number, otherwise: string): Line[] {
  return [
    load(4, 'r1', register, offset),
    jumpIf('r1', '>=', 'r2', otherwise),
    compute('add', 'r1', 1),
    store(4, register, offset, 'r1'),
  ];
}

/**
 * Makes the verifier forget what it knows of r7, which stays as it is. It follows a program once for each position
 * that it can tell from others, and with headers of many lengths in one another gives up; we do not need its proof,
 * because packets are read by a helper that checks.
 */
function hidePosition(): Line[] {
  return [load(4, 'r3', 'r6', linux.SK_BUFF.length), compute('xor', 'r7', 'r3'), compute('xor', 'r7', 'r3')];
}

function jumpByEtherType(register: Register): Line[] {
  return [
    jumpIf(register, '==', linux.ETH_P_IP, 'ipv4'),
    jumpIf(register, '==', linux.ETH_P_IPV6, 'ipv6'),
    ...[linux.ETH_P_8021Q, linux.ETH_P_8021AD, linux.ETH_P_QINQ1].map((tag) =>
      jumpIf(register, '==', tag, 'vlan tag'),
    ),
  ];
}

/** Copies the bytes at r7 to `HEADER`. */
function loadHeader(lengthBytes: number, tooShort: string): Line[] {
  return [
    move('r1', 'r6'),
    move('r2', 'r7'),
    ...addressOf('r3', HEADER),
    move('r4', lengthBytes),
    call(HELPER.loadPacketBytes),
    jumpIf('r0', '!=', 0, tooShort),
  ];
}

function loadNetwork16(register: Register, place: number): Line[] {
  return [load(2, register, 'r10', place), fromNetworkOrder(register, 16)];
}

/** r0: the value's address, or 0. */
function lookUp(map: number, keyPlace: number): Line[] {
  return [...loadMap('r1', map), ...addressOf('r2', keyPlace), call(HELPER.mapLookup)];
}

function addressOf(register: Register, place: number): Line[] {
  return [move(register, 'r10'), compute('add', register, place)];
}
