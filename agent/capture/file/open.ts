/**
 * A capture file as a packet source: classic pcap or pcapng, plain or packed with gzip or zstd, from a path or from standard
 * input. A file of any size takes the same MiB or two: one buffer, one view of it, and parsing in place. Only a longer
 * record takes more, as its bytes come.
 */
import { open } from 'node:fs/promises';
import { FileBytes, PipeBytes, StreamBytes, ToldBytes, type ByteSource } from './byte-source.ts';
import { CaptureFault, MAX_RECORD_BYTES, type CaptureFormat } from './format.ts';
import { packingOf, UnpackedBytes } from './unpack.ts';
import { PcapFormat, isPcapMagic } from './pcap.ts';
import { PcapngFormat, isPcapngMagic } from './pcapng.ts';
import type { CaptureCounters, FrameSink, PacketSource } from '../source.ts';
import { PlasmawatchError, messageOf, systemCodeOf } from '../../../common/errors.ts';

/** The paths that stand for standard input. */
const STDIN_PATHS: ReadonlySet<string> = new Set(['-', '/dev/stdin']);

/**
 * What is read at a time: little enough to be in the processor's cache when it is parsed, which takes 10 ns a packet
 * less than with 4 MiB; much less, and the calls weigh in.
 */
const READ_BYTES = 512 * 1024;

/** Records are shorter than 1 MiB, nearly always: one of them, and a read after it. */
const BUFFER_BYTES = 1024 * 1024 + READ_BYTES;
/** The longest record, and a read after it. */
const LARGEST_BUFFER_BYTES = MAX_RECORD_BYTES + READ_BYTES;

/** Bytes that tell the format. */
const MAGIC_LENGTH = 4;

interface CaptureFileOptions {
  /** What the paths `-` and `/dev/stdin` read. */
  readonly stdin?: NodeJS.ReadableStream;
  /** Takes the number of bytes of each read, as they are in the file: packed, where it is packed. */
  readonly onRead?: (bytes: number) => void;
}

/**
 * A source that reads a capture file from start to end. Nothing is opened before `run`, which rejects with
 * - PW_FILE_UNREADABLE when the file cannot be opened or read,
 * - PW_NOT_A_CAPTURE when it is no capture,
 * - PW_CAPTURE_UNSUPPORTED when it is of a version or packing that we do not read,
 * - PW_CAPTURE_TRUNCATED when it ends within a record,
 * - PW_CAPTURE_CORRUPT when its lengths contradict each other,
 *
 * each after all frames before the fault have been delivered.
 *
 * @param path a file, or `-` or `/dev/stdin` for standard input
 */
export function openCaptureFile(path: string, options: CaptureFileOptions = {}): PacketSource {
  return new CaptureFile(path, options);
}

class CaptureFile implements PacketSource {
  readonly name = 'file';
  readonly #path: string;
  readonly #stdin: NodeJS.ReadableStream | undefined;
  readonly #onRead: ((bytes: number) => void) | undefined;
  #input: ByteSource | undefined = undefined;
  #format: CaptureFormat | undefined = undefined;
  #isStopped = false;
  /** Delivers the frames that are there, where nothing more will come. */
  #deliverRest = (): void => {};

  constructor(path: string, { stdin, onRead }: CaptureFileOptions) {
    this.#path = path;
    this.#stdin = stdin;
    this.#onRead = onRead;
  }

