/**
 * The classic BPF program that keeps other ports' packets out of the ring (Linux: networking/filter.rst; the machine
 * is McCanne's and Jacobson's of 1993). For a cooked packet socket, whose packets begin with the network header.
 *
 * In the kernel only what is certain is decided: TCP packets with both ports at hand. What could belong to a watched
 * connection but hides its ports goes up to user space: later IPv4 fragments, IPv6 with extension headers, packets
 * with a VLAN tag still in them, and tunnels. Of these, VXLAN over IPv4 with plain IPv4 inside, which most overlays use,
 * is looked into; the others (Geneve, GRE, IP in IP, L2TP, TZSP) go up whatever they carry. On loopback, where every packet passes
 * twice, the outgoing copy is dropped.
 */
import type { PortSet } from '../source.ts';
import * as linux from './constants.ts';

/** One instruction: `struct sock_filter` of linux/filter.h. */
export interface Instruction {
  readonly code: number;
  readonly jumpTrue: number;
  readonly jumpFalse: number;
  /** Unsigned 32 bits. */
  readonly operand: number;
}

/** linux/bpf_common.h: class | size or operation | mode or source. */
export const BPF = {
  LD_W_ABS: 0x20,
  LD_H_ABS: 0x28,
  LD_B_ABS: 0x30,
  LD_H_IND: 0x48,
  LD_B_IND: 0x50,
  LD_MEM: 0x60,
  LDX_B_MSH: 0xb1,
  ST: 0x02,
  JMP_JA: 0x05,
  JMP_JEQ_K: 0x15,
  JMP_JGE_K: 0x35,
  JMP_JSET_K: 0x45,
  RET_K: 0x06,
} as const;

/** linux/filter.h: loads from here on give facts about the packet instead of its bytes. */
export const SKF_AD_OFF = 0xffff_f000;
export const SKF_AD_PROTOCOL = SKF_AD_OFF + 0;
export const SKF_AD_PKTTYPE = SKF_AD_OFF + 4;
export const SKF_AD_HATYPE = SKF_AD_OFF + 28;

/** Protocol numbers of IANA. */
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
/** IP in IP, IPv6 in IP, GRE, L2TP. */
const TUNNEL_PROTOCOLS = [4, 41, 47, 115];
/** RFC 768, RFC 7348; Geneve (RFC 8926), L2TP (RFC 2661, RFC 3931), TZSP. */
const UDP_SOURCE_PORT = 0;
const UDP_DESTINATION_PORT = 2;
const VXLAN_PORTS = [4789, 8472];
const OTHER_TUNNEL_PORTS = [6081, 1701, 37_008];
/** RFC 791, section 3.1. */
const IPV4 = { flagsAndOffset: 6, protocol: 9, fragmentOffsetMask: 0x1fff } as const;
/** RFC 8200, section 3. */
const IPV6 = { nextHeader: 6, headerLength: 40 } as const;
/** Headers behind which TCP may follow: the IANA registry "IPv6 Extension Header Types" without ESP and the end. */
const IPV6_EXTENSION_HEADERS = [0, 43, 44, 51, 60, 135, 139, 140];
/** RFC 9293, section 3.1. */
const TCP = { sourcePort: 0, destinationPort: 2 } as const;
/** In VXLAN, from the UDP header on: headers of UDP, VXLAN and Ethernet, then an IPv4 header without options. */
const IN_VXLAN = {
  etherType: 28,
  versionAndLength: 30,
  plainHeader: 0x45,
  flagsAndOffset: 36,
  protocol: 39,
  sourcePort: 50,
  destinationPort: 52,
} as const;
const DESTINATION_PORT_CELL = 0;
/** Jumps of comparisons are one byte. */
const LONGEST_SHORT_JUMP = 255;

const drop = statement(BPF.RET_K, 0);
/** A program that lets nothing pass. */
export const dropAll: readonly Instruction[] = [drop];

/**
 * The program for a set of ports: a TCP packet passes, cut to `snaplenBytes`, when its source or destination port is
 * in the set. An empty set lets nothing pass; one with more ranges than a program can hold lets all TCP pass.
 */
export function buildPortFilter(ports: PortSet, snaplenBytes: number): readonly Instruction[] {
  if (ports.size === 0) return dropAll;
  const program = assembleFilter(searchPorts(ports, snaplenBytes), snaplenBytes);
  if (program.length <= linux.BPF_MAXINSNS) return program;
  return assembleFilter([statement(BPF.RET_K, snaplenBytes)], snaplenBytes);
}

