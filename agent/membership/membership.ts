/**
 * Who is in which group, joined from all providers of the rules' groups. The group named `cluster` is the
 * membership of the Ray cluster.
 *
 * An address that left the cluster is remembered as a former member, so that traffic from it can be told from a
 * stranger's.
 */
import { prefixContains, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { MembershipView } from '../../rules/match.ts';
import { CLUSTER_GROUP } from '../../rules/schema.ts';
import type { GroupView, Member, Provider } from './provider.ts';

/** Former members that are remembered; the oldest are forgotten first. */
const MAX_FORMER_MEMBERS = 20_000;

interface MembershipOptions {
  /** The providers of each group. */
  readonly providers: ReadonlyMap<string, readonly Provider[]>;
  readonly clock: Clock;
}

/** One provider's last view, indexed by address. */
interface IndexedView extends GroupView {
  readonly addresses: ReadonlySet<string>;
}

const EMPTY_VIEW: IndexedView = { members: [], prefixes: [], addresses: new Set() };

export class Membership implements MembershipView {
  readonly #providers: ReadonlyMap<string, readonly Provider[]>;
  readonly #clock: Clock;
  readonly #views = new Map<string, IndexedView[]>();
  /** When an address left the cluster, in ms since the epoch; insertion order is the order of leaving. */
  readonly #left = new Map<string, number>();
  #changed: () => void = () => {};

  constructor({ providers, clock }: MembershipOptions) {
    this.#providers = providers;
    this.#clock = clock;
    for (const [group, sources] of providers)
      this.#views.set(
        group,
        sources.map(() => EMPTY_VIEW),
      );
  }

  /** Starts every provider and resolves when each has had its first look. */
  async start(): Promise<void> {
    const starts = [...this.#providers].flatMap(([group, sources]) =>
      sources.map((provider, index) => provider.start((view) => this.#take(group, index, view))),
    );
    await Promise.all(starts);
  }

  /** Calls `changed` whenever a provider publishes from now on. */
  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  async stop(): Promise<void> {
    this.#changed = () => {};
    await Promise.all([...this.#providers.values()].flat().map((provider) => provider.stop()));
  }

  /** The nodes of the cluster that are known by name; ranges are not among them. */
  members(): Member[] {
    return (this.#views.get(CLUSTER_GROUP) ?? []).flatMap((view) => view.members);
  }

  /** How many nodes the members are: those that share an address are one, told by several sources. */
  nodeCount(): number {
    const seen = new Set<string>();
    let nodes = 0;
    for (const { addresses } of this.members()) {
      const keys = addresses.map(addressKey);
      if (!keys.some((key) => seen.has(key))) nodes++;
      for (const key of keys) seen.add(key);
    }
    return nodes;
  }

  /** Whether the address is in the group now. Groups that the rules do not define are empty. */
  inGroup(group: string, address: Address, _timeMs: number): boolean {
    const key = addressKey(address);
    const { w0, w1, w2, w3 } = address;
    return (this.#views.get(group) ?? []).some(
      (view) =>
        view.addresses.has(key) || view.prefixes.some((prefix) => prefixContains(prefix, w0, w1, w2, w3)),
    );
  }

  /** Whether the address was in the cluster before `timeMs` and is no more. */
  isFormerMember(address: Address, timeMs: number): boolean {
    const leftMs = this.#left.get(addressKey(address));
    return leftMs !== undefined && leftMs <= timeMs && !this.inGroup(CLUSTER_GROUP, address, timeMs);
  }

  #take(group: string, index: number, view: GroupView): void {
    const views = this.#views.get(group);
    const before = views?.[index];
    if (views === undefined || before === undefined) return;
    const addresses = new Set(view.members.flatMap((member) => member.addresses.map(addressKey)));
    views[index] = { ...view, addresses };
    if (group === CLUSTER_GROUP) this.#rememberLeft(before.addresses, addresses);
    this.#changed();
  }

  #rememberLeft(before: ReadonlySet<string>, now: ReadonlySet<string>): void {
    for (const key of now) this.#left.delete(key);
    for (const key of before) if (!now.has(key)) this.#left.set(key, this.#clock.now());
    for (const key of this.#left.keys()) {
      if (this.#left.size <= MAX_FORMER_MEMBERS) break;
      this.#left.delete(key);
    }
  }
}

/** A key for maps, made once for a connection and never for a packet. */
export function addressKey({ w0, w1, w2, w3 }: Address): string {
  return `${w0}.${w1}.${w2}.${w3}`;
}