  async run(sink: FrameSink): Promise<void> {
    if (this.#input !== undefined) throw new Error('a capture file runs once');
    const buffer = new Uint8Array(BUFFER_BYTES);
    const input = await this.#open();
    this.#input = this.#onRead === undefined ? input : new ToldBytes(input, this.#onRead);
    try {
      const length = await this.#readHead(buffer);
      if (!this.#isStopped) await this.#readRecords(buffer, length, sink);
    } finally {
      await this.#input.close();
    }
  }

  stop(): void {
    this.#isStopped = true;
    // Ends a read that waits for a quiet stream. `run` closes again, and there a failure is told.
    this.#input?.close().catch(() => {});
  }

  counters(): CaptureCounters {
    return { received: this.#format?.packets ?? 0, dropped: null, overflowed: 0 };
  }

  setPorts(): void {}

  wantPackets(): void {}

  wantFirstPackets(): void {}

  interfaceName(index: number): string | undefined {
    return this.#format?.interfaceName(index);
  }

  /** What messages call the file. */
  get #subject(): string {
    return STDIN_PATHS.has(this.#path) ? 'standard input' : this.#path;
  }

  async #open(): Promise<ByteSource> {
    if (STDIN_PATHS.has(this.#path)) {
      if (this.#stdin === undefined) throw new Error('no standard input was given');
      return new StreamBytes(this.#stdin);
    }
    try {
      const handle = await open(this.#path, 'r');
      return (await handle.stat()).isFile() ? new FileBytes(handle) : new PipeBytes(handle);
    } catch (error) {
      throw unreadable(this.#subject, error);
    }
  }

  /** Reads the bytes that tell the format, and unpacks from there on if need be; returns how many are in the buffer. */
  async #readHead(buffer: Uint8Array): Promise<number> {
    let length = await this.#fill(buffer, 0, MAGIC_LENGTH);
    const packing = length < MAGIC_LENGTH ? undefined : packingOf(viewOf(buffer).getUint32(0));
    if (packing !== undefined && this.#input !== undefined) {
      const { name, createUnpacker } = packing;
      if (createUnpacker === undefined)
        throw packed(this.#subject, name, 'Node 22.15 and later read it as it is');
      this.#input = new UnpackedBytes({ name, createUnpacker }, buffer.slice(0, length), this.#input);
      length = await this.#fill(buffer, 0, MAGIC_LENGTH);
    }
    if (!this.#isStopped) this.#format = recognize(viewOf(buffer), length, this.#subject);
    return length;
  }

  async #readRecords(firstBuffer: Uint8Array, headLength: number, sink: FrameSink): Promise<void> {
    const format = this.#format;
    if (format === undefined) return;
    let buffer = firstBuffer;
    let view = viewOf(buffer);
    let end = headLength;
    /** Where the buffer's first byte stands in the file. */
    let bufferOffset = 0;
    try {
      const deliver = (isEnd: boolean): void => {
        const before = format.packets;
        const next = format.parse(view, 0, end, sink, isEnd);
        if (!isEnd || format.packets > before) sink.blockEnd();
        buffer.copyWithin(0, next, end);
        end -= next;
        bufferOffset += next;
      };
      this.#deliverRest = () => deliver(true);
      while (!this.#isStopped) {
        deliver(false);
        const size = sizeFor(end, buffer.length);
        if (size !== buffer.length) {
          buffer = resized(buffer, end, size);
          view = viewOf(buffer);
        }
        const filled = await this.#fill(buffer, end, end + 1);
        if (filled === end) break;
        end = filled;
      }
      if (!this.#isStopped) deliver(true);
      if (!this.#isStopped) format.finish(view, 0, end);
    } catch (error) {
      if (!(error instanceof CaptureFault)) throw error;
      sink.blockEnd();
      const place = `at byte ${bufferOffset + error.position}, after packet ${format.packets}`;
      throw new PlasmawatchError(error.code, `${this.#subject}: ${error.message} (${place})`, {
        operation: 'read',
        subject: this.#subject,
      });
    }
  }

  /** Reads until the buffer holds `wanted` bytes or the input ends; returns how many it holds. */
  async #fill(buffer: Uint8Array, length: number, wanted: number): Promise<number> {
    let end = length;
    while (end < wanted && !this.#isStopped) {
      const count = await this.#read(buffer.subarray(end, end + READ_BYTES));
      if (count === 0) break;
      end += count;
    }
    return end;
  }

  async #read(target: Uint8Array): Promise<number> {
    try {
      return (await this.#input?.read(target)) ?? 0;
    } catch (error) {
      if (this.#isStopped) return 0;
      this.#deliverRest();
      if (!(error instanceof PlasmawatchError)) throw unreadable(this.#subject, error);
      const place = `after packet ${this.#format?.packets ?? 0}`;
      throw new PlasmawatchError(error.code, `${this.#subject}: ${error.message} (${place})`, {
        operation: 'read',
        subject: this.#subject,
        cause: error,
      });
    }
  }
}

/**
 * The size of the buffer for the next read: twice as large where a record fills it, so that what a record only claims to be
 * takes no memory; as at first where the rest of a long record is no more than usual.
 */
function sizeFor(usedBytes: number, sizeBytes: number): number {
  if (usedBytes === sizeBytes) return Math.min(sizeBytes * 2, LARGEST_BUFFER_BYTES);
  return usedBytes <= READ_BYTES ? BUFFER_BYTES : sizeBytes;
}

/** A buffer of this size with the first bytes of another one. */
function resized(buffer: Uint8Array, usedBytes: number, sizeBytes: number): Uint8Array {
  const next = new Uint8Array(sizeBytes);
  next.set(buffer.subarray(0, usedBytes));
  return next;
}

function viewOf(buffer: Uint8Array): DataView {
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** What packs files, by the first bytes, and is not unpacked here. */
const PACKINGS: readonly { readonly magic: number; readonly mask: number; readonly name: string }[] = [
  { magic: 0xfd37_7a58, mask: 0xffff_ffff, name: 'xz' },
  { magic: 0x0422_4d18, mask: 0xffff_ffff, name: 'lz4' },
  { magic: 0x504b_0304, mask: 0xffff_ffff, name: 'zip' },
  { magic: 0x425a_6800, mask: 0xffff_ff00, name: 'bzip2' },
];

/** Captures of other formats, by the first bytes: not read, and called by their name. */
const OTHER_FORMATS: readonly { readonly magic: number; readonly name: string }[] = [
  { magic: 0x6970_7472, name: "AIX's iptrace" },
  { magic: 0x736e_6f6f, name: "Solaris' snoop" },
  { magic: 0x5452_0064, name: "HP-UX's nettl" },
  { magic: 0x474d_4255, name: "Microsoft's Network Monitor" },
  { magic: 0x5254_5353, name: "Microsoft's Network Monitor" },
  { magic: 0x5452_534e, name: "Network General's Sniffer" },
  { magic: 0x5843_5000, name: 'NetXRay' },
  { magic: 0x1c00_01ac, name: "Ixia's lcap" },
  { magic: 0xac01_001c, name: "Ixia's lcap" },
  { magic: 0x1c00_01ab, name: "Ixia's lcap" },
  { magic: 0xab01_001c, name: "Ixia's lcap" },
];

/** The parser for a file that begins with these bytes. */
function recognize(view: DataView, length: number, subject: string): CaptureFormat {
  const details = { operation: 'read', subject };
  if (length === 0) throw new PlasmawatchError('PW_NOT_A_CAPTURE', `${subject}: the file is empty`, details);
  if (length < MAGIC_LENGTH) {
    const message = `${subject}: not a capture file: it has ${length} of the first ${MAGIC_LENGTH} bytes`;
    throw new PlasmawatchError('PW_NOT_A_CAPTURE', message, details);
  }
  const magic = view.getUint32(0);
  if (isPcapMagic(magic)) return new PcapFormat();
  if (isPcapngMagic(magic)) return new PcapngFormat();
  const packing = PACKINGS.find((known) => (magic & known.mask) >>> 0 === known.magic);
  if (packing !== undefined) throw packed(subject, packing.name, 'gzip is read as it is');
  const other = OTHER_FORMATS.find((known) => known.magic === magic);
  if (other !== undefined) {
    const message = `${subject}: a capture of ${other.name}: convert it to pcapng first (editcap of Wireshark does)`;
    throw new PlasmawatchError('PW_CAPTURE_UNSUPPORTED', message, details);
  }
  const hex = magic.toString(16).padStart(8, '0');
  const message = `${subject}: neither pcap nor pcapng: it begins with ${hex}`;
  throw new PlasmawatchError('PW_NOT_A_CAPTURE', message, details);
}

function packed(subject: string, name: string, hint: string): PlasmawatchError {
  const message = `${subject}: the file is packed with ${name}: unpack it first (${hint})`;
  return new PlasmawatchError('PW_CAPTURE_UNSUPPORTED', message, { operation: 'read', subject });
}

function unreadable(subject: string, error: unknown): PlasmawatchError {
  const code = systemCodeOf(error);
  const reason = (code === undefined ? undefined : REASONS[code]) ?? messageOf(error);
  return new PlasmawatchError('PW_FILE_UNREADABLE', `${subject}: ${reason}`, {
    operation: 'read',
    subject,
    cause: error,
  });
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'is a directory, not a file',
};
