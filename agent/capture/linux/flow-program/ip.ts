/** From the first byte that the socket gives to the header that IP carries. */
import {
  compute,
  fromNetworkOrder,
  jump,
  jumpIf,
  label,
  type Line,
  load,
  move,
  type Register,
  store,
} from '../bpf-assembler.ts';
import * as linux from '../constants.ts';
import { FLOW_KEY } from '../flow-layout.ts';
import { IPV4_MAPPED_WORD } from '../../../../common/address.ts';
import { IPPROTO_TCP, TUNNELS, VLAN_TAG } from './headers.ts';
import {
  KEY,
  HEADER,
  IS_SPECIAL,
  EXTENSIONS,
  NO_OUTER_END,
  OUTER_END,
  TUNNEL_COUNT,
  checkOuterEnd,
  loadHeader,
  loadNetwork16,
  hidePosition,
  jumpByEtherType,
} from './stack.ts';

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
const ROUTING_HEADER = 43;
const OTHER_EXTENSION_HEADERS = [0, ROUTING_HEADER, 60, 135, 139, 140];
const EXTENSION_LENGTH = 8;
const MAX_EXTENSIONS = 8;
const MAX_INNER_TAGS = 2;
const LOOPBACK_INDEX = 1;

/** Leaves out what loopback shows twice, and begins with the network header. */
export const readLink: readonly Line[] = [
  move('r6', 'r1'),
  move('r7', 0),
  // Loopback shows every packet twice: on its way out, and on its way in.
  load(4, 'r1', 'r6', linux.SK_BUFF.packetType),
  jumpIf('r1', '!=', linux.PACKET_OUTGOING, 'not on its way out'),
  load(4, 'r1', 'r6', linux.SK_BUFF.interfaceIndex),
  jumpIf('r1', '==', LOOPBACK_INDEX, 'drop'),
  label('not on its way out'),
  ...[0, 8, 16, 24, 32, 40].map((offset) => store(8, 'r10', KEY + offset, 0)),
  store(8, 'r10', IS_SPECIAL, 0),
  store(8, 'r10', EXTENSIONS, 0),
  store(8, 'r10', TUNNEL_COUNT, 0),
  store(8, 'r10', OUTER_END, NO_OUTER_END),
  load(4, 'r1', 'r6', linux.SK_BUFF.protocol),
  fromNetworkOrder('r1', 16),
  ...jumpByEtherType('r1'),
  jump('drop'),
];

/** The tags that the kernel left in the packet; see `vlanTagsLength` for how they are told from an IP header. */
export const readVlanTags: readonly Line[] = [
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

/** Addresses and length of an IPv4 packet. */
export const readIpv4: readonly Line[] = [
  label('ipv4'),
  ...loadHeader(IPV4.length, 'drop'),
  load(1, 'r8', 'r10', HEADER + IPV4.protocol),
  ...[IPPROTO_TCP, ...TUNNELS].map((protocol) => jumpIf('r8', '==', protocol, 'ipv4 may carry tcp')),
  jump('drop'),
  label('ipv4 may carry tcp'),
  ...loadNetwork16('r1', HEADER + IPV4.fragment),
  jumpIf('r1', 'has', IPV4.fragmentOffsetMask, 'hand up'),
  compute('and', 'r1', IPV4.anyFragmentMask),
  ...noteSpecial('r1'),
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
  ...checkOuterEnd(),
  load(1, 'r1', 'r10', HEADER),
  compute('and', 'r1', 15),
  compute('multiply', 'r1', 4),
  jumpIf('r1', '<', IPV4.length, 'hand up'),
  compute('add', 'r7', 'r1'),
  // Options may hold a route whose end is the destination; few packets have any.
  compute('subtract', 'r1', IPV4.length),
  ...noteSpecial('r1'),
  ...hidePosition(),
  jumpIf('r8', '==', IPPROTO_TCP, 'tcp'),
  jump('tunnel'),
];

/** Addresses and length of an IPv6 packet, and its extension headers. */
export const readIpv6: readonly Line[] = [
  label('ipv6'),
  ...loadHeader(IPV6.length, 'drop'),
  ...[0, 8, 16, 24].flatMap((offset) => [
    load(8, 'r1', 'r10', HEADER + IPV6.source + offset),
    store(8, 'r10', KEY + FLOW_KEY.source + offset, 'r1'),
  ]),
  // ::ffff:a.b.c.d would be the key of IPv4; user space tells the two apart.
  ...handUpMapped('source'),
  ...handUpMapped('destination'),
  ...loadNetwork16('r9', HEADER + IPV6.payloadLength),
  jumpIf('r9', '!=', 0, 'ipv6 has a length'),
  load(4, 'r9', 'r6', linux.SK_BUFF.length),
  compute('subtract', 'r9', IPV6.length),
  compute('subtract', 'r9', 'r7'),
  label('ipv6 has a length'),
  compute('add', 'r9', IPV6.length),
  compute('add', 'r9', 'r7'),
  ...checkOuterEnd(),
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
  ...noteSpecial('r1'),
  move('r1', 0),
  jump('length of extension header'),
  label('other extension header'),
  jumpIf('r8', '!=', ROUTING_HEADER, 'length of extension header'),
  // With segments left the destination is the end of the route.
  load(1, 'r2', 'r10', HEADER + 3),
  ...noteSpecial('r2'),
  label('length of extension header'),
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

/** Lets user space read the packet where the register is not 0; one that another header asked for stays so. Uses r3. */
function noteSpecial(register: Register): Line[] {
  return [load(8, 'r3', 'r10', IS_SPECIAL), compute('or', 'r3', register), store(8, 'r10', IS_SPECIAL, 'r3')];
}

/** @param end the address that was read from an IPv6 header into the key */
function handUpMapped(end: 'source' | 'destination'): Line[] {
  const place = KEY + FLOW_KEY[end];
  const other = `no mapped ${end}`;
  return [
    load(8, 'r1', 'r10', place),
    jumpIf('r1', '!=', 0, other),
    load(4, 'r1', 'r10', place + 8),
    fromNetworkOrder('r1', 32),
    jumpIf('r1', '==', IPV4_MAPPED_WORD, 'hand up'),
    label(other),
  ];
}
