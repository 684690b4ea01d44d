/**
 * What becomes of unknown peers before this agent has seen a first complete list of the cluster's members: in a roll-out the
 * agent on the head, or its dashboard, may come last, and then every node of the cluster is an unknown peer.
 *
 * A peer that may be a member is pending until the list is there, or the longest wait is over. It may be one where its
 * address lies in a network of this node or of a member that is known, or where this node's proven raylet connects to it:
 * Ray has told the raylet of it. Any other peer is outside. That is known once the raylet's sockets were read after its
 * packet, about a second later.
 */
import {
  formatAddress,
  isLoopback,
  parseAddress,
  parsePrefix,
  prefixContains,
  isIpv4,
  type Address,
  type Prefix,
} from '../../common/address.ts';
import type { Membership } from '../membership/membership.ts';

/** Peers of the raylet that are remembered until the list is there; the one that was seen longest ago gives way. */
export const MAX_RAYLET_PEERS = 10_000;
/** Time from the first question of `ray start` to the GCS until its raylet is found here, with room for a slow machine. */
const JOIN_MS = 30_000;
/** The networks of this node are read again after this time. */
const NETWORKS_AGE_MS = 5000;
/**
 * Lengths of a network of nodes. Where an address has none, or one beyond these, its network is taken to have the assumed
 * length: a cloud gives single addresses (`/32`) with routes to the others, and `/0` would make everybody a neighbour.
 */
const LENGTHS = {
  ipv4: { shortest: 8, assumed: 24, longest: 30 },
  ipv6: { shortest: 32, assumed: 64, longest: 126 },
} as const;
/** RFC 4291, section 2.5.6: no node is listed at such an address. */
const LINK_LOCAL = parsePrefix('fe80::/10');

/** What is to be done with an unknown peer now; undefined where there is a list, which decides. */
export type FirstListStep = 'wait' | 'report' | undefined;

interface FirstListOptions {
  readonly membership: Pick<Membership, 'hasList' | 'awaitedSinceMs'>;
  /** The longest wait, in ms; it is one for all peers alike. */
  readonly longestMs: number;
  /** Time after a peer's packet from which on the raylet's sockets show whether it connects to the peer, in ms. */
  readonly settleMs: number;
  /** Time after which a peer is outside though the raylet's sockets could not be read, in ms. */
  readonly graceMs: number;
  /** This machine's addresses with the length of their network, such as `10.0.0.5/24`. */
  readonly localNetworks: () => readonly string[];
  /** The members that are known without a list: this node and its head. */
  readonly knownAddresses: () => readonly Address[];
}

export class FirstList {
  readonly #options: FirstListOptions;
  /** When the wait began. A raylet that starts again, or is made to, does not begin it anew. */
  #sinceMs: number | undefined;
  #awaitedMs = -Infinity;
  /** By address, the one that was seen longest ago first. */
  readonly #rayletPeers = new Set<string>();
  #socketsReadMs = -Infinity;
  #networks: readonly Prefix[] = [];
  #networksReadMs = -Infinity;

  constructor(options: FirstListOptions) {
    this.#options = options;
  }

  /** Whether the longest wait is over, and no list is there. */
  isOverdue(nowMs: number): boolean {
    const sinceMs = this.#begin(nowMs);
    return sinceMs !== undefined && nowMs - sinceMs >= this.#options.longestMs;
  }

