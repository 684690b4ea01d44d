/** The flow table: what ends a flow, counts to it, or opens it, and which packets go up for it. */
import {
  atomicAdd,
  atomicFetchAdd,
  atomicOr,
  call,
  compute,
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
} from '../bpf-assembler.ts';
import * as linux from '../constants.ts';
import {
  FLOW_CONTROL,
  FLOW_KEY,
  FLOW_STATISTICS,
  FLOW_VALUE,
  type FlowMaps,
  WANTED,
} from '../flow-layout.ts';
import { TCP, TCP_FIN, TCP_SYN, TCP_RST, TCP_ACK } from './headers.ts';
import {
  KEY,
  VALUE,
  HEADER,
  PAYLOAD_BYTES,
  SEGMENTS,
  BYTES,
  TCP_FLAGS,
  ARRAY_INDEX,
  lookUp,
  addressOf,
} from './stack.ts';

const ERROR_EXISTS = -17;

/**
 * A SYN begins another connection: what was counted of the one before it must not become the new one's. Both
 * directions leave the table for a queue, which user space reads before it handles the SYN. Where the queue is full
 * they stay, and the new connection inherits what user space has not read.
 */
export function endFlowBefore({ flows, ended }: FlowMaps): Line[] {
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
export function countKnownFlow({ flows, wanted, control }: FlowMaps): Line[] {
  return [
    ...lookUp(flows, KEY),
    jumpIf('r0', '==', 0, 'new flow'),
    move('r9', 'r0'),
    call(HELPER.coarseMonotonicTime),
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
    // Wanted are packets of any interface. This is the last look-up by this key.
    store(4, 'r10', KEY + FLOW_KEY.interfaceIndex, 0),
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
export function openFlow({ flows, statistics }: FlowMaps): Line[] {
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
