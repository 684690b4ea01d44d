/** Changes inputs at random, in the ways in which packets and files go wrong or are made to. */

/** Numbers that headers branch on: versions, protocols, types, ports of tunnels, lengths at the edge. */
const BYTES = [
  0, 1, 2, 3, 4, 5, 6, 0x0f, 17, 41, 43, 44, 45, 47, 51, 60, 64, 69, 0x7f, 0x80, 97, 115, 137, 0xc2, 0xfe,
  0xff,
];
const WORDS = [
  0, 1, 3, 0x0800, 0x0806, 0x2000, 0x3000, 0x6558, 0x7fff, 0x8000, 0x8100, 0x86dd, 0x880b, 0x8847, 0x8864,
  0x88a8, 0x88be, 0x22eb, 0xaaaa, 0xffff, 0x6400, 1701, 2152, 3544, 4754, 4789, 4790, 5072, 6081, 6635, 8472,
  37_008,
];

/** The longest input that mutation makes of a shorter one. */
const MAX_GROWTH = 64;

export class Mutator {
  readonly #random: () => number;

  /** @param random numbers from 0 to 1, as of `Math.random` */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** A changed copy of the input, with pieces of another now and then. */
  mutate(input: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
    let bytes = Uint8Array.from(input);
    for (let changes = 1 + this.below(4); changes > 0; changes--) bytes = this.#change(bytes, other);
    return bytes;
  }

  #change(bytes: Uint8Array<ArrayBuffer>, other: Uint8Array): Uint8Array<ArrayBuffer> {
    const at = this.#place(bytes.length);
    switch (this.below(8)) {
      case 0:
        bytes[at] = this.below(256);
        return bytes;
      case 1:
        bytes[at] = this.pick(BYTES);
        return bytes;
      case 2:
        return setWord(bytes, at, this.pick(WORDS));
      case 3:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << this.below(8));
        return bytes;
      case 4:
        return bytes.slice(0, at);
      case 5:
        return join(bytes.subarray(0, at), bytes.subarray(at + this.below(MAX_GROWTH)));
      case 6:
        return join(bytes.subarray(0, at), this.#piece(bytes), bytes.subarray(at));
      default:
        return join(bytes.subarray(0, at), this.#piece(other), bytes.subarray(at));
    }
  }

  /** Headers are at the start: half of all changes fall on the first 128 bytes. */
  #place(length: number): number {
    return this.below(this.below(2) === 0 ? Math.min(length, 128) : length);
  }

  #piece(bytes: Uint8Array): Uint8Array {
    const start = this.below(bytes.length);
    return bytes.subarray(start, start + this.below(MAX_GROWTH));
  }
}

function setWord(bytes: Uint8Array<ArrayBuffer>, at: number, value: number): Uint8Array<ArrayBuffer> {
  bytes[at] = value >>> 8;
  if (at + 1 < bytes.length) bytes[at + 1] = value & 0xff;
  return bytes;
}

function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
