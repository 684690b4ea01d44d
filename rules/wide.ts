/**
 * How much of the address space ranges hold together. What a group holds is counted and not its ranges one by one: two
 * halves of IPv4, or a hundred ranges with gaps between, are as wide as the range that they could have been.
 */
import { isIpv4, parsePrefix, type Address } from '../common/address.ts';

/** Of IPv4 a /8 may stand in the rules, and a few private ranges besides (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16). */
const WIDE_IPV4_BITS = 7;
/** Of IPv6 a /16, likewise. */
const WIDE_IPV6_BITS = 15;

const FAMILIES = [
  { family: 'IPv4', width: 32, wideBits: WIDE_IPV4_BITS },
  { family: 'IPv6', width: 128, wideBits: WIDE_IPV6_BITS },
] as const;
type Family = (typeof FAMILIES)[number]['family'];

/** Ranges of one family that together hold as many addresses as a prefix of `bits`, or more. */
export interface WideRanges {
  readonly family: Family;
  /** The longest prefix that they fill, in the family's own count. */
  readonly bits: number;
}

/** The family of which the ranges hold more than a group should; undefined where they are narrow. Texts that are no range count nothing. */
export function findWide(ranges: readonly string[]): WideRanges | undefined {
  const intervals = ranges.flatMap(intervalOf);
  for (const { family, width, wideBits } of FAMILIES) {
    const size = unionSize(intervals.filter((interval) => interval.family === family));
    const wide = 1n << BigInt(width - wideBits);
    if (size >= wide) return { family, bits: width - (size.toString(2).length - 1) };
  }
  return undefined;
}

/** Addresses of one family, both ends included. */
interface Interval {
  readonly family: Family;
  readonly first: bigint;
  readonly last: bigint;
}

function intervalOf(text: string): Interval[] {
  const prefix = parsePrefix(text);
  if (prefix === undefined) return [];
  const size = 1n << BigInt(128 - prefix.bits);
  const first = numberOf(prefix);
  const family = prefix.bits >= 96 && isIpv4(prefix) ? 'IPv4' : 'IPv6';
  return [{ family, first, last: first + size - 1n }];
}

function numberOf({ w0, w1, w2, w3 }: Address): bigint {
  return [w0, w1, w2, w3].reduce((sum, word) => (sum << 32n) | BigInt(word >>> 0), 0n);
}

function unionSize(intervals: readonly Interval[]): bigint {
  let size = 0n;
  let end = -1n;
  for (const { first, last } of intervals.toSorted((a, b) => (a.first < b.first ? -1 : 1))) {
    if (last <= end) continue;
    size += last - (first > end ? first - 1n : end);
    end = last;
  }
  return size;
}
