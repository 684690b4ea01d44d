/** ASCII text put together as bytes, for lists of many lines: no string is made of it. */

const DIGIT_0 = 0x30;
/** Numbers of up to nine digits are written by whole-number arithmetic. */
const LARGEST_SHORT_NUMBER = 999_999_999;
const WORD_BYTES = 4;

/** Text that is written again and again. */
export class FixedText {
  /** Big-endian, and longer than the text by up to three bytes. */
  readonly words: Int32Array;
  readonly length: number;

  /** @param text ASCII only */
  constructor(text: string) {
    this.length = text.length;
    this.words = new Int32Array(Math.ceil(text.length / WORD_BYTES));
    const view = new DataView(new ArrayBuffer(this.words.length * WORD_BYTES));
    for (let index = 0; index < text.length; index++) view.setUint8(index, text.charCodeAt(index));
    for (let index = 0; index < this.words.length; index++)
      this.words[index] = view.getInt32(index * WORD_BYTES);
  }
}

/** Writes one text behind the other. Who writes knows that there is room: nothing grows here. */
export class AsciiWriter {
  /** Bytes written so far. */
  length = 0;
  #bytes: Buffer;
  #view: DataView;

  /** @param size bytes that there is room for: three more than the text will need */
  constructor(size: number) {
    this.#bytes = Buffer.allocUnsafe(size);
    this.#view = viewOf(this.#bytes);
  }

  /** What was written; the caller may keep it, the writer goes on in new memory. */
  take(): Buffer {
    const written = this.#bytes.subarray(0, this.length);
    this.#bytes = Buffer.allocUnsafe(this.#bytes.length);
    this.#view = viewOf(this.#bytes);
    this.length = 0;
    return written;
  }

  /** Four bytes at a time: those that are too many are overwritten by what comes next. */
  fixed({ words, length }: FixedText): void {
    const view = this.#view;
    let end = this.length;
    for (let index = 0; index < words.length; index++) {
      view.setInt32(end, words[index] as number);
      end += WORD_BYTES;
    }
    this.length += length;
  }

  /** Short text, ASCII only. */
  text(text: string): void {
    const bytes = this.#bytes;
    const start = this.length;
    for (let index = 0; index < text.length; index++) bytes[start + index] = text.charCodeAt(index);
    this.length = start + text.length;
  }

  /** Any text, as UTF-8. */
  utf8(text: string): void {
    this.length += this.#bytes.write(text, this.length);
  }

  /** A whole number that is not negative. */
  number(value: number): void {
    if (value > LARGEST_SHORT_NUMBER) {
      this.text(String(value));
      return;
    }
    let digits = 1;
    for (let limit = 10; value >= limit; limit *= 10) digits++;
    this.digits(value, digits);
  }

  /** Exactly so many digits of a number below 2^31. */
  digits(value: number, digits: number): void {
    const bytes = this.#bytes;
    let rest = value | 0;
    for (let index = this.length + digits - 1; index >= this.length; index--) {
      const quotient = (rest / 10) | 0;
      bytes[index] = DIGIT_0 + rest - quotient * 10;
      rest = quotient;
    }
    this.length += digits;
  }
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
