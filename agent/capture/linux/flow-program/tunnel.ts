/**
 * Tunnels that overlays use: the connection inside is the flow. Of the others L2TP, TZSP, EoIP and PPTP go up whole, for
 * user space to look into: their headers have no fixed length, and no node of a cluster carries much in them.
 */
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
import { FLOW_KEY } from '../flow-layout.ts';
import * as linux from '../constants.ts';
import {
  TUNNEL_HASH_SHIFT,
  TUNNEL_ID_MULTIPLIER,
  TUNNEL_WORD_MULTIPLIER,
  tunnelNumber,
} from '../../../decode/tunnel.ts';
import { IPPROTO_GRE, IPPROTO_IPIP, IPPROTO_L2TP, IPPROTO_UDP } from './headers.ts';
import {
  KEY,
  HEADER,
  OUTER_END,
  TUNNEL_COUNT,
  TUNNEL_NUMBER,
  loadHeader,
  loadNetwork16,
  hidePosition,
  jumpByEtherType,
} from './stack.ts';

/** More tunnels in one another are user space's to read. */
const MAX_TUNNELS = 1;
/** RFC 768. */
const UDP = { length: 8, sourcePort: 0, destinationPort: 2, lengthField: 4 } as const;
/** RFC 2661 and RFC 3931; TZSP. */
const HANDED_UP_PORTS = [1701, 37_008];
/** RFC 7348, section 5; Linux' own port is older than IANA's. */
const VXLAN = { length: 8, ports: [4789, 8472], flags: 0, hasIdentifier: 0x08 } as const;
/** RFC 8926, section 3.4: the length of the options in words, and the type of what follows them. */
const GENEVE = {
  length: 8,
  port: 6081,
  optionsLength: 0,
  optionsLengthMask: 0x3f,
  versionMask: 0xc0,
  type: 2,
} as const;
/** RFC 2784, section 2, and RFC 2890, section 2: each of these flags stands for four more bytes. */
const GRE = {
  length: 4,
  flags: 0,
  version: 1,
  versionMask: 7,
  versionOfPptpAndEoip: 1,
  type: 2,
  options: [0x80, 0x20, 0x10],
  hasRouting: 0x40,
} as const;
/** The 24 bits before the last byte of a VXLAN or Geneve header, the VNI: from here on. */
const IDENTIFIER = 4;
const ETHERNET = { length: 14, type: 12 } as const;

/**
 * Looks into tunnels, where the IP header of another packet follows. r8: the protocol of what starts at r7.
 *
 * @param seed that of `Packet`
 */
