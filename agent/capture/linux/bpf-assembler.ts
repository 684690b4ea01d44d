/**
 * A small assembler for eBPF (RFC 9669): a program is a list of lines that read like a listing, with labels to jump
 * to, and `assemble` gives the bytes that bpf(2) loads.
 *
 * What the machine is like: r0 holds results, r1 to r5 are the arguments of a helper call and gone after it, r6 to r9
 * stay, r10 is the end of a stack of 512 bytes. Arithmetic is on 64 bits.
 */
import { HOST_IS_LITTLE_ENDIAN } from './constants.ts';

const REGISTERS = ['r0', 'r1', 'r2', 'r3', 'r4', 'r5', 'r6', 'r7', 'r8', 'r9', 'r10'] as const;
export type Register = (typeof REGISTERS)[number];
/** A register's content, or a number of 32 bits, signed. */
export type Operand = Register | number;

/** RFC 9669, section 4.1. */
const ARITHMETIC = {
  add: 0x00,
  subtract: 0x10,
  multiply: 0x20,
  divide: 0x30,
  or: 0x40,
  and: 0x50,
  shiftLeft: 0x60,
  shiftRight: 0x70,
  xor: 0xa0,
  move: 0xb0,
} as const;
/** RFC 9669, section 4.3; comparisons are unsigned. */
const CONDITIONS = {
  '==': 0x10,
  '>': 0x20,
  '>=': 0x30,
  has: 0x40,
  '!=': 0x50,
  '<': 0xa0,
  '<=': 0xb0,
} as const;
/** RFC 9669, section 5: bytes of a load or store, to the size bits. */
const SIZES = { 1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18 } as const;

type Arithmetic = keyof typeof ARITHMETIC;
type Condition = keyof typeof CONDITIONS;
type Size = keyof typeof SIZES;

const CLASS_LOAD_IMMEDIATE = 0x18;
const CLASS_LOAD = 0x61;
const CLASS_STORE_IMMEDIATE = 0x62;
const CLASS_STORE = 0x63;
const CLASS_ATOMIC = 0xc3;
const CLASS_JUMP = 0x05;
const CLASS_ARITHMETIC = 0x07;
const SOURCE_REGISTER = 0x08;
const JUMP_CALL = 0x80;
const JUMP_EXIT = 0x90;
const TO_BIG_ENDIAN = 0xdc;
const ATOMIC_OR = 0x40;
const ATOMIC_ADD = 0x00;
const ATOMIC_FETCH = 0x01;
/** The immediate of a wide load is the descriptor of a map (linux/bpf.h). */
const BPF_PSEUDO_MAP_FD = 1;

const INSTRUCTION_BYTES = 8;

/** Helper functions (bpf-helpers(7)), by their number in `enum bpf_func_id` of linux/bpf.h. */
export const HELPER = {
  mapLookup: 1,
  mapUpdate: 2,
  mapDelete: 3,
  randomNumber: 7,
  loadPacketBytes: 26,
  mapPush: 87,
  coarseMonotonicTime: 160,
} as const;

interface Instruction {
  readonly opcode: number;
  readonly destination?: Register;
  readonly source?: Register | number;
  readonly offset?: number;
  readonly immediate?: number;
  /** The label to jump to, in place of `offset`. */
  readonly target?: string;
}

/** A line of a listing: an instruction or a label. */
export type Line = Instruction | { readonly label: string };

/** The place that jumps name. */
export function label(name: string): Line {
  return { label: name };
}

/** `register = register <operation> operand`. */
export function compute(operation: Arithmetic, register: Register, operand: Operand): Line {
  return withOperand(CLASS_ARITHMETIC | ARITHMETIC[operation], register, operand, {});
}

export function move(register: Register, operand: Operand): Line {
  return compute('move', register, operand);
}

/** Turns a number of 16 or 32 bits in network byte order, as loaded, into the machine's; the rest becomes zero. */
export function fromNetworkOrder(register: Register, bits: 16 | 32): Line {
  return { opcode: TO_BIG_ENDIAN, destination: register, immediate: bits };
}

/** Loads 1, 2, 4 or 8 bytes at `base + offset`. */
export function load(size: Size, register: Register, base: Register, offset: number): Line {
  return { opcode: CLASS_LOAD | SIZES[size], destination: register, source: base, offset };
}

