/**
 * Who is in which group at which time, joined from all providers of the rules' groups. The group named `cluster` is
 * the membership of the Ray cluster.
 *
 * A packet's time decides. It counts as a member's from the grace time before the report of the join until the linger
 * time after that of the end; then the address is that of a former member, so that its traffic can be told from a
 * stranger's. Where members must be approved, a live source's word alone makes nobody a member.
 */
import type { Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { MembershipView } from '../../rules/match.ts';
import { DEFAULT_MEMBERSHIP, type MembershipRules } from '../../rules/membership.ts';
import { CLUSTER_GROUP } from '../../rules/schema.ts';
import { addressKey, type Interval } from './address-history.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import { StandingView } from './standing-view.ts';

/** The group of approved addresses; no name that a rule file can use. */
export const APPROVED_GROUP = '(approved)';

interface MembershipOptions {
  /** The providers of each group; those of the approved addresses under `APPROVED_GROUP`. */
  readonly providers: ReadonlyMap<string, readonly Provider[]>;
  readonly clock: Clock;
  /** The defaults when left out. */
  readonly rules?: MembershipRules;
}

/** What one source said of an address. */
export interface Listing extends Interval {
  /** The name of the provider. */
  readonly source: string;
  /** Whether the rules let this word count. */
  readonly isApproved: boolean;
}

export class Membership implements MembershipView {
  readonly #clock: Clock;
  readonly #rules: MembershipRules;
  readonly #views = new Map<string, readonly StandingView[]>();
  #changed: () => void = () => {};

  constructor({ providers, clock, rules = DEFAULT_MEMBERSHIP }: MembershipOptions) {
    this.#clock = clock;
    this.#rules = rules;
    for (const [group, sources] of providers) {
      this.#views.set(
        group,
        sources.map((provider) => new StandingView(provider, rules.keepMs)),
      );
    }
  }

  /** Starts every provider and resolves when each has had its first look. */
  async start(): Promise<void> {
    const take = (standing: StandingView, view: GroupView): void => {
      if (standing.take(view, this.#clock.now())) this.#changed();
    };
    await Promise.all(
      this.#standing().map((standing) => standing.provider.start((view) => take(standing, view))),
    );
  }

  /** Calls `changed` whenever somebody joins or leaves, or a port changes, from now on. */
  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  async stop(): Promise<void> {
    this.#changed = () => {};
    await Promise.all(this.#standing().map(({ provider }) => provider.stop()));
  }

  /** Whether a provider could learn of a node that has just joined. */
  get canLearn(): boolean {
    return this.#standing().some(({ provider }) => provider.refresh !== undefined);
  }

  /** Has every source looked at again; resolves with `failed` when one that has answered before did not. */
  async refresh(): Promise<LookResult> {
    const looks = await Promise.all(this.#standing().map(({ provider }) => provider.refresh?.()));
    return looks.includes('failed') ? 'failed' : 'answered';
  }

  /** Lets go of what a source has not said again for too long; to be called now and then. */
  expire(nowMs: number): void {
    const expired = this.#standing().filter((view) => view.expire(nowMs));
    if (expired.length > 0) this.#changed();
  }

  /** The nodes of the cluster that sources list, approved or not; ranges are not among them. */
  members(): Member[] {
    return this.#viewsOf(CLUSTER_GROUP).flatMap(({ members }) => members);
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

  /** Whether the address is in the group at that time. Groups that the rules do not define are empty. */
  inGroup(group: string, address: Address, timeMs: number): boolean {
    return this.#viewsOf(group).some(
      (view) =>
        view.covers(address) ||
        view
          .intervalsOf(address)
          .some(
            (interval) =>
              this.#holds(interval, timeMs) &&
              (group !== CLUSTER_GROUP || this.#isApproved(view, interval, address, timeMs)),
          ),
    );
  }

  /** Whether the address was in the cluster before that time, and is no more. */
  isFormerMember(address: Address, timeMs: number): boolean {
    const hasLeft = this.#viewsOf(CLUSTER_GROUP).some((view) =>
      view
        .intervalsOf(address)
        .some(
          (interval) =>
            interval.untilMs + this.#rules.lingerMs < timeMs &&
            this.#isApproved(view, interval, address, timeMs),
        ),
    );
    return hasLeft && !this.inGroup(CLUSTER_GROUP, address, timeMs);
  }

  /** Whether the address is still in a group at that time, though its time there has ended: a verdict may not last. */
  isLeaving(address: Address, timeMs: number): boolean {
    return this.#standing().some((view) =>
      view
        .intervalsOf(address)
        .some((interval) => interval.untilMs !== Infinity && this.#holds(interval, timeMs)),
    );
  }

  /** What the sources of the cluster have said of an address, in the order of their time. */
  listings(address: Address, timeMs: number): Listing[] {
    return this.#viewsOf(CLUSTER_GROUP)
      .flatMap((view) =>
        view.intervalsOf(address).map((interval) => ({
          ...interval,
          source: view.provider.name,
          isApproved: this.#isApproved(view, interval, address, timeMs),
        })),
      )
      .toSorted((a, b) => Math.sign(a.sinceMs - b.sinceMs));
  }

  /** Takes over what another membership remembers of those that left, source by source. */
  inherit(before: Membership): void {
    for (const [group, views] of this.#views) {
      for (const view of views) {
        const same = before.#viewsOf(group).find(({ provider }) => provider.name === view.provider.name);
        if (same !== undefined) view.inherit(same);
      }
    }
  }

  #holds({ sinceMs, untilMs }: Interval, timeMs: number): boolean {
    const { graceMs, lingerMs } = this.#rules;
    return timeMs >= sinceMs - graceMs && timeMs <= untilMs + lingerMs;
  }

  #isApproved(view: StandingView, { member }: Interval, address: Address, timeMs: number): boolean {
    const { approved } = this.#rules;
    if (approved === undefined || view.provider.isWritten || member.isLocal === true) return true;
    const isOfGroup = member.group !== undefined && approved.nodeGroups.includes(member.group);
    return isOfGroup || this.inGroup(APPROVED_GROUP, address, timeMs);
  }

  #viewsOf(group: string): readonly StandingView[] {
    return this.#views.get(group) ?? [];
  }

  #standing(): StandingView[] {
    return [...this.#views.values()].flat();
  }
}
