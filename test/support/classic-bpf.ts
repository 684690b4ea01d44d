/**
 * The classic BPF machine in user space (Linux: networking/filter.rst), for testing a program's meaning on any bytes.
 * Only the instructions that our filters use.
 */
import {
  BPF,
  type Instruction,
  SKF_AD_HATYPE,
  SKF_AD_OFF,
  SKF_AD_PKTTYPE,
  SKF_AD_PROTOCOL,
} from '../../agent/capture/linux/port-filter.ts';

/** A packet as the kernel shows it to a filter. */
export interface FilteredPacket {
  /** From the network header on. */
  readonly bytes: Uint8Array;
  /** EtherType. */
  readonly protocol: number;
  readonly packetType: number;
  readonly hardwareType: number;
}

/** Bytes to keep; 0 drops the packet, as does a load behind its end. Fails on what the kernel would refuse. */
export function runFilter(program: readonly Instruction[], packet: FilteredPacket): number {
  const cells = Array.from({ length: 16 }, () => 0);
  let accumulator = 0;
  let index = 0;
  for (let next = 0; ;) {
    const instruction = program[next];
    if (instruction === undefined) throw new Error(`the program ends without a result, at ${next}`);
    const { code, operand, jumpTrue, jumpFalse } = instruction;
    next++;
    const branch = (isTrue: boolean): void => {
      next += isTrue ? jumpTrue : jumpFalse;
    };
    let loaded: number | undefined = 0;
    switch (code) {
      case BPF.RET_K:
        return operand;
      case BPF.JMP_JA:
        next += operand;
        break;
      case BPF.JMP_JEQ_K:
        branch(accumulator === operand);
        break;
      case BPF.JMP_JGE_K:
        branch(accumulator >= operand);
        break;
      case BPF.JMP_JSET_K:
        branch((accumulator & operand) !== 0);
        break;
      case BPF.ST:
        cells[operand] = accumulator;
        break;
      case BPF.LD_MEM:
        accumulator = cells[operand] ?? 0;
        break;
      case BPF.LDX_B_MSH:
        loaded = load(packet, operand, 1);
        index = ((loaded ?? 0) & 15) * 4;
        break;
      case BPF.LD_B_IND:
        accumulator = (loaded = load(packet, index + operand, 1)) ?? 0;
        break;
      case BPF.LD_H_IND:
        accumulator = (loaded = load(packet, index + operand, 2)) ?? 0;
        break;
      case BPF.LD_B_ABS:
      case BPF.LD_H_ABS:
      case BPF.LD_W_ABS:
        accumulator = (loaded = load(packet, operand, WIDTHS[code])) ?? 0;
        break;
      default:
        throw new Error(`unknown instruction 0x${code.toString(16)}`);
    }
    if (loaded === undefined) return 0;
  }
}

const WIDTHS = { [BPF.LD_B_ABS]: 1, [BPF.LD_H_ABS]: 2, [BPF.LD_W_ABS]: 4 } as const;

function load(packet: FilteredPacket, offset: number, width: 1 | 2 | 4): number | undefined {
  if (offset === SKF_AD_PROTOCOL) return packet.protocol;
  if (offset === SKF_AD_PKTTYPE) return packet.packetType;
  if (offset === SKF_AD_HATYPE) return packet.hardwareType;
  if (offset >= SKF_AD_OFF) throw new Error(`unknown fact at 0x${offset.toString(16)}`);
  if (offset + width > packet.bytes.length) return undefined;
  return packet.bytes.subarray(offset, offset + width).reduce((value, byte) => value * 256 + byte, 0);
}