  /**
   * What is to be done with a connection that no rule allows.
   * @param unknown those of its ends that are in no group
   * @param packetMs when it was seen first
   */
  step(unknown: readonly Address[], packetMs: number, nowMs: number): FirstListStep {
    if (this.#begin(nowMs) === undefined) return undefined;
    if (unknown.length === 0 || this.isOverdue(nowMs)) return 'report';
    if (this.mayBeMembers(unknown, nowMs)) return 'wait';
    const { settleMs, graceMs } = this.#options;
    const isChecked = this.#socketsReadMs - packetMs >= settleMs || nowMs - packetMs >= graceMs;
    return isChecked ? 'report' : 'wait';
  }

  /**
   * What is to be done with a question of this node to a GCS that nobody knows, before any raylet is here: `ray start` asks the
   * head before there is a raylet that could name it. Whoever calls another GCS is reported when the time of a join is over.
   * @param packetMs when it was seen first
   */
  stepOfJoin(packetMs: number, nowMs: number): FirstListStep {
    const { hasList, awaitedSinceMs } = this.#options.membership;
    const isBeforeRay = !hasList && awaitedSinceMs === undefined;
    return isBeforeRay && nowMs - packetMs < JOIN_MS ? 'wait' : undefined;
  }

  /**
   * Notes to whom the proven raylet of this node has opened connections.
   * @param readMs when its sockets began to be read
   */
  noteRayletPeers(addresses: readonly Address[], readMs: number): void {
    this.#socketsReadMs = readMs;
    if (this.#begin(readMs) === undefined) {
      this.#rayletPeers.clear();
      return;
    }
    for (const key of new Set(addresses.map(formatAddress))) {
      this.#rayletPeers.delete(key);
      this.#rayletPeers.add(key);
    }
    for (const key of this.#rayletPeers) {
      if (this.#rayletPeers.size <= MAX_RAYLET_PEERS) break;
      this.#rayletPeers.delete(key);
    }
  }

  /** When the wait began; undefined where nobody waits. Nobody waits either where no raylet was here for a while. */
  #begin(nowMs: number): number | undefined {
    const { membership, longestMs } = this.#options;
    const awaitedSinceMs = membership.awaitedSinceMs;
    if (awaitedSinceMs !== undefined) this.#awaitedMs = nowMs;
    const isForgotten = awaitedSinceMs === undefined && nowMs - this.#awaitedMs > longestMs;
    if (membership.hasList || isForgotten) this.#sinceMs = undefined;
    else this.#sinceMs ??= awaitedSinceMs;
    return this.#sinceMs;
  }

  /** Whether each of the addresses may be a node's, as far as that is known by now. */
  mayBeMembers(addresses: readonly Address[], nowMs: number): boolean {
    return addresses.every((address) => this.#mayBeMember(address, nowMs));
  }

  #mayBeMember(address: Address, nowMs: number): boolean {
    if (this.#rayletPeers.has(formatAddress(address))) return true;
    const { w0, w1, w2, w3 } = address;
    return this.#networksNow(nowMs).some((network) => prefixContains(network, w0, w1, w2, w3));
  }

  #networksNow(nowMs: number): readonly Prefix[] {
    // A clock that was put back makes them be read again, too.
    if (Math.abs(nowMs - this.#networksReadMs) < NETWORKS_AGE_MS) return this.#networks;
    const { localNetworks, knownAddresses } = this.#options;
    const around = knownAddresses().map((address) => networkAround(formatAddress(address)));
    this.#networks = [...localNetworks().map(networkAround), ...around].filter(
      (network) => network !== undefined,
    );
    this.#networksReadMs = nowMs;
    return this.#networks;
  }
}

/** The network of an address, `10.0.0.5/24` or without the length; undefined where no other node can be in it. */
function networkAround(text: string): Prefix | undefined {
  const [host = '', length] = text.split('/');
  const address = parseAddress(host);
  if (address === undefined || isLoopback(address) || isLinkLocal(address)) return undefined;
  const isV4 = isIpv4(address);
  const own = length === undefined ? undefined : Number(length);
  const { shortest, assumed, longest } = LENGTHS[isV4 ? 'ipv4' : 'ipv6'];
  const isPlausible = own !== undefined && own >= shortest && own <= longest;
  return parsePrefix(`${host}/${isPlausible ? own : assumed}`);
}

function isLinkLocal({ w0, w1, w2, w3 }: Address): boolean {
  return LINK_LOCAL !== undefined && prefixContains(LINK_LOCAL, w0, w1, w2, w3);
}
