/**
 * Who is known as a member of the cluster, so that only a node that joins is news. The first complete list that
 * this agent reads by itself is no news (what other agents have read is), nor is a node that starts again: Ray gives it another id, and it is at the same address. What is known outlives a
 * restart of the agent, so that who joined meanwhile is news and nobody else.
 *
 * The last list of each source is kept, too: a restarted agent whose source does not answer begins with it.
 */
import { z } from 'zod';
import { formatAddress, parseAddress, sameAddress } from '../../common/address.ts';
import type { Listing } from '../membership/membership.ts';
import type { Member } from '../membership/provider.ts';

/** So long after it has left a node is known when it is back: time enough for a machine to start again. */
const KNOWN_MS = 3_600_000;
/** Ids and addresses that are remembered of a source; beyond that those that left are forgotten, the longest gone first. */
export const MAX_KEYS = 100_000;

/** What the file takes. What a source lists beyond is not kept, and a new member again after a restart. */
const MAX_SAVED_KEYS = 2 * MAX_KEYS;
const MAX_KEY_LENGTH = 512;

/** More sources than rules can name in one group. */
const MAX_SOURCES = 64;

/** Members of a last list that are kept. */
const MAX_LISTED = 20_000;
/** A list that has not changed is written again after this time, so that its age on the disk is about right. */
const LIST_INTERVAL_MS = 600_000;

const shortText = z.string().max(MAX_KEY_LENGTH);
const savedMemberSchema = z.strictObject({
  id: shortText,
  hasFleetingId: z.literal(true).optional(),
  addresses: z.array(z.string().max(45)).max(64),
  role: shortText.optional(),
  group: shortText.optional(),
  isShared: z.literal(true).optional(),
  ports: z.array(z.tuple([shortText, z.array(z.number().int().min(1).max(65_535)).max(256)])).max(64),
});
type SavedMember = z.infer<typeof savedMemberSchema>;

/** What is known, as it is kept on disk. */
export const savedMembersSchema = z.strictObject({
  version: z.literal(1),
  sources: z
    .array(
      z.strictObject({
        name: z.string().max(MAX_KEY_LENGTH),
        /** Ids and addresses, each with when it was gone in ms, or null while it is listed. */
        keys: z.array(z.tuple([z.string().max(MAX_KEY_LENGTH), z.number().nullable()])).max(MAX_SAVED_KEYS),
        /** The last list, and when the source gave it, in ms since the epoch. */
        list: z
          .strictObject({ asOfMs: z.number(), members: z.array(savedMemberSchema).max(MAX_LISTED) })
          .optional(),
      }),
    )
    .max(MAX_SOURCES),
});
export type SavedMembers = z.infer<typeof savedMembersSchema>;

/** Where what is known is kept. */
export interface MembersStore {
  /** Undefined where nothing usable is kept. */
  load(): SavedMembers | undefined;
  save(saved: SavedMembers): void;
}

/** A list as it was before the agent was restarted. */
export interface LastList {
  readonly source: string;
  /** When the source gave it, in ms since the epoch. */
  readonly asOfMs: number;
  readonly members: readonly Member[];
}

export class KnownMembers {
  readonly #store: MembersStore | undefined;
  #isChanged = false;
  /** By source that has told of all its members, by id or address: when it was gone, in ms; undefined while it is listed. */
  readonly #sources = new Map<string, Map<string, number | undefined>>();
  /** The last list by source, without what this node knows by itself. */
  readonly #lists = new Map<string, Omit<LastList, 'source'>>();

  /** @param store left out where nothing outlives this object */
  constructor(store?: MembersStore) {
    this.#store = store;
    for (const { name, keys, list } of store?.load()?.sources ?? []) {
      this.#sources.set(name, new Map(keys.map(([key, goneAtMs]) => [key, goneAtMs ?? undefined])));
      if (list === undefined) continue;
      const members = list.members.map((member) => toMember(member, name));
      this.#lists.set(name, { asOfMs: list.asOfMs, members });
    }
  }

  /** Writes down what has changed since the last call. */
  save(): void {
    if (!this.#isChanged || this.#store === undefined) return;
    this.#isChanged = false;
    const sources = [...this.#sources].slice(-MAX_SOURCES).map(([name, known]) => ({
      name,
      list: savedListOf(this.#lists.get(name)),
      keys: [...known]
        .filter(([key]) => key.length <= MAX_KEY_LENGTH)
        .slice(-MAX_SAVED_KEYS)
        .map(([key, goneAtMs]): [string, number | null] => [key, goneAtMs ?? null]),
    }));
    this.#store.save({ version: 1, sources });
  }