/** Stores 1, 2, 4 or 8 bytes at `base + offset`. */
export function store(size: Size, base: Register, offset: number, operand: Operand): Line {
  return typeof operand === 'number'
    ? { opcode: CLASS_STORE_IMMEDIATE | SIZES[size], destination: base, offset, immediate: operand }
    : { opcode: CLASS_STORE | SIZES[size], destination: base, source: operand, offset };
}

/** Adds a register to 8 bytes in memory, for all processors at once. */
export function atomicAdd(base: Register, offset: number, register: Register): Line {
  return atomic(8, ATOMIC_ADD, base, offset, register);
}

/** As `atomicAdd`, and the register gets what was there before. */
export function atomicFetchAdd(base: Register, offset: number, register: Register): Line {
  return atomic(8, ATOMIC_ADD | ATOMIC_FETCH, base, offset, register);
}

/** Sets the bits of a register in 4 bytes in memory. */
export function atomicOr(base: Register, offset: number, register: Register): Line {
  return atomic(4, ATOMIC_OR, base, offset, register);
}

export function jump(target: string): Line {
  return { opcode: CLASS_JUMP, target };
}

/** Jumps when the comparison holds; `has` when they have a bit in common. */
export function jumpIf(register: Register, condition: Condition, operand: Operand, target: string): Line {
  return withOperand(CLASS_JUMP | CONDITIONS[condition], register, operand, { target });
}

/** Calls a helper with r1 to r5; r0 is its answer. */
export function call(helper: number): Line {
  return { opcode: CLASS_JUMP | JUMP_CALL, immediate: helper };
}

/** The address of a map, by its descriptor: an instruction of twice the length. */
export function loadMap(register: Register, fd: number): Line[] {
  return [
    { opcode: CLASS_LOAD_IMMEDIATE, destination: register, source: BPF_PSEUDO_MAP_FD, immediate: fd },
    { opcode: 0 },
  ];
}

/** Ends the program; r0 is its answer. */
export function exit(): Line {
  return { opcode: CLASS_JUMP | JUMP_EXIT };
}

/**
 * The program in the layout of `struct bpf_insn[]`.
 * @throws Error for a label that is missing or there twice: a mistake in the listing
 */
export function assemble(listing: readonly Line[]): Uint8Array {
  const places = new Map<string, number>();
  const instructions: Instruction[] = [];
  for (const line of listing) {
    if ('opcode' in line) instructions.push(line);
    else if (places.has(line.label)) throw new Error(`the label ${line.label} is there twice`);
    else places.set(line.label, instructions.length);
  }
  const bytes = new Uint8Array(instructions.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  instructions.forEach((instruction, index) => encode(view, index, instruction, places));
  return bytes;
}

function encode(
  view: DataView,
  index: number,
  { opcode, destination = 'r0', source = 0, offset = 0, immediate = 0, target }: Instruction,
  places: ReadonlyMap<string, number>,
): void {
  const at = index * INSTRUCTION_BYTES;
  const destinationBits = REGISTERS.indexOf(destination);
  const sourceBits = typeof source === 'number' ? source : REGISTERS.indexOf(source);
  view.setUint8(at, opcode);
  // The two halves of the byte are in the machine's order, too.
  view.setUint8(
    at + 1,
    HOST_IS_LITTLE_ENDIAN ? destinationBits | (sourceBits << 4) : (destinationBits << 4) | sourceBits,
  );
  view.setInt16(
    at + 2,
    target === undefined ? offset : distance(target, index, places),
    HOST_IS_LITTLE_ENDIAN,
  );
  view.setInt32(at + 4, immediate, HOST_IS_LITTLE_ENDIAN);
}

/** Jumps count from the instruction after them. */
function distance(target: string, index: number, places: ReadonlyMap<string, number>): number {
  const place = places.get(target);
  if (place === undefined) throw new Error(`there is no label ${target}`);
  return place - index - 1;
}

function withOperand(
  opcode: number,
  destination: Register,
  operand: Operand,
  rest: Pick<Instruction, 'target'>,
): Instruction {
  return typeof operand === 'number'
    ? { opcode, destination, immediate: operand, ...rest }
    : { opcode: opcode | SOURCE_REGISTER, destination, source: operand, ...rest };
}

function atomic(size: 4 | 8, operation: number, base: Register, offset: number, register: Register): Line {
  return {
    opcode: CLASS_ATOMIC | SIZES[size],
    destination: base,
    source: register,
    offset,
    immediate: operation,
  };
}
