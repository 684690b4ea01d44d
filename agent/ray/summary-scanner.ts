/**
 * Picks the few values that are needed out of the dashboard's answer while it comes in. An answer about a thousand nodes has ten
 * megabytes or more, of which some 3 % are needed and the rest changes with every answer (load, memory, command lines): to parse
 * all of it costs ten times as much, most of it for collecting the garbage.
 *
 * What is skipped is followed by its strings and brackets only (RFC 8259), and what is picked is parsed by its reader.
 */

/** Bytes of a value that is picked. */
const MAX_VALUE_BYTES = 1024;
/** Bytes of a key that may be a wanted one. */
const MAX_KEY_BYTES = 64;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** What a byte outside of strings means where a value is skipped. */
const NOTHING = 0;
const STRING = 1;
const OPENING = 2;
const CLOSING = 3;
const SEPARATOR = 4;
const KINDS = new Uint8Array(256);
KINDS[QUOTE] = STRING;
KINDS[OPEN_BRACE] = KINDS[OPEN_BRACKET] = OPENING;
KINDS[CLOSE_BRACE] = KINDS[CLOSE_BRACKET] = CLOSING;
KINDS[COMMA] = SEPARATOR;

/** Containers on the way to a value, by their depth: `{"data": {"summary": [{"raylet": {WANTED: …}}]}}`. */
const ROOT = 0;
const ANSWER = 1;
const DATA = 2;
const SUMMARY = 3;
const ENTRY = 4;
const RAYLET = 5;

/** What comes next in a container on the way. */
type Expected = 'key' | 'colon' | 'value' | 'comma';
/** What the bytes at hand are part of: a container on the way, or something in it. */
type Inside = 'container' | 'key' | 'wanted' | 'wanted-string' | 'skipped' | 'skipped-string';

export class SummaryScanner {
  readonly #wanted: ReadonlySet<string>;
  readonly #keyLengths: ReadonlySet<number>;
  readonly #maxEntries: number;
  readonly #entries: string[] = [];
  #depth = ROOT;
  #expected: Expected = 'value';
  #inside: Inside = 'container';
  /** Open containers within the value that is skipped. */
  #skippedDepth = 0;
  #isEscaped = false;
  #key = '';
  readonly #bytes = Buffer.alloc(MAX_VALUE_BYTES);
  #length = 0;
  /** The wanted values of the entry at hand, as JSON. */
  #values = new Map<string, string>();
  #hasSummary = false;

  /**
   * @param wanted keys of an entry's `raylet` whose values, numbers and strings, are picked
   * @param maxEntries of the list
   */
  constructor(wanted: Iterable<string>, maxEntries: number) {
    this.#wanted = new Set(wanted);
    this.#keyLengths = new Set(['data', 'summary', 'raylet', ...this.#wanted].map(({ length }) => length));
    this.#maxEntries = maxEntries;
  }

