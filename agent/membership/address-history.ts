/**
 * Which member had an address when: one provider's views, joined over time. An address belongs to a member for an
 * interval, never for ever.
 *
 * What the first complete view holds was there before we looked; later members begin when their source says that they
 * did, at the latest with the view that showed them first. Who is missing in a view ended with it.
 */
import { copyAddress, sameAddress, type Address } from '../../common/address.ts';
import type { Member } from './provider.ts';

/** Ended intervals that are kept, over all addresses; the oldest are forgotten first. */
const MAX_ENDED = 20_000;
/** Ended intervals that are kept of one address. */
const MAX_ENDED_OF_ADDRESS = 8;
/**
 * Members of one address that are kept apart, the first that are listed; the address has members all the same. Nodes in
 * containers on one host come to a dozen.
 */
const MAX_OF_ADDRESS = 64;

/** A member had an address from `sinceMs` until `untilMs`, in ms since the epoch. */
export interface Interval {
  readonly member: Member;
  /** -Infinity where it was there before the first view. */
  readonly sinceMs: number;
  /** Infinity while it lasts. */
  readonly untilMs: number;
}

const NONE: readonly Interval[] = [];

export class AddressHistory {
  /** By address: the intervals that last, by the member's id. */
  #current = new Map<string, ReadonlyMap<string, Interval>>();
  /** The same as lists. */
  #lasting = new Map<string, readonly Interval[]>();
  /** By address: what has ended, the newest last. Insertion order is that of the last end. */
  readonly #ended = new Map<string, Interval[]>();
  #endedCount = 0;

  /**
   * Takes the members of a view.
   * @param sinceMs when those begin who were not in the view before and do not say since when they are there
   * @param nowMs when those end who are missing
   */
  update(members: readonly Member[], sinceMs: number, nowMs: number): void {
    const next = new Map<string, Map<string, Interval>>();
    for (const member of members) {
      const { id } = member;
      for (const address of member.addresses) {
        const key = addressKey(address);
        const intervals = next.get(key) ?? new Map<string, Interval>();
        next.set(key, intervals);
        if (intervals.has(id) || intervals.size >= MAX_OF_ADDRESS) continue;
        const before = this.#current.get(key)?.get(id);
        const begin = before?.sinceMs ?? Math.min(sinceMs, member.sinceMs ?? Infinity);
        intervals.set(id, { member, sinceMs: begin, untilMs: Infinity });
      }
    }
    for (const [key, intervals] of this.#current) {
      const staying = next.get(key);
      for (const [id, interval] of intervals)
        if (staying?.has(id) !== true) this.#end(key, { ...interval, untilMs: nowMs });
    }
    this.#setCurrent(next);
  }

  /** The intervals of an address that have ended. */
  endedOf(address: Address): readonly Interval[] {
    return this.#ended.size === 0 ? NONE : (this.#ended.get(addressKey(address)) ?? NONE);
  }

  /** The intervals of an address, those that have ended first. */
  of(address: Address): readonly Interval[] {
    if (this.#lasting.size + this.#ended.size === 0) return NONE;
    const key = addressKey(address);
    const ended = this.#ended.get(key);
    const current = this.#lasting.get(key);
    if (ended === undefined) return current ?? NONE;
    return current === undefined ? ended : [...ended, ...current];
  }

  /** Begins with what another history knows, lasting or ended; to be called before the first view. */
  inherit(other: AddressHistory): void {
    this.#setCurrent(new Map(other.#current));
    this.inheritEnded(other);
  }

  /** Begins with what another history remembers as ended. */
  inheritEnded(other: AddressHistory): void {
    for (const [key, intervals] of other.#ended) for (const interval of intervals) this.#end(key, interval);
  }

  #setCurrent(current: Map<string, ReadonlyMap<string, Interval>>): void {
    this.#current = current;
    this.#lasting = new Map([...current].map(([key, intervals]) => [key, [...intervals.values()]]));
  }

  #end(key: string, interval: Interval): void {
    const intervals = this.#ended.get(key) ?? [];
    intervals.push(interval);
    this.#endedCount++;
    if (intervals.length > MAX_ENDED_OF_ADDRESS) {
      intervals.shift();
      this.#endedCount--;
    }
    this.#ended.delete(key);
    this.#ended.set(key, intervals);
    for (const [oldest, forgotten] of this.#ended) {
      if (this.#endedCount <= MAX_ENDED) break;
      this.#ended.delete(oldest);
      this.#endedCount -= forgotten.length;
    }
  }
}

/** The keys of the addresses that were asked for last: a verdict asks a dozen times for the same two. A power of two. */
const RECENT_KEYS = 1024;
const recentKeys: ({ readonly address: Address; readonly key: string } | undefined)[] = Array.from({
  length: RECENT_KEYS,
});

/** A key for maps, for a connection and never for a packet. */
export function addressKey(address: Address): string {
  // The words of an address differ most in their low bits, and those of neighbouring networks in the next ones.
  const word = address.w3 ^ address.w1;
  const place = (word ^ (word >>> 8)) & (RECENT_KEYS - 1);
  const recent = recentKeys[place];
  if (recent !== undefined && sameAddress(recent.address, address)) return recent.key;
  const copy = copyAddress(address);
  const key = `${copy.w0}.${copy.w1}.${copy.w2}.${copy.w3}`;
  recentKeys[place] = { address: copy, key };
  return key;
}
