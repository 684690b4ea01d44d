/** The TCP header: whether its ports are watched, and how much the packet counts. */
import { compute, jump, jumpIf, label, type Line, load, move, store } from '../bpf-assembler.ts';
import * as linux from '../constants.ts';
import { FLOW_KEY, type FlowMaps } from '../flow-layout.ts';
import { TCP, VLAN_TAG } from './headers.ts';
import {
  KEY,
  HEADER,
  PAYLOAD_BYTES,
  SEGMENTS,
  BYTES,
  TCP_FLAGS,
  IS_SPECIAL,
  ARRAY_INDEX,
  loadHeader,
  loadNetwork16,
  lookUp,
} from './stack.ts';

/** Goes on with packets of watched ports. */
export function readPorts({ ports }: FlowMaps): Line[] {
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
    load(4, 'r1', 'r6', linux.SK_BUFF.interfaceIndex),
    store(4, 'r10', KEY + FLOW_KEY.interfaceIndex, 'r1'),
    load(8, 'r1', 'r10', IS_SPECIAL),
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
export const readSegment: readonly Line[] = [
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