/** The program in the layout of `struct sock_filter[]`. */
export function encodeProgram(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * linux.SOCK_FILTER.size);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jumpTrue, jumpFalse, operand }, index) => {
    const at = index * linux.SOCK_FILTER.size;
    view.setUint16(at + linux.SOCK_FILTER.code, code, linux.HOST_IS_LITTLE_ENDIAN);
    view.setUint8(at + linux.SOCK_FILTER.jumpTrue, jumpTrue);
    view.setUint8(at + linux.SOCK_FILTER.jumpFalse, jumpFalse);
    view.setUint32(at + linux.SOCK_FILTER.operand, operand, linux.HOST_IS_LITTLE_ENDIAN);
  });
  return bytes;
}

/** Everything in front of the search, which finds the source port loaded and the destination port in its cell. */
function assembleFilter(search: readonly Instruction[], snaplenBytes: number): Instruction[] {
  const accept = statement(BPF.RET_K, snaplenBytes);
  const ipv6 = readIpv6(accept);
  const tcp = readIpv4Tcp(accept, ipv6.length);
  const udp = readIpv4Udp(accept, tcp.length + ipv6.length);
  const ipv4 = [
    statement(BPF.LD_B_ABS, IPV4.protocol),
    ...acceptWhere(TUNNEL_PROTOCOLS, accept),
    compare(BPF.JMP_JEQ_K, IPPROTO_UDP, 2, 0),
    compare(BPF.JMP_JEQ_K, IPPROTO_TCP, udp.length + 1, 0),
    drop,
    ...udp,
    ...tcp,
  ];
  return [
    statement(BPF.LD_W_ABS, SKF_AD_PKTTYPE),
    compare(BPF.JMP_JEQ_K, linux.PACKET_OUTGOING, 0, 3),
    statement(BPF.LD_W_ABS, SKF_AD_HATYPE),
    compare(BPF.JMP_JEQ_K, linux.ARPHRD_LOOPBACK, 0, 1),
    drop,
    statement(BPF.LD_W_ABS, SKF_AD_PROTOCOL),
    ...acceptWhere([linux.ETH_P_8021Q, linux.ETH_P_8021AD, linux.ETH_P_QINQ1], accept),
    compare(BPF.JMP_JEQ_K, linux.ETH_P_IP, 2, 0),
    compare(BPF.JMP_JEQ_K, linux.ETH_P_IPV6, ipv4.length + 1, 0),
    drop,
    ...ipv4,
    ...ipv6,
    ...search,
  ];
}

function readIpv6(accept: Instruction): Instruction[] {
  const tunnel = [
    statement(BPF.LD_H_ABS, IPV6.headerLength + UDP_DESTINATION_PORT),
    ...acceptWhere([...VXLAN_PORTS, ...OTHER_TUNNEL_PORTS], accept),
    statement(BPF.LD_H_ABS, IPV6.headerLength + UDP_SOURCE_PORT),
    ...acceptWhere([...VXLAN_PORTS, ...OTHER_TUNNEL_PORTS], accept),
    drop,
  ];
  return [
    statement(BPF.LD_B_ABS, IPV6.nextHeader),
    ...acceptWhere([...IPV6_EXTENSION_HEADERS, ...TUNNEL_PROTOCOLS], accept),
    compare(BPF.JMP_JEQ_K, IPPROTO_UDP, 0, tunnel.length),
    ...tunnel,
    compare(BPF.JMP_JEQ_K, IPPROTO_TCP, 1, 0),
    drop,
    statement(BPF.LD_H_ABS, IPV6.headerLength + TCP.destinationPort),
    statement(BPF.ST, DESTINATION_PORT_CELL),
    statement(BPF.LD_H_ABS, IPV6.headerLength + TCP.sourcePort),
  ];
}

/** @param distance instructions between this part and the search */
function readIpv4Tcp(accept: Instruction, distance: number): Instruction[] {
  return [
    statement(BPF.LD_H_ABS, IPV4.flagsAndOffset),
    compare(BPF.JMP_JSET_K, IPV4.fragmentOffsetMask, 0, 1),
    accept,
    // The length of the IPv4 header, options included, goes to the index register.
    statement(BPF.LDX_B_MSH, 0),
    statement(BPF.LD_H_IND, TCP.destinationPort),
    statement(BPF.ST, DESTINATION_PORT_CELL),
    statement(BPF.LD_H_IND, TCP.sourcePort),
    jump(distance),
  ];
}