export const readTunnel = (seed: number): Line[] => [
  label('tunnel'),
  jumpIf('r8', '==', IPPROTO_L2TP, 'hand up'),
  jumpIf('r8', '==', IPPROTO_GRE, 'gre'),
  jumpIf('r8', '==', IPPROTO_UDP, 'udp'),
  store(8, 'r10', TUNNEL_NUMBER, tunnelNumber('ipip')),
  move('r1', linux.ETH_P_IP),
  jumpIf('r8', '==', IPPROTO_IPIP, 'inside'),
  store(8, 'r10', TUNNEL_NUMBER, tunnelNumber('6in4')),
  move('r1', linux.ETH_P_IPV6),
  jump('inside'),

  label('udp'),
  ...loadHeader(UDP.length + VXLAN.length, 'drop'),
  // What is behind the datagram is no payload (see decode/udp.ts).
  ...loadNetwork16('r1', HEADER + UDP.lengthField),
  jumpIf('r1', '==', 0, 'udp ends with its packet'),
  jumpIf('r1', '<', UDP.length, 'drop'),
  compute('add', 'r1', 'r7'),
  jumpIf('r1', '>', 'r9', 'udp ends with its packet'),
  move('r9', 'r1'),
  label('udp ends with its packet'),
  ...loadNetwork16('r1', HEADER + UDP.destinationPort),
  load(4, 'r3', 'r10', HEADER + UDP.length + IDENTIFIER),
  fromNetworkOrder('r3', 32),
  compute('shiftRight', 'r3', 8),
  compute('add', 'r7', UDP.length),
  ...VXLAN.ports.map((port) => jumpIf('r1', '==', port, 'vxlan')),
  jumpIf('r1', '==', GENEVE.port, 'geneve'),
  ...HANDED_UP_PORTS.map((port) => jumpIf('r1', '==', port, 'hand up')),
  // From a tunnel's port to another one: user space tells it by that, too.
  ...loadNetwork16('r1', HEADER + UDP.sourcePort),
  ...[...VXLAN.ports, GENEVE.port, ...HANDED_UP_PORTS].map((port) => jumpIf('r1', '==', port, 'hand up')),
  jump('drop'),
  label('geneve'),
  compute('or', 'r3', tunnelNumber('geneve')),
  store(8, 'r10', TUNNEL_NUMBER, 'r3'),
  load(1, 'r2', 'r10', HEADER + UDP.length + GENEVE.optionsLength),
  jumpIf('r2', 'has', GENEVE.versionMask, 'drop'),
  compute('and', 'r2', GENEVE.optionsLengthMask),
  compute('multiply', 'r2', 4),
  compute('add', 'r7', 'r2'),
  compute('add', 'r7', GENEVE.length),
  ...loadNetwork16('r1', HEADER + UDP.length + GENEVE.type),
  jump('inner type'),
  label('vxlan'),
  compute('or', 'r3', tunnelNumber('vxlan')),
  store(8, 'r10', TUNNEL_NUMBER, 'r3'),
  load(1, 'r2', 'r10', HEADER + UDP.length + VXLAN.flags),
  compute('and', 'r2', VXLAN.hasIdentifier),
  jumpIf('r2', '==', 0, 'drop'),
  compute('add', 'r7', VXLAN.length),
  jump('inner ethernet'),

  label('gre'),
  store(8, 'r10', TUNNEL_NUMBER, tunnelNumber('gre')),
  ...loadHeader(GRE.length, 'drop'),
  load(1, 'r2', 'r10', HEADER + GRE.flags),
  jumpIf('r2', 'has', GRE.hasRouting, 'drop'),
  load(1, 'r1', 'r10', HEADER + GRE.version),
  compute('and', 'r1', GRE.versionMask),
  jumpIf('r1', '==', GRE.versionOfPptpAndEoip, 'hand up'),
  jumpIf('r1', '!=', 0, 'drop'),
  compute('add', 'r7', GRE.length),
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
  // The headers around a packet that the network card is to cut up need not say their lengths.
  load(4, 'r2', 'r6', linux.SK_BUFF.gsoSize),
  jumpIf('r2', '!=', 0, 'outer end noted'),
  store(8, 'r10', OUTER_END, 'r9'),
  label('outer end noted'),
  ...noteTunnel(seed),
  ...[0, 8, 16, 24].map((offset) => store(8, 'r10', KEY + offset, 0)),
  ...hidePosition(),
  ...jumpByEtherType('r1'),
  jump('drop'),
];

/** Puts `Packet.tunnelKey` into the key (decode/tunnel.ts), whose addresses are those of the tunnel's ends. Keeps r1. */
function noteTunnel(seed: number): Line[] {
  return [
    load(8, 'r8', 'r10', TUNNEL_NUMBER),
    compute('xor', 'r8', seed),
    compute('multiply', 'r8', TUNNEL_ID_MULTIPLIER | 0),
    ...hashEnd(seed, FLOW_KEY.source),
    compute('add', 'r8', 'r2'),
    ...hashEnd(seed, FLOW_KEY.destination),
    compute('add', 'r8', 'r2'),
    compute('or', 'r8', 1),
    store(4, 'r10', KEY + FLOW_KEY.tunnel, 'r8'),
  ];
}

/** r2: the hash of an end in the lower 32 bits. Uses r3. */
function hashEnd(seed: number, end: number): Line[] {
  return [
    move('r2', seed),
    ...keepLower32('r2'),
    ...[0, 4, 8, 12].flatMap((word) => mixWord(KEY + end + word)),
  ];
}

function mixWord(place: number): Line[] {
  return [
    load(4, 'r3', 'r10', place),
    fromNetworkOrder('r3', 32),
    compute('xor', 'r2', 'r3'),
    compute('multiply', 'r2', TUNNEL_WORD_MULTIPLIER | 0),
    ...keepLower32('r2'),
    move('r3', 'r2'),
    compute('shiftRight', 'r3', TUNNEL_HASH_SHIFT),
    compute('xor', 'r2', 'r3'),
  ];
}

function keepLower32(register: Register): Line[] {
  return [compute('shiftLeft', register, 32), compute('shiftRight', register, 32)];
}
