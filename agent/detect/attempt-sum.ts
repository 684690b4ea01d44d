/**
 * Connection attempts that are not reported one by one: how many there were, from which prefixes and to which ports. In
 * memory of a fixed size, and numbers only: a flood passes through here.
 *
 * Ports are counted exactly. Of prefixes the frequent ones are kept (space-saving, Metwally et al. 2005): a new one takes
 * over the counter of the least frequent, and what that had is its error. What is reported is what is certain, so a
 * flood from invented addresses shows no prefix as a culprit.
 */
import { formatPrefix, isIpv4, type Address } from '../../common/address.ts';
import { MAX_LISTED_ATTEMPTS, type Attempts } from '../../common/event.ts';
import { heaviest } from './top.ts';

/** Prefixes that are counted at a time. */
const COUNTERS = 64;
const PORTS = 65_536;
/** Of a prefix, in the form of IPv6: a /24 of IPv4, a /64 of IPv6. */
const IPV4_BITS = 120;
const IPV6_BITS = 64;

export class AttemptSum {
  readonly #words0 = new Int32Array(COUNTERS);
  readonly #words1 = new Int32Array(COUNTERS);
  readonly #words2 = new Int32Array(COUNTERS);
  readonly #words3 = new Int32Array(COUNTERS);
  readonly #counts = new Float64Array(COUNTERS);
  /** How much of a count may be that of prefixes that had the counter before. */
  readonly #errors = new Float64Array(COUNTERS);
  readonly #ports = new Float64Array(PORTS);
  /** All attempts since the last `clear`. */
  count = 0;

  add(source: Address, port: number): void {
    const isOfIpv4 = isIpv4(source);
    const w2 = isOfIpv4 ? source.w2 : 0;
    const w3 = isOfIpv4 ? source.w3 & -256 : 0;
    const counter = this.#counterOf(source.w0, source.w1, w2, w3);
    (this.#counts[counter] as number) += 1;
    (this.#ports[port & 0xffff] as number) += 1;
    this.count++;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#errors.fill(0);
    this.#ports.fill(0);
    this.count = 0;
  }

  /** The most frequent prefixes and ports. */
  attempts(): Attempts {
    const certain = this.#counts.map((count, counter) => count - (this.#errors[counter] as number));
    return {
      sources: top(certain).map((counter) => ({
        prefix: this.#prefixAt(counter),
        count: certain[counter] as number,
      })),
      ports: top(this.#ports).map((port) => ({ port, count: this.#ports[port] as number })),
    };
  }

  #counterOf(w0: number, w1: number, w2: number, w3: number): number {
    let least = 0;
    for (let counter = 0; counter < COUNTERS; counter++) {
      if (
        this.#words3[counter] === w3 &&
        this.#words1[counter] === w1 &&
        this.#words0[counter] === w0 &&
        this.#words2[counter] === w2 &&
        this.#counts[counter] !== 0
      ) {
        return counter;
      }
      if ((this.#counts[counter] as number) < (this.#counts[least] as number)) least = counter;
    }
    this.#words0[least] = w0;
    this.#words1[least] = w1;
    this.#words2[least] = w2;
    this.#words3[least] = w3;
    this.#errors[least] = this.#counts[least] as number;
    return least;
  }

  #prefixAt(counter: number): string {
    const [w0, w1, w2, w3] = [this.#words0, this.#words1, this.#words2, this.#words3].map(
      (words) => words[counter] as number,
    ) as [number, number, number, number];
    const address = { w0, w1, w2, w3 };
    return formatPrefix({ ...address, bits: isIpv4(address) ? IPV4_BITS : IPV6_BITS });
  }
}

/** The places of the greatest counts, the greatest first; never of one that is 0. */
function top(counts: Float64Array): number[] {
  const places = heaviest(counts.keys(), MAX_LISTED_ATTEMPTS, (place) => counts[place] as number);
  return places.filter((place) => (counts[place] as number) > 0);
}