/** Tunnels over UDP. @param distance instructions between this part and the search */
function readIpv4Udp(accept: Instruction, distance: number): Instruction[] {
  // From a tunnel's port to another one: user space tells it by that, too.
  const otherPort = [
    statement(BPF.LD_H_IND, UDP_SOURCE_PORT),
    ...acceptWhere([...VXLAN_PORTS, ...OTHER_TUNNEL_PORTS], accept),
    drop,
  ];
  return [
    statement(BPF.LD_H_ABS, IPV4.flagsAndOffset),
    compare(BPF.JMP_JSET_K, IPV4.fragmentOffsetMask, 0, 1),
    accept,
    statement(BPF.LDX_B_MSH, 0),
    statement(BPF.LD_H_IND, UDP_DESTINATION_PORT),
    ...acceptWhere(OTHER_TUNNEL_PORTS, accept),
    ...VXLAN_PORTS.map((port, index) =>
      compare(BPF.JMP_JEQ_K, port, VXLAN_PORTS.length - 1 - index + otherPort.length, 0),
    ),
    ...otherPort,
    statement(BPF.LD_H_IND, IN_VXLAN.etherType),
    ...acceptWhere([linux.ETH_P_IPV6, linux.ETH_P_8021Q, linux.ETH_P_8021AD], accept),
    compare(BPF.JMP_JEQ_K, linux.ETH_P_IP, 1, 0),
    drop,
    statement(BPF.LD_B_IND, IN_VXLAN.versionAndLength),
    compare(BPF.JMP_JEQ_K, IN_VXLAN.plainHeader, 1, 0),
    accept,
    statement(BPF.LD_B_IND, IN_VXLAN.protocol),
    compare(BPF.JMP_JEQ_K, IPPROTO_TCP, 1, 0),
    drop,
    statement(BPF.LD_H_IND, IN_VXLAN.flagsAndOffset),
    compare(BPF.JMP_JSET_K, IPV4.fragmentOffsetMask, 0, 1),
    accept,
    statement(BPF.LD_H_IND, IN_VXLAN.destinationPort),
    statement(BPF.ST, DESTINATION_PORT_CELL),
    statement(BPF.LD_H_IND, IN_VXLAN.sourcePort),
    jump(distance),
  ];
}

/** Lets the packet pass where the loaded value is one of these. */
function acceptWhere(values: readonly number[], accept: Instruction): Instruction[] {
  return values.flatMap((value) => [compare(BPF.JMP_JEQ_K, value, 0, 1), accept]);
}

/** Searches the set for the source port, then for the destination port. */
function searchPorts(ports: PortSet, snaplenBytes: number): Instruction[] {
  const bounds = ports.ranges().flatMap(({ first, last }) => [first, last + 1]);
  const found = statement(BPF.RET_K, snaplenBytes);
  const loadDestination = statement(BPF.LD_MEM, DESTINATION_PORT_CELL);
  const destination = searchTree(bounds, found, () => statement(BPF.RET_K, 0));
  const source = searchTree(bounds, found, jump);
  return [...source, loadDestination, ...destination];
}

/**
 * A binary search for the loaded value among rising bounds, where a range begins at the even ones and has ended at the
 * odd ones: after `n` bounds that are not greater, an odd `n` is a hit.
 *
 * @param miss the instruction for a miss, given how many instructions lie between it and the end of the search
 */
function searchTree(
  bounds: readonly number[],
  found: Instruction,
  miss: (remaining: number) => Instruction,
): Instruction[] {
  const program: (Instruction | 'miss')[] = [];
  const emit = (low: number, high: number): void => {
    if (low === high) {
      program.push(low % 2 === 1 ? found : 'miss');
      return;
    }
    const middle = (low + high) >>> 1;
    const leftLength = treeLength(middle - low);
    const bound = bounds[middle] ?? 0;
    if (leftLength <= LONGEST_SHORT_JUMP) program.push(compare(BPF.JMP_JGE_K, bound, leftLength, 0));
    else program.push(compare(BPF.JMP_JGE_K, bound, 0, 1), jump(leftLength));
    emit(low, middle);
    emit(middle + 1, high);
  };
  emit(0, bounds.length);
  return program.map((entry, index) => (entry === 'miss' ? miss(program.length - index - 1) : entry));
}

/** Instructions of a search tree over `boundCount` bounds. */
function treeLength(boundCount: number): number {
  if (boundCount === 0) return 1;
  const left = treeLength(boundCount >>> 1);
  return (left <= LONGEST_SHORT_JUMP ? 1 : 2) + left + treeLength(boundCount - (boundCount >>> 1) - 1);
}

function statement(code: number, operand: number): Instruction {
  return { code, jumpTrue: 0, jumpFalse: 0, operand };
}

function compare(code: number, operand: number, jumpTrue: number, jumpFalse: number): Instruction {
  return { code, jumpTrue, jumpFalse, operand };
}

function jump(distance: number): Instruction {
  return statement(BPF.JMP_JA, distance);
}