  /** Takes the next bytes. @throws Error where they cannot be of such an answer, or exceed a bound */
  write(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.length) {
      switch (this.#inside) {
        case 'skipped':
        case 'skipped-string':
          offset = this.#skip(chunk, offset);
          break;
        case 'key':
        case 'wanted-string':
          offset = this.#readString(chunk, offset);
          break;
        case 'wanted':
          offset = this.#readScalar(chunk, offset);
          break;
        case 'container':
          offset = this.#readContainer(chunk, offset);
      }
    }
  }

  /** The wanted part of each entry's `raylet`, as the text of a JSON object. @throws Error where the answer is not complete */
  end(): readonly string[] {
    if (!this.#hasSummary || this.#depth !== ROOT || this.#inside !== 'container')
      throw new Error('expected JSON of {"data": {"summary": [...]}}, got something else or a part of it');
    return this.#entries;
  }

  /** Follows the value that nobody wants to its end. These loops see nearly all bytes. */
  #skip(chunk: Uint8Array, begin: number): number {
    const { length } = chunk;
    let offset = this.#isEscaped ? begin + 1 : begin;
    let depth = this.#skippedDepth;
    let isString = this.#inside === 'skipped-string';
    this.#isEscaped = false;
    for (;;) {
      if (isString) {
        let byte = 0;
        while (offset < length && (byte = chunk[offset++] as number) !== QUOTE)
          if (byte === BACKSLASH) offset++;
        if (byte !== QUOTE) break;
        isString = false;
        if (depth === 0) return this.#endSkipped(offset);
      }
      let kind = NOTHING;
      while (offset < length && (kind = KINDS[chunk[offset++] as number] as number) === NOTHING);
      if (kind === NOTHING) break;
      if (kind === STRING) isString = true;
      else if (kind === OPENING) depth++;
      // A number ends with what follows it.
      else if (depth === 0) return this.#endSkipped(offset - 1);
      else if (kind === CLOSING && --depth === 0) return this.#endSkipped(offset);
    }
    // The last byte was a backslash: what it stands for comes with the next bytes.
    this.#isEscaped = offset > length;
    this.#skippedDepth = depth;
    this.#inside = isString ? 'skipped-string' : 'skipped';
    return length;
  }

  #endSkipped(offset: number): number {
    this.#skippedDepth = 0;
    this.#endValue();
    return offset;
  }

  #endValue(): void {
    this.#inside = 'container';
    this.#expected = 'comma';
  }

  /**
   * Reads a key, or a wanted string with its quotes. One that is whole and has no escapes, as nearly all, is not read byte by
   * byte; of a key of a length that no wanted one has not even text is made.
   */
  #readString(chunk: Uint8Array, begin: number): number {
    let offset = begin;
    if (this.#inside === 'key' && this.#length === 0 && !this.#isEscaped) {
      const end = endOfPlainString(chunk, begin);
      if (end !== -1) {
        this.#key = this.#keyLengths.has(end - begin) ? textOf(chunk, begin, end) : '';
        this.#inside = 'container';
        this.#expected = 'colon';
        return end + 1;
      }
    }
    while (offset < chunk.length) {
      const byte = chunk[offset++] as number;
      const isEnd = byte === QUOTE && !this.#isEscaped;
      this.#isEscaped = byte === BACKSLASH && !this.#isEscaped;
      if (this.#inside === 'wanted-string' || !isEnd) this.#keep(byte);
      if (!isEnd) continue;
      if (this.#inside === 'wanted-string') this.#endWanted();
      else this.#endKey();
      return offset;
    }
    return offset;
  }

  #endKey(): void {
    this.#key = this.#length > MAX_KEY_BYTES ? '' : this.#bytes.toString('latin1', 0, this.#length);
    this.#inside = 'container';
    this.#expected = 'colon';
  }

  /** Reads a number, `true`, `false` or `null`, up to what ends it. */
  #readScalar(chunk: Uint8Array, begin: number): number {
    let offset = begin;
    while (offset < chunk.length) {
      const byte = chunk[offset] as number;
      if (byte === COMMA || byte === CLOSE_BRACE || isSpace(byte)) {
        this.#endWanted();
        return offset;
      }
      this.#keep(byte);
      offset++;
    }
    return offset;
  }

  #endWanted(): void {
    // As in JSON.parse, of two values with the same key the later one counts.
    this.#values.set(this.#key, this.#bytes.toString('utf8', 0, this.#length));
    this.#endValue();
  }

  /** A key that is too long is none that is wanted; a value that is too long would be a wrong one. */
  #keep(byte: number): void {
    if (this.#length < MAX_VALUE_BYTES) this.#bytes[this.#length++] = byte;
    else if (this.#inside !== 'key') throw new Error(`a value of more than ${MAX_VALUE_BYTES} bytes`);
  }

  #readContainer(chunk: Uint8Array, begin: number): number {
    const byte = chunk[begin] as number;
    if (isSpace(byte)) return begin + 1;
    const isList = this.#depth === SUMMARY;
    if (this.#expected === 'value' && !(isList && byte === CLOSE_BRACKET))
      return this.#beginValue(byte, begin);
    if (this.#depth === ROOT) throw unexpected(byte);
    if (byte === (isList ? CLOSE_BRACKET : CLOSE_BRACE) && this.#expected !== 'colon') this.#close();
    else if (this.#expected === 'comma' && byte === COMMA) this.#expected = isList ? 'value' : 'key';
    else if (this.#expected === 'colon' && byte === COLON) this.#expected = 'value';
    else if (this.#expected === 'key' && byte === QUOTE) this.#begin('key');
    else throw unexpected(byte);
    return begin + 1;
  }

  #beginValue(byte: number, begin: number): number {
    if (byte === COMMA || byte === COLON || byte === CLOSE_BRACE || byte === CLOSE_BRACKET)
      throw unexpected(byte);
    if (byte === (this.#depth === DATA ? OPEN_BRACKET : OPEN_BRACE) && this.#isOnTheWay()) {
      this.#open();
      return begin + 1;
    }
    if (this.#depth === RAYLET && this.#wanted.has(this.#key)) {
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) throw unexpected(byte);
      this.#begin(byte === QUOTE ? 'wanted-string' : 'wanted');
      if (byte !== QUOTE) return begin;
      this.#keep(byte);
      return begin + 1;
    }
    this.#begin('skipped');
    return begin;
  }

  #begin(inside: Inside): void {
    this.#inside = inside;
    this.#length = 0;
  }

  /** Whether the value that begins in the container at hand leads to what is wanted. */
  #isOnTheWay(): boolean {
    switch (this.#depth) {
      case ROOT:
      case SUMMARY:
        return true;
      case ANSWER:
        return this.#key === 'data';
      case DATA:
        return this.#key === 'summary';
      case ENTRY:
        return this.#key === 'raylet';
      default:
        return false;
    }
  }

  #open(): void {
    this.#depth++;
    this.#expected = this.#depth === SUMMARY ? 'value' : 'key';
    if (this.#depth === SUMMARY) {
      this.#hasSummary = true;
      this.#entries.length = 0;
    }
    if (this.#depth === ENTRY || this.#depth === RAYLET) this.#values.clear();
  }

  #close(): void {
    this.#depth--;
    this.#endValue();
    if (this.#depth !== SUMMARY) return;
    if (this.#entries.length >= this.#maxEntries) throw new Error(`more than ${this.#maxEntries} entries`);
    const values = [...this.#values].map(([key, value]) => `"${key}":${value}`);
    this.#entries.push(`{${values.join(',')}}`);
  }
}

/** Where the quote is that ends the string; -1 where it has escapes, or goes on in the next bytes. */
function endOfPlainString(chunk: Uint8Array, begin: number): number {
  for (let offset = begin; offset < chunk.length; offset++) {
    const byte = chunk[offset] as number;
    if (byte === QUOTE) return offset;
    if (byte === BACKSLASH) return -1;
  }
  return -1;
}

function textOf(chunk: Uint8Array, begin: number, end: number): string {
  return Buffer.from(chunk.buffer, chunk.byteOffset + begin, end - begin).toString('latin1');
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function unexpected(byte: number): Error {
  return new Error(
    `expected JSON of {"data": {"summary": [...]}}, got ${JSON.stringify(String.fromCharCode(byte))}`,
  );
}
