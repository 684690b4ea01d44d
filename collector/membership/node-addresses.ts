/**
 * Which addresses belong to which node, as each node's agent says: a second interface, IPv6 beside IPv4. An agent can lie
 * about its own node and nothing else, so an address counts for nobody
 *
 * - that another agent names, too (each machine with containers has the same bridge address), unless one of them connects from it
 * - that another agent connects from
 * - that is the unknown peer of an incident which nobody has resolved: a person decides, and agents get it as a hint
 * - while the agent shares its token with others and does not connect from one of its addresses: its name proves nothing
 *
 * Nothing is kept on disk: after a restart the agents say it again, and what others have heard stands meanwhile.
 */
import { formatAddress, isLoopback, parseAddress } from '../../common/address.ts';
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import {
  CLAIMED,
  NODES_KEY,
  type SharedMember,
  type SharedMembersMessage,
} from '../../common/shared-view.ts';
import type { Follower } from './view.ts';

/** Nodes that are known; beyond that the one heard longest ago gives way, of those without a credential of their own first. */
const MAX_NODES = 5000;
/** Nodes without a credential of their own from one place: who has a shared token makes up names. */
const MAX_NODES_OF_PLACE = 16;
/** Entries of one message. */
const MAX_ENTRIES = 256;
/** The shortest time between two messages to an agent, in ms. */
const HAND_OUT_INTERVAL_MS = 2000;

/** Why an address counts for nobody. */
export type AddressRefusal =
  | 'named by several agents'
  | 'another agent connects from it'
  | 'unknown peer of an open incident'
  | 'the agent is not proven';

/** What one agent says of its node, and what counts of it. */
export interface NodeEntry {
  readonly node: string;
  readonly addresses: readonly string[];
  readonly refused: readonly { readonly address: string; readonly why: AddressRefusal }[];
}

interface Claim {
  readonly agent: string;
  readonly isBound: boolean;
  readonly from: string;
  /** In the agent's order, the one first by which it knows that sources list it. */
  readonly addresses: readonly string[];
}

interface Published extends NodeEntry {
  readonly version: number;
}

interface NodeAddressesOptions {
  readonly clock: Clock;
  readonly logger?: Pick<Logger, 'warn'> | undefined;
  /** Whether an address is the unknown peer of an incident that is not resolved. */
  readonly isUnknownPeer?: ((address: string) => boolean) | undefined;
}

export class NodeAddresses {
  readonly #options: NodeAddressesOptions;
  /** By agent, that heard longest ago first. */
  readonly #claims = new Map<string, Claim>();
  /** By address: the agents that name it. */
  readonly #agentsOf = new Map<string, Set<string>>();
  readonly #published = new Map<string, Published>();
  /** The version that each follower has. */
  readonly #followers = new Map<Follower, number>();
  #version = 0;
  #pause: Timer | undefined;
  #isNews = false;

  constructor(options: NodeAddressesOptions) {
    this.#options = options;
  }

