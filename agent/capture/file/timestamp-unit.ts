/** The unit of an interface's times in pcapng (if_tsresol; draft-ietf-opsawg-pcapng, section 4.2), and exact sums in it. */

/** Where a time goes; a `Frame` is one. */
interface TimeTarget {
  seconds: number;
  nanoseconds: number;
}

const IS_POWER_OF_TWO = 0x80;
const EXPONENT = 0x7f;
/** Up to here a remainder times 2^16, and one times 10^9 of a power of two, stay below 2^53. */
const MAX_FAST_DECIMAL_EXPONENT = 9;
const MAX_FAST_BINARY_EXPONENT = 23;

export class TimestampUnit {
  /** The unit of interfaces that name none. */
  static readonly MICROSECONDS = new TimestampUnit(6);

  readonly #unitsPerSecond: number;
  /** The same, exact for every exponent; used where numbers would round. */
  readonly #unitsPerSecondExact: bigint;
  readonly #isFast: boolean;
  /** Nanoseconds of a remainder: times the one, by the other. */
  readonly #scale: number;
  readonly #divisor: number;

  /** @param resolution the option's byte: a negative power of 10, or of 2 when the highest bit is set */
  constructor(resolution: number) {
    const exponent = resolution & EXPONENT;
    const isPowerOfTwo = (resolution & IS_POWER_OF_TWO) !== 0;
    this.#unitsPerSecondExact = (isPowerOfTwo ? 2n : 10n) ** BigInt(exponent);
    this.#unitsPerSecond = Number(this.#unitsPerSecondExact);
    this.#isFast = exponent <= (isPowerOfTwo ? MAX_FAST_BINARY_EXPONENT : MAX_FAST_DECIMAL_EXPONENT);
    this.#scale = isPowerOfTwo ? 1e9 : 1e9 / this.#unitsPerSecond;
    this.#divisor = isPowerOfTwo ? this.#unitsPerSecond : 1;
  }

  /** Sets the time that `high * 2^32 + low` units are after the epoch; what is finer than a nanosecond is cut off. */
  toTime(high: number, low: number, target: TimeTarget): void {
    if (!this.#isFast) {
      this.#toTimeExact(high, low, target);
      return;
    }
    const unitsPerSecond = this.#unitsPerSecond;
    // Long division in steps of 16 bits, so that no intermediate result reaches 2^53.
    const quotientHigh = Math.floor(high / unitsPerSecond);
    const middle = (high - quotientHigh * unitsPerSecond) * 65_536 + (low >>> 16);
    const quotientMiddle = Math.floor(middle / unitsPerSecond);
    const rest = (middle - quotientMiddle * unitsPerSecond) * 65_536 + (low & 0xffff);
    const quotientLow = Math.floor(rest / unitsPerSecond);
    target.seconds = quotientHigh * 4_294_967_296 + quotientMiddle * 65_536 + quotientLow;
    target.nanoseconds = Math.floor(((rest - quotientLow * unitsPerSecond) * this.#scale) / this.#divisor);
  }

  /** Picoseconds and the like: rare, and slower. */
  #toTimeExact(high: number, low: number, target: TimeTarget): void {
    const units = (BigInt(high) << 32n) | BigInt(low);
    target.seconds = Number(units / this.#unitsPerSecondExact);
    target.nanoseconds = Number(
      ((units % this.#unitsPerSecondExact) * 1_000_000_000n) / this.#unitsPerSecondExact,
    );
  }
}