  /** The last lists that are no older than `keepMs`. The clock may have been ahead when they were written. */
  lastLists(nowMs: number, keepMs: number): LastList[] {
    return [...this.#lists]
      .map(([source, { asOfMs, members }]) => ({ source, members, asOfMs: Math.min(asOfMs, nowMs) }))
      .filter(({ asOfMs }) => nowMs - asOfMs <= keepMs);
  }

  /**
   * Notes the lists of the sources as they stand; to be called before `save`.
   * @param wallAheadMs how far the wall clock is ahead of theirs: what is kept over a restart is in wall time
   */
  noteLists(listings: readonly Listing[], wallAheadMs = 0): void {
    for (const listing of listings) {
      const { source, members } = listing;
      if (listing.asOfMs === undefined) continue;
      const asOfMs = listing.asOfMs + wallAheadMs;
      const before = this.#lists.get(source);
      const listed = members.filter(({ isLocal }) => isLocal !== true);
      const isSame = before !== undefined && isSameList(before.members, listed);
      if (isSame && Math.abs(asOfMs - before.asOfMs) < LIST_INTERVAL_MS) continue;
      this.#lists.set(source, { asOfMs, members: listed });
      this.#isChanged = true;
    }
  }

  /** Takes what the sources list now, and returns who of them was not known. */
  learn(listings: readonly Listing[], nowMs: number): Member[] {
    return listings.flatMap(({ source, members }) => {
      const isFirst = !this.#sources.has(source);
      const local = new Set(members.filter(({ isLocal }) => isLocal === true).flatMap(keysOf));
      const news = members.filter(
        (member) =>
          (!isFirst || member.readBy !== undefined) && this.#isNews(member) && !isKnownHere(member, local),
      );
      const known = this.#sources.get(source) ?? new Map<string, number | undefined>();
      this.#sources.set(source, known);
      if (remember(known, new Set(members.flatMap(keysOf)), nowMs)) this.#isChanged = true;
      return news;
    });
  }

  #isNews({ id, hasFleetingId, addresses, isLocal }: Member): boolean {
    if (isLocal === true || this.#hasKey(id)) return false;
    return hasFleetingId !== true || !addresses.every((address) => this.#hasKey(formatAddress(address)));
  }

  #hasKey(key: string): boolean {
    for (const known of this.#sources.values()) if (known.has(key)) return true;
    return false;
  }
}

/** Whether this node itself knows the address: its own, or its head's. */
function isKnownHere({ addresses }: Member, local: ReadonlySet<string>): boolean {
  return addresses.length > 0 && addresses.every((address) => local.has(formatAddress(address)));
}

/** Returns whether that changes anything. */
function remember(
  known: Map<string, number | undefined>,
  listed: ReadonlySet<string>,
  nowMs: number,
): boolean {
  let isChanged = false;
  for (const [key, goneAtMs] of known) {
    if (listed.has(key)) continue;
    const isForgotten = goneAtMs !== undefined && (nowMs - goneAtMs > KNOWN_MS || known.size > MAX_KEYS);
    if (goneAtMs !== undefined && !isForgotten) continue;
    isChanged = true;
    known.delete(key);
    // Set anew at the end: those that left stand in the order of their leaving.
    if (!isForgotten) known.set(key, nowMs);
  }
  for (const key of listed) {
    isChanged ||= !known.has(key) || known.get(key) !== undefined;
    known.set(key, undefined);
  }
  return isChanged;
}

function keysOf({ id, addresses }: Member): string[] {
  return [id, ...addresses.map(formatAddress)];
}

/** Whether two lists have the same nodes: a source makes new members at each answer. */
function isSameList(a: readonly Member[], b: readonly Member[]): boolean {
  if (a.length !== b.length) return false;
  return a.every((member, index) => {
    const other = b[index];
    return other !== undefined && (member === other || isSameNode(member, other));
  });
}

function isSameNode(a: Member, b: Member): boolean {
  if (a.id !== b.id || a.addresses.length !== b.addresses.length) return false;
  return a.addresses.every((address, index) => {
    const other = b.addresses[index];
    return other !== undefined && sameAddress(address, other);
  });
}

function savedListOf(list: Omit<LastList, 'source'> | undefined): SavedMembers['sources'][number]['list'] {
  if (list === undefined) return undefined;
  const members = list.members.map(toSaved).filter((member) => savedMemberSchema.safeParse(member).success);
  return { asOfMs: list.asOfMs, members: members.slice(0, MAX_LISTED) };
}

function toSaved({ id, hasFleetingId, addresses, role, group, isShared, ports }: Member): SavedMember {
  return {
    id,
    ...(hasFleetingId === undefined ? {} : { hasFleetingId }),
    addresses: addresses.map(formatAddress),
    ...(role === undefined ? {} : { role }),
    ...(group === undefined ? {} : { group }),
    ...(isShared === undefined ? {} : { isShared }),
    ports: [...ports].map(([service, numbers]) => [service, [...numbers]]),
  };
}

function toMember(
  { id, hasFleetingId, addresses, role, group, isShared, ports }: SavedMember,
  source: string,
): Member {
  return {
    id,
    ...(hasFleetingId === undefined ? {} : { hasFleetingId }),
    addresses: addresses.flatMap((text) => parseAddress(text) ?? []),
    ...(role === undefined ? {} : { role }),
    ...(group === undefined ? {} : { group }),
    ...(isShared === undefined ? {} : { isShared }),
    ports: new Map(ports),
    source,
  };
}