  /** Tells the agent what is known, now and from now on. */
  follow(follower: Follower): void {
    if (this.#followers.has(follower)) return;
    this.#followers.set(follower, 0);
    // Also where nothing is known: it says that addresses are welcome.
    this.#tell(follower, true);
  }

  /** Takes what an agent says of its own node. */
  report(follower: Follower, members: readonly SharedMember[] | undefined): void {
    const { agent, isBound = false, from } = follower;
    const addresses = [...new Set((members?.[0]?.addresses ?? []).flatMap(plain))];
    const before = this.#claims.get(agent);
    if (before === undefined && !this.#makeRoom(isBound, from)) return;
    // Set anew at the end: they stand in the order in which they were heard.
    this.#forget(agent);
    this.#claims.set(agent, { agent, isBound, from, addresses });
    for (const address of addresses) {
      const agents = this.#agentsOf.get(address) ?? new Set();
      this.#agentsOf.set(address, agents.add(agent));
    }
    // Whoever names the same addresses, and whose address it connects from, is affected as well.
    const touched = new Set([agent, ...this.#rivalsOf([...addresses, ...(before?.addresses ?? []), from])]);
    for (const name of touched) this.#decide(name);
    this.#handOut();
  }

  leave(follower: Follower): void {
    this.#followers.delete(follower);
  }

  /** What each agent says of its node, and what counts of it. */
  nodes(): NodeEntry[] {
    return [...this.#published.values()].map(({ node, addresses, refused }) => ({
      node,
      addresses,
      refused,
    }));
  }

  stop(): void {
    this.#pause?.cancel();
  }

  #rivalsOf(addresses: readonly string[]): string[] {
    return addresses.flatMap((address) => [...(this.#agentsOf.get(address) ?? [])]);
  }

  #forget(agent: string): void {
    for (const address of this.#claims.get(agent)?.addresses ?? []) {
      const agents = this.#agentsOf.get(address);
      agents?.delete(agent);
      if (agents?.size === 0) this.#agentsOf.delete(address);
    }
    this.#claims.delete(agent);
  }

  #makeRoom(isBound: boolean, from: string): boolean {
    const unbound = [...this.#claims.values()].filter((claim) => !claim.isBound);
    if (!isBound && unbound.filter((claim) => claim.from === from).length >= MAX_NODES_OF_PLACE) return false;
    if (this.#claims.size < MAX_NODES) return true;
    const victim = unbound[0] ?? (isBound ? this.#claims.values().next().value : undefined);
    if (victim === undefined) return false;
    this.#forget(victim.agent);
    this.#published.delete(victim.agent);
    return true;
  }

  /** Works out what counts of an agent's word, and notes it as news where that has changed. */
  #decide(agent: string): void {
    const claim = this.#claims.get(agent);
    if (claim === undefined) return;
    const refused: { address: string; why: AddressRefusal }[] = [];
    const granted: string[] = [];
    for (const address of anchorFirst(claim)) {
      const why = this.#refusalOf(claim, address);
      if (why === undefined) granted.push(address);
      else refused.push({ address, why });
    }
    const before = this.#published.get(agent);
    const isSame =
      JSON.stringify([before?.addresses, before?.refused]) === JSON.stringify([granted, refused]);
    if (isSame) return;
    this.#published.set(agent, { node: agent, addresses: granted, refused, version: ++this.#version });
    this.#isNews = true;
    this.#logFurther(agent, before, granted);
    const said = new Set(before?.refused.map(({ address, why }) => `${address} ${why}`));
    for (const { address, why } of refused)
      if (why === 'unknown peer of an open incident' && !said.has(`${address} ${why}`))
        this.#options.logger?.warn(
          { agent, address },
          'an agent names the unknown peer of an open incident as an address of its node: it counts when the incident is resolved',
        );
  }

  /** An agent that was taken over can name another host's address: what a known node gets beside those it had is said. */
  #logFurther(agent: string, before: Published | undefined, granted: readonly string[]): void {
    if (before === undefined) return;
    const addresses = granted.filter((address) => !before.addresses.includes(address));
    if (addresses.length === 0) return;
    this.#options.logger?.warn(
      { agent, addresses },
      'an agent names further addresses of its node: they count as that node from now on',
    );
  }

  #refusalOf({ agent, isBound, from, addresses }: Claim, address: string): AddressRefusal | undefined {
    if (!isBound && !addresses.includes(from)) return 'the agent is not proven';
    const others = [...(this.#agentsOf.get(address) ?? [])].filter((other) => other !== agent);
    const connects = (other: string): boolean => this.#claims.get(other)?.from === address;
    if (others.some(connects)) return 'another agent connects from it';
    if (from === address) return undefined;
    if (others.length > 0) return 'named by several agents';
    // What counts already is not taken back: an agent that has not heard of it yet may have opened the incident.
    if (this.#published.get(agent)?.addresses.includes(address) === true) return undefined;
    return this.#isUnknownPeer(address) ? 'unknown peer of an open incident' : undefined;
  }

  #isUnknownPeer(address: string): boolean {
    const { isUnknownPeer = () => false } = this.#options;
    try {
      return isUnknownPeer(address);
    } catch {
      // The store cannot say: it is asked again when the agent says it again.
      return true;
    }
  }

  #handOut(): void {
    if (!this.#isNews || this.#pause !== undefined) return;
    this.#isNews = false;
    for (const follower of this.#followers.keys()) this.#tell(follower, false);
    this.#pause = this.#options.clock.after(HAND_OUT_INTERVAL_MS, () => {
      this.#pause = undefined;
      this.#handOut();
    });
  }

  /** @param isFirst whether it is told although there is nothing to tell */
  #tell(follower: Follower, isFirst: boolean): void {
    const version = this.#followers.get(follower) ?? 0;
    const news = [...this.#published.values()]
      .filter((entry) => entry.version > version && entry.node !== follower.agent)
      .toSorted((a, b) => a.version - b.version)
      .slice(0, MAX_ENTRIES);
    if (news.length === 0 && !isFirst) return;
    const message: SharedMembersMessage = {
      type: 'members',
      cluster: NODES_KEY,
      reporter: 'collector',
      ageMs: 0,
      members: news.flatMap(toShared),
    };
    const isSent = follower.send(message);
    if (isSent) this.#followers.set(follower, news.at(-1)?.version ?? version);
    // There may be more for it, or it did not read.
    if (!isSent || news.length === MAX_ENTRIES) this.#isNews = true;
    if (this.#isNews && this.#pause === undefined) {
      this.#pause = this.#options.clock.after(HAND_OUT_INTERVAL_MS, () => {
        this.#pause = undefined;
        this.#handOut();
      });
    }
  }
}

/** An agent with a credential of its own says by which address sources know it; of another only what it connects from is proven. */
function anchorFirst({ isBound, from, addresses }: Claim): readonly string[] {
  if (isBound || !addresses.includes(from)) return addresses;
  return [from, ...addresses.filter((address) => address !== from)];
}

/** In one spelling; none for what every machine has, or nobody can have. */
function plain(text: string): string[] {
  const address = parseAddress(text);
  if (address === undefined || isLoopback(address)) return [];
  const spelt = formatAddress(address);
  return /^(?:0\.|169\.254\.|22[4-9]\.|2[345]\d\.|ff|fe[89ab]|::$)/.test(spelt) ? [] : [spelt];
}

/** What counts, and what is a hint. Where nothing counts any more, one address alone takes back what was said before. */
function toShared({ node, addresses, refused }: NodeEntry): SharedMember[] {
  const counting = addresses.length > 0 ? addresses : refused.slice(0, 1).map(({ address }) => address);
  const hints = refused
    .filter(({ why }) => why === 'unknown peer of an open incident')
    .map(({ address }) => address);
  return [
    ...(counting.length === 0 ? [] : [{ id: node, addresses: [...counting], ports: [] }]),
    ...(hints.length === 0 ? [] : [{ id: node, addresses: hints, ports: [], group: CLAIMED }]),
  ];
}
