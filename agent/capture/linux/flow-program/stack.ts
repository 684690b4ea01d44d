/**
 * Where the program keeps what it knows of a packet, and what its parts do again and again.
 *
 * r6 is the packet, r7 where the next header starts, r9 where the IP packet ends, until a flow is looked up.
 */
import {
  call,
  compute,
  fromNetworkOrder,
  HELPER,
  jumpIf,
  type Line,
  load,
  loadMap,
  move,
  type Register,
} from '../bpf-assembler.ts';
import * as linux from '../constants.ts';

/** Places on the stack, below r10. Key and value together are an ENDED_FLOW. */
export const KEY = -48;
export const VALUE = -112;
export const HEADER = -152;
export const PAYLOAD_BYTES = -160;
export const SEGMENTS = -168;
export const BYTES = -176;
export const TCP_FLAGS = -184;
/** Not 0 where user space has to read the packet, if its ports are watched: of a fragment, or one on a source route. */
export const IS_SPECIAL = -192;
export const EXTENSIONS = -200;
export const ARRAY_INDEX = -208;
export const TUNNEL_COUNT = -216;
export const TUNNEL_NUMBER = -224;
/** Where the header around ends: of the tunnel, or of the datagram that it comes in. */
export const OUTER_END = -232;
/** What `OUTER_END` is as long as nothing is around. */
export const NO_OUTER_END = 0x7fff_ffff;

/** Copies the bytes at r7 to `HEADER`. */
export function loadHeader(lengthBytes: number, tooShort: string): Line[] {
  return [
    move('r1', 'r6'),
    move('r2', 'r7'),
    ...addressOf('r3', HEADER),
    move('r4', lengthBytes),
    call(HELPER.loadPacketBytes),
    jumpIf('r0', '!=', 0, tooShort),
  ];
}

export function loadNetwork16(register: Register, place: number): Line[] {
  return [load(2, register, 'r10', place), fromNetworkOrder(register, 16)];
}

/** r0: the value's address, or 0. */
export function lookUp(map: number, keyPlace: number): Line[] {
  return [...loadMap('r1', map), ...addressOf('r2', keyPlace), call(HELPER.mapLookup)];
}

export function addressOf(register: Register, place: number): Line[] {
  return [move(register, 'r10'), compute('add', register, place)];
}

/**
 * Makes the verifier forget what it knows of r7, which stays as it is. It follows a program once for each position
 * that it can tell from others, and with headers of many lengths in one another gives up; we do not need its proof,
 * because packets are read by a helper that checks.
 */
export function hidePosition(): Line[] {
  return [load(4, 'r3', 'r6', linux.SK_BUFF.length), compute('xor', 'r7', 'r3'), compute('xor', 'r7', 'r3')];
}

/** Hands up a packet whose IP header, just read, says to go on behind what is around it: user space cuts it off there. */
export function checkOuterEnd(): Line[] {
  return [load(8, 'r1', 'r10', OUTER_END), jumpIf('r9', '>', 'r1', 'hand up')];
}

export function jumpByEtherType(register: Register): Line[] {
  return [
    jumpIf(register, '==', linux.ETH_P_IP, 'ipv4'),
    jumpIf(register, '==', linux.ETH_P_IPV6, 'ipv6'),
    ...[linux.ETH_P_8021Q, linux.ETH_P_8021AD, linux.ETH_P_QINQ1].map((tag) =>
      jumpIf(register, '==', tag, 'vlan tag'),
    ),
  ];
}
