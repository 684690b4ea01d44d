import { describe, expect, it } from 'vitest';
import {
  assemble,
  atomicAdd,
  atomicFetchAdd,
  atomicOr,
  call,
  compute,
  exit,
  fromNetworkOrder,
  jump,
  jumpIf,
  label,
  type Line,
  load,
  loadMap,
  move,
  store,
} from '../../../../agent/capture/linux/bpf-assembler.ts';
import { HOST_IS_LITTLE_ENDIAN } from '../../../../agent/capture/linux/constants.ts';

/** As `bpftool prog dump xlated opcodes` and clang write them: opcode, registers, offset, immediate. */
const INSTRUCTIONS: readonly [text: string, line: Line, hex: string][] = [
  ['r6 = r1', move('r6', 'r1'), 'bf 16 0000 00000000'],
  ['r0 = -1', move('r0', -1), 'b7 00 0000 ffffffff'],
  ['r2 += -40', compute('add', 'r2', -40), '07 02 0000 d8ffffff'],
  ['r1 >>= 4', compute('shiftRight', 'r1', 4), '77 01 0000 04000000'],
  ['r2 /= r3', compute('divide', 'r2', 'r3'), '3f 32 0000 00000000'],
  ['r1 = be16 r1', fromNetworkOrder('r1', 16), 'dc 01 0000 10000000'],
  ['r1 = *(u8 *)(r10 - 144)', load(1, 'r1', 'r10', -144), '71 a1 70ff 00000000'],
  ['r1 = *(u16 *)(r6 + 16)', load(2, 'r1', 'r6', 16), '69 61 1000 00000000'],
  ['r1 = *(u32 *)(r6 + 164)', load(4, 'r1', 'r6', 164), '61 61 a400 00000000'],
  ['r1 = *(u64 *)(r9 + 32)', load(8, 'r1', 'r9', 32), '79 91 2000 00000000'],
  ['*(u64 *)(r10 - 8) = 0', store(8, 'r10', -8, 0), '7a 0a f8ff 00000000'],
  ['*(u32 *)(r10 - 200) = r1', store(4, 'r10', -200, 'r1'), '63 1a 38ff 00000000'],
  ['lock *(u64 *)(r9 + 8) += r1', atomicAdd('r9', 8, 'r1'), 'db 19 0800 00000000'],
  ['r1 = atomic_fetch_add((u64 *)(r9 + 0), r1)', atomicFetchAdd('r9', 0, 'r1'), 'db 19 0000 01000000'],
  ['lock *(u32 *)(r9 + 52) |= r1', atomicOr('r9', 52, 'r1'), 'c3 19 3400 40000000'],
  ['call 26', call(26), '85 00 0000 1a000000'],
  ['exit', exit(), '95 00 0000 00000000'],
];

describe('assemble', () => {
  it.skipIf(!HOST_IS_LITTLE_ENDIAN).each(INSTRUCTIONS)('writes %s', (_text, line, hex) => {
    expect(toHex(assemble([line]))).toBe(hex.replaceAll(' ', ''));
  });

  it.skipIf(!HOST_IS_LITTLE_ENDIAN)('writes a map as one instruction of twice the length', () => {
    expect(toHex(assemble(loadMap('r1', 7)))).toBe('18110000070000000000000000000000');
  });

  it.skipIf(!HOST_IS_LITTLE_ENDIAN)('counts jumps from the instruction after them, forward and back', () => {
    const program = assemble([
      label('start'),
      jumpIf('r1', '==', 6, 'end'),
      jumpIf('r1', 'has', 'r2', 'start'),
      ...loadMap('r1', 1),
      jump('start'),
      label('end'),
      exit(),
    ]);
    const distances = [0, 1, 4].map((index) => new DataView(program.buffer).getInt16(index * 8 + 2, true));
    expect(distances).toEqual([4, -2, -5]);
    expect([0, 1, 4].map((index) => program[index * 8])).toEqual([0x15, 0x4d, 0x05]);
  });

  it('refuses a jump to a label that is missing, and a label that is there twice', () => {
    expect(() => assemble([jump('nowhere')])).toThrow('there is no label nowhere');
    expect(() => assemble([label('here'), label('here')])).toThrow('the label here is there twice');
  });
});

function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
