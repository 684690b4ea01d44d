/**
 * Maps and programs of the kernel's eBPF machine: bpf(2). Each owns a descriptor until `close`; what the kernel refuses
 * is raised with the code PW_SYSTEM_CALL, EPERM without CAP_BPF.
 */
import { messageOf, PlasmawatchError, systemCodeOf } from '../../../common/errors.ts';
import * as linux from './constants.ts';
import type { Libc, Mapping } from './libc.ts';

/** What the verifier says is long; the reason stands at its end. */
const LOG_BYTES = 1024 * 1024;
const LOG_TAIL_CHARACTERS = 600;
const LOAD_ATTEMPTS = 10;
/** What the position in a hash table is to the kernel: a bucket's number. */
const POSITION_BYTES = 4;

export interface MapShape {
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
}

/**
 * One map. Keys and values are written to and read from `key` and `value`, which the kernel shares. A queue has keys of
 * size 0, and `take` gives its oldest value.
 */
export class BpfMap {
  readonly fd: number;
  /** The key of the next call. */
  readonly key: DataView;
  /** The value that the next call stores, or the last one has read. */
  readonly value: DataView;
  readonly #libc: Libc;
  readonly #memory: Mapping;
  readonly #attributes: Uint8Array;

  constructor(libc: Libc, { type, keySize, valueSize, maxEntries }: MapShape) {
    const layout = linux.BPF_ATTR_MAP_CREATE;
    const attributes = new Uint8Array(layout.size);
    const view = new DataView(attributes.buffer);
    set32(view, layout.mapType, type);
    set32(view, layout.keySize, keySize);
    set32(view, layout.valueSize, valueSize);
    set32(view, layout.maxEntries, maxEntries);
    this.#libc = libc;
    this.fd = libc.bpf(linux.BPF_COMMAND.BPF_MAP_CREATE, attributes, 'create map');
    const valueOffset = align8(keySize);
    this.#memory = libc.allocate(valueOffset + valueSize);
    this.key = new DataView(this.#memory.bytes, 0, keySize);
    this.value = new DataView(this.#memory.bytes, valueOffset, valueSize);
    const { address } = this.#memory;
    // Where there is no key, there must be no address of one.
    this.#attributes = elementAttributes(
      this.fd,
      keySize === 0 ? 0n : address,
      address + BigInt(valueOffset),
    );
  }

  /** Reads the value of `key`. Whether there is one. */
  lookUp(): boolean {
    return this.#call(linux.BPF_COMMAND.BPF_MAP_LOOKUP_ELEM, 'read map');
  }

  /** Stores `value` under `key`. */
  update(): void {
    this.#call(linux.BPF_COMMAND.BPF_MAP_UPDATE_ELEM, 'write map');
  }

  /** Removes `key` and reads what its value was at the end (hash tables: Linux 5.14). Whether it was there. */
  take(): boolean {
    return this.#call(linux.BPF_COMMAND.BPF_MAP_LOOKUP_AND_DELETE_ELEM, 'take from map');
  }

  close(): void {
    this.#memory.unmap();
    this.#libc.close(this.fd);
  }

  /** False when the key is not there. */
  #call(command: number, operation: string): boolean {
    return this.#libc.bpfFinds(command, this.#attributes, operation);
  }
}

/** Reads a hash map from its start to its end, a batch of entries a call (Linux 5.6). */
export class BatchReader {
  readonly keys: DataView;
  readonly values: DataView;
  readonly #libc: Libc;
  readonly #memory: Mapping;
  readonly #attributes = new Uint8Array(linux.BPF_ATTR_BATCH.size);
  readonly #view = new DataView(this.#attributes.buffer);
  readonly #batchEntries: number;
  readonly #positionAddress: bigint;
  #isAtStart = true;

