/**
 * Who is known as a member of the cluster, so that only a node that joins is news. A source's first complete list is no
 * news, nor is a node that starts again: Ray gives it another id, and it is at the same address.
 */
import { addressKey } from '../membership/address-history.ts';
import type { Listing } from '../membership/membership.ts';
import type { Member } from '../membership/provider.ts';

/** So long after it has left a node is known when it is back: time enough for a machine to start again. */
const KNOWN_MS = 3_600_000;
/** Ids and addresses that are remembered of a source; beyond that those that left are forgotten, the longest gone first. */
const MAX_KEYS = 100_000;

export class KnownMembers {
  /** By source that has told of all its members, by id or address: when it was gone, in ms; undefined while it is listed. */
  readonly #sources = new Map<string, Map<string, number | undefined>>();

  /** Takes what the sources list now, and returns who of them was not known. */
  learn(listings: readonly Listing[], nowMs: number): Member[] {
    return listings.flatMap(({ source, members }) => {
      const news = this.#sources.has(source) ? members.filter((member) => this.#isNews(member)) : [];
      const known = this.#sources.get(source) ?? new Map<string, number | undefined>();
      this.#sources.set(source, known);
      remember(known, new Set(members.flatMap(keysOf)), nowMs);
      return news;
    });
  }

  #isNews({ id, hasFleetingId, addresses, isLocal }: Member): boolean {
    if (isLocal === true || this.#hasKey(id)) return false;
    return hasFleetingId !== true || !addresses.every((address) => this.#hasKey(addressKey(address)));
  }

  #hasKey(key: string): boolean {
    for (const known of this.#sources.values()) if (known.has(key)) return true;
    return false;
  }
}

function remember(known: Map<string, number | undefined>, listed: ReadonlySet<string>, nowMs: number): void {
  for (const [key, goneAtMs] of known) {
    if (listed.has(key)) continue;
    if (goneAtMs === undefined) {
      // Set anew at the end: those that left stand in the order of their leaving.
      known.delete(key);
      known.set(key, nowMs);
    } else if (nowMs - goneAtMs > KNOWN_MS || known.size > MAX_KEYS) known.delete(key);
  }
  for (const key of listed) known.set(key, undefined);
}

function keysOf({ id, addresses }: Member): string[] {
  return [id, ...addresses.map(addressKey)];
}
