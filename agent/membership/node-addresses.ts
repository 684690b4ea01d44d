/**
 * Further addresses of other nodes, as the agents there say and the collector hands out: bound to the address by which
 * sources know the node. They are a member's as long as that one is, whatever kind of group it is in.
 */
import { parseAddress, type Address } from '../../common/address.ts';
import { CLAIMED, MAX_NODE_ADDRESSES, type SharedMember } from '../../common/shared-view.ts';
import { addressKey } from './address-history.ts';

/** Nodes that are remembered; the one heard of longest ago gives way. The collector hands out as many. */
const MAX_NODES = 5000;

export class NodeAddresses {
  /** By node: its addresses, the one first by which sources know it. */
  readonly #nodes = new Map<string, readonly Address[]>();
  /** By further address: the first addresses of the nodes that have it. */
  #knownBy: ReadonlyMap<string, readonly Address[]> = new Map();
  /** By address that counts for nobody yet: the node that says it is its own. */
  readonly #claimed = new Map<string, string>();
  readonly #listeners = new Set<() => void>();

  /** Takes entries that are new or changed. */
  take(entries: readonly SharedMember[]): void {
    if (entries.length === 0) return;
    for (const { id, addresses, group } of entries) {
      const parsed = addresses.slice(0, MAX_NODE_ADDRESSES).flatMap((text) => parseAddress(text) ?? []);
      if (group === CLAIMED) for (const address of parsed) this.#noteClaim(addressKey(address), id);
      else this.#note(id, parsed);
    }
    this.#knownBy = index([...this.#nodes.values()]);
    for (const key of this.#claimed.keys()) if (this.#knownBy.has(key)) this.#claimed.delete(key);
    for (const changed of this.#listeners) changed();
  }

  /** The addresses by which sources know the nodes that have this further address. */
  knownBy(address: Address): readonly Address[] {
    return this.#knownBy.size === 0 ? [] : (this.#knownBy.get(addressKey(address)) ?? []);
  }

  /** The node that says the address is its own, where that counts for nothing yet. */
  claimant(address: Address): string | undefined {
    return this.#claimed.get(addressKey(address));
  }

  /** Calls `changed` after each news, until the returned function is called. */
  onChange(changed: () => void): () => void {
    this.#listeners.add(changed);
    return () => void this.#listeners.delete(changed);
  }

  #note(node: string, addresses: readonly Address[]): void {
    this.#nodes.delete(node);
    this.#nodes.set(node, addresses);
    const [oldest] = this.#nodes.keys();
    if (oldest !== undefined && this.#nodes.size > MAX_NODES) this.#nodes.delete(oldest);
  }

  #noteClaim(key: string, node: string): void {
    this.#claimed.delete(key);
    this.#claimed.set(key, node);
    const [oldest] = this.#claimed.keys();
    if (oldest !== undefined && this.#claimed.size > MAX_NODES) this.#claimed.delete(oldest);
  }
}

function index(nodes: readonly (readonly Address[])[]): Map<string, readonly Address[]> {
  const knownBy = new Map<string, Address[]>();
  for (const [first, ...further] of nodes) {
    if (first === undefined) continue;
    for (const address of further) {
      const key = addressKey(address);
      const known = knownBy.get(key) ?? [];
      known.push(first);
      knownBy.set(key, known);
    }
  }
  return knownBy;
}