  /** @param batchEntries the most of a call; more than any bucket has */
  constructor(libc: Libc, map: BpfMap, batchEntries: number) {
    const keysLength = align8(map.key.byteLength * batchEntries);
    const valuesLength = align8(map.value.byteLength * batchEntries);
    this.#libc = libc;
    this.#batchEntries = batchEntries;
    this.#memory = libc.allocate(keysLength + valuesLength + POSITION_BYTES);
    this.keys = new DataView(this.#memory.bytes, 0, keysLength);
    this.values = new DataView(this.#memory.bytes, keysLength, valuesLength);
    const { address } = this.#memory;
    const layout = linux.BPF_ATTR_BATCH;
    this.#positionAddress = address + BigInt(keysLength + valuesLength);
    setPointer(this.#view, layout.outBatch, this.#positionAddress);
    setPointer(this.#view, layout.keys, address);
    setPointer(this.#view, layout.values, address + BigInt(keysLength));
    set32(this.#view, layout.mapFd, map.fd);
  }

  /**
   * Reads the next entries into `keys` and `values`. Entries that are there all the time come exactly once from start
   * to end. After the end the next call starts anew.
   */
  read(): { count: number; isEnd: boolean } {
    const layout = linux.BPF_ATTR_BATCH;
    setPointer(this.#view, layout.inBatch, this.#isAtStart ? 0n : this.#positionAddress);
    set32(this.#view, layout.count, this.#batchEntries);
    const command = linux.BPF_COMMAND.BPF_MAP_LOOKUP_BATCH;
    const isEnd = !this.#libc.bpfFinds(command, this.#attributes, 'read map in batches');
    this.#isAtStart = isEnd;
    return { count: this.#view.getUint32(layout.count, linux.HOST_IS_LITTLE_ENDIAN), isEnd };
  }

  close(): void {
    this.#memory.unmap();
  }
}

/**
 * Loads a socket filter and gives its descriptor, which the caller closes.
 * @throws PlasmawatchError with the verifier's last words where it refuses the program
 */
export function loadSocketFilter(libc: Libc, program: Uint8Array): number {
  const license = new TextEncoder().encode('Apache-2.0\0');
  const layout = linux.BPF_ATTR_PROG_LOAD;
  const memory = libc.allocate(LOG_BYTES + program.length + license.length);
  try {
    const bytes = new Uint8Array(memory.bytes);
    bytes.set(program, LOG_BYTES);
    bytes.set(license, LOG_BYTES + program.length);
    const attributes = new Uint8Array(layout.size);
    const view = new DataView(attributes.buffer);
    set32(view, layout.progType, linux.BPF_PROG_TYPE_SOCKET_FILTER);
    set32(view, layout.instructionCount, program.length / 8);
    setPointer(view, layout.instructions, memory.address + BigInt(LOG_BYTES));
    setPointer(view, layout.license, memory.address + BigInt(LOG_BYTES + program.length));
    try {
      return loadPatiently(libc, attributes);
    } catch (error) {
      if (systemCodeOf(causeOf(error)) === 'EPERM') throw error;
      // The log costs time: it is asked for only when there is something to tell.
      set32(view, layout.logLevel, 1);
      set32(view, layout.logSize, LOG_BYTES);
      setPointer(view, layout.logBuffer, memory.address);
      return loadAndExplain(libc, attributes, bytes);
    }
  } finally {
    memory.unmap();
  }
}

/** The verifier gives up (EAGAIN) when a signal comes meanwhile, such as those of a profiler. */
function loadPatiently(libc: Libc, attributes: Uint8Array): number {
  for (let attempt = 1; ; attempt++) {
    try {
      return libc.bpf(linux.BPF_COMMAND.BPF_PROG_LOAD, attributes, 'load program');
    } catch (error) {
      if (systemCodeOf(causeOf(error)) !== 'EAGAIN' || attempt === LOAD_ATTEMPTS) throw error;
    }
  }
}

/** Tries once more, with the verifier's log in `memory`. */
function loadAndExplain(libc: Libc, attributes: Uint8Array, memory: Uint8Array): number {
  try {
    return loadPatiently(libc, attributes);
  } catch (error) {
    const log = new TextDecoder().decode(memory.subarray(0, memory.subarray(0, LOG_BYTES).indexOf(0)));
    const tail = log
      .trim()
      .slice(-LOG_TAIL_CHARACTERS)
      .replaceAll(/\s*\n\s*/g, ' | ');
    throw new PlasmawatchError('PW_SYSTEM_CALL', `${messageOf(error)}; the verifier says: ${tail}`, {
      operation: 'load program',
      subject: 'bpf',
      cause: causeOf(error),
    });
  }
}

function elementAttributes(fd: number, key: bigint, value: bigint): Uint8Array {
  const layout = linux.BPF_ATTR_ELEMENT;
  const attributes = new Uint8Array(layout.size);
  const view = new DataView(attributes.buffer);
  set32(view, layout.mapFd, fd);
  setPointer(view, layout.key, key);
  setPointer(view, layout.value, value);
  return attributes;
}

function causeOf(error: unknown): unknown {
  return error instanceof PlasmawatchError ? error.cause : undefined;
}

function align8(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function set32(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value, linux.HOST_IS_LITTLE_ENDIAN);
}

function setPointer(view: DataView, offset: number, address: bigint): void {
  view.setBigUint64(offset, address, linux.HOST_IS_LITTLE_ENDIAN);
}
