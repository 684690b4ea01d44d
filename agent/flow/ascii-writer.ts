/** ASCII text put together as bytes, for lists of many lines: no string is made of it. */

const WORD_BYTES = 4;
const DIGIT_0 = 0x30;
const POINT = 0x2e;
/** Numbers below are written by whole-number arithmetic. */
const LONG_NUMBER = 1_000_000_000;

/** Text that is written again and again. */
export class FixedText {
  /** Big-endian, and longer than the text by up to three bytes. */
  readonly words: Int32Array;
  readonly length: number;

  /** @param text ASCII only */
  constructor(text: string) {
    this.length = text.length;
    this.words = new Int32Array(Math.ceil(text.length / WORD_BYTES));
    for (let index = 0; index < text.length; index++) {
      const shift = 8 * (WORD_BYTES - 1 - (index % WORD_BYTES));
      (this.words[Math.floor(index / WORD_BYTES)] as number) |= text.charCodeAt(index) << shift;
    }
  }
}

/** The numbers below 1,000 as a word of text, without zeros in front; a point behind fills it up. */
const SHORT_NUMBERS = new Int32Array(1000);
/** The same with zeros in front. */
const THREE_DIGITS = new Int32Array(1000);
for (let number = 0; number < 1000; number++) {
  const hundreds = DIGIT_0 + Math.floor(number / 100);
  const tens = DIGIT_0 + (Math.floor(number / 10) % 10);
  const ones = DIGIT_0 + (number % 10);
  const digits = (hundreds << 24) | (tens << 16) | (ones << 8) | POINT;
  THREE_DIGITS[number] = digits;
  SHORT_NUMBERS[number] = number < 10 ? digits << 16 : number < 100 ? digits << 8 : digits;
}

/**
 * Writes one text behind the other. Who writes knows that there is room: nothing grows here. Four bytes are written at
 * a time: those that are too many are overwritten by what comes next.
 */
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
    if (value >= LONG_NUMBER) {
      this.text(String(value));
      return;
    }
    const whole = value | 0;
    const thousands = (whole / 1000) | 0;
    if (thousands === 0) {
      this.#short(whole);
      return;
    }
    const millions = (thousands / 1000) | 0;
    if (millions === 0) {
      this.#short(thousands);
    } else {
      this.#short(millions);
      this.#threeDigits(thousands - millions * 1000);
    }
    this.#threeDigits(whole - thousands * 1000);
  }

  /** Exactly nine digits of a number below 10^9. */
  nineDigits(value: number): void {
    const thousands = (value / 1000) | 0;
    const millions = (thousands / 1000) | 0;
    this.#threeDigits(millions);
    this.#threeDigits(thousands - millions * 1000);
    this.#threeDigits(value - thousands * 1000);
  }

  /** An IPv4 address: four bytes, the first in the upper bits. */
  ipv4(address: number): void {
    for (let shift = 24; shift > 0; shift -= 8) {
      this.#short((address >>> shift) & 0xff);
      // The point is there already.
      this.length++;
    }
    this.#short(address & 0xff);
  }

  #short(number: number): void {
    this.#view.setInt32(this.length, SHORT_NUMBERS[number] as number);
    this.length += number < 10 ? 1 : number < 100 ? 2 : 3;
  }

  #threeDigits(number: number): void {
    this.#view.setInt32(this.length, THREE_DIGITS[number] as number);
    this.length += 3;
  }
}

function viewOf({ buffer, byteOffset, length }: Buffer): DataView {
  return new DataView(buffer, byteOffset, length);
}
