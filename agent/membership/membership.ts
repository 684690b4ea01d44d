/**
 * Who is in which group at which time, joined from all providers of the rules' groups. The group named `cluster` is
 * the membership of the Ray cluster.
 *
 * A packet's time decides. It counts as a member's from the grace time before the report of the join until the linger
 * time after that of the end; then the address is that of a former member, so that its traffic can be told from a
 * stranger's.
 */
import { isLoopback, sameAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { MembershipView } from '../../rules/match.ts';
import { DEFAULT_TIMES, type MembershipTimes } from '../../rules/membership.ts';
import { CLUSTER_GROUP } from '../../rules/schema.ts';
import { addressKey, type Interval } from './address-history.ts';
import type { NodeAddresses } from './node-addresses.ts';
import { OwnAddresses } from './own-addresses.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import { StandingView } from './standing-view.ts';

/**
 * The addresses that the rules approve of as members; a name that no group in the rules can have. Who is in it is no
 * member for that alone: a source must list him, too.
 */
const APPROVED_GROUP = '(approved)';

/**
 * How long the packets wait for a source: for its first look before the start, for a refresh, and for its end. A source that
 * takes longer goes on by itself, and counts as silent meanwhile.
 */
const SOURCE_LIMIT_MS = 5000;

const NOTHING_NEW: Promise<LookResult> = Promise.resolve('answered');

/** Whom the rules approve of, of those that sources other than the rules themselves list as members. */
interface Approved {
  /** Of addresses. */
  readonly providers: readonly Provider[];
  readonly ids: ReadonlySet<string>;
  readonly nodeGroups: ReadonlySet<string>;
}

/** How an address that no rule approves of came to be listed as a member. */
export interface Admission {
  readonly address: Address;
  readonly member: Member;
  /** In ms since the epoch; -Infinity where it was there before the first view. */
  readonly sinceMs: number;
}

/** The nodes that one source lists now. */
export interface Listing {
  readonly source: string;
  readonly members: readonly Member[];
  /** When the source said so, in ms since the epoch; left out where it never ages. */
  readonly asOfMs?: number | undefined;
}

interface MembershipOptions {
  /** The providers of each group. */
  readonly providers: ReadonlyMap<string, readonly Provider[]>;
  /** Left out, whoever a source lists is a member. */
  readonly approved?: Approved;
  /** `DEFAULT_TIMES` when left out. */
  readonly times?: MembershipTimes | undefined;
  readonly clock: Clock;
  /** Every address of this machine; none in a replay, or when left out. */
  readonly localAddresses?: (() => readonly string[]) | undefined;
  /** Further addresses of other nodes; none when left out. */
  readonly nodeAddresses?: NodeAddresses | undefined;
}

/** How one source of a group stands. */
export interface SourceState {
  readonly group: string;
  /** The provider's name. */
  readonly source: string;
  readonly members: readonly Member[];
  /** Address ranges that count beside the members. */
  readonly ranges: number;
  /** Whether it has told all that it knows at least once. */
  readonly hasAnswered: boolean;
  /** Since when it has told nothing, in ms. */
  readonly ageMs: number;
  /** Host names that it tells of and that do not resolve at the moment. */
  readonly unresolvedNames?: readonly string[];
}

export class Membership implements MembershipView {
  readonly #clock: Clock;
  readonly #views = new Map<string, readonly StandingView[]>();
  /** The views of all groups. */
  readonly #standing: readonly StandingView[];
  readonly #approved: Approved | undefined;
  readonly #times: MembershipTimes;
  readonly #own: OwnAddresses;
  readonly #nodes: NodeAddresses | undefined;
  #unfollowNodes: () => void = () => {};
  #changed: () => void = () => {};

  constructor({
    providers,
    approved,
    clock,
    times = DEFAULT_TIMES,
    localAddresses,
    nodeAddresses,
  }: MembershipOptions) {
    this.#clock = clock;
    this.#nodes = nodeAddresses;
    this.#own = new OwnAddresses(clock, localAddresses);
    this.#times = times;
    this.#approved = approved;
    const approving = approved === undefined ? [] : ([[APPROVED_GROUP, approved.providers]] as const);
    for (const [group, sources] of [...providers, ...approving]) {
      this.#views.set(
        group,
        sources.map((provider) => new StandingView(provider, times.keepMs)),
      );
    }
    this.#standing = [...this.#views.values()].flat();
  }

  /** Starts every provider and resolves when each has had its first look, or has taken too long for it. */
  async start(): Promise<void> {
    const startMs = this.#clock.monotonic();
    const starts = this.#standing.map(async (standing) => {
      const started = standing.provider.start((view) => this.#take(standing, view));
      const isOverdue = await this.#inTime(started.then(() => false));
      // A source that fails at once, such as a file that is not there, is silent since then as well.
      const hasFailed = isOverdue === undefined ? !standing.hasAnswered : !standing.hasView;
      if (hasFailed) standing.noteOverdue(startMs);
    });
    await Promise.all(starts);
  }

  /** Calls `changed` whenever somebody joins or leaves, or a port changes, from now on. */
  onChange(changed: () => void): void {
    this.#changed = changed;
    this.#unfollowNodes();
    this.#unfollowNodes = this.#nodes?.onChange(changed) ?? this.#unfollowNodes;
  }

  async stop(): Promise<void> {
    this.#changed = () => {};
    this.#unfollowNodes();
    await this.#inTime(Promise.all(this.#standing.map(({ provider }) => provider.stop())));
  }

  /** Whether a source can be asked who is new. */
  get canLook(): boolean {
    for (const views of this.#views.values()) if (views.some((view) => view.canBeAsked)) return true;
    return false;
  }

  /** Has the sources looked at anew, past every cache: `failed` where one does not answer that answered before. */
  async lookNow(): Promise<LookResult> {
    const asked = this.#standing.filter((view) => view.canBeAsked);
    const results = await Promise.all(
      asked.map(({ provider }) => this.#inTime(provider.refresh?.() ?? NOTHING_NEW)),
    );
    return results.every((result) => result === 'answered') ? 'answered' : 'failed';
  }

  /** Since how long a source of the cluster has not answered, in ms; 0 where none ages. */
  ageMs(nowMs: number): number {
    return Math.max(0, ...this.#viewsOf(CLUSTER_GROUP).map((view) => view.ageMs(nowMs)));
  }

  /**
   * Whether a complete list of the cluster was seen, however old it is by now. Hosts in the rules are none where another
   * source is named, too, or where none of their names has ever resolved.
   */
  get hasList(): boolean {
    const views = this.#viewsOf(CLUSTER_GROUP);
    const others = views.filter(({ provider }) => provider.given !== 'in the rules');
    const sources = others.length === 0 ? views : others;
    return sources.length === 0 || sources.some(({ hasAnswered }) => hasAnswered);
  }

  /** Since when such a list is awaited, in ms since the epoch; undefined where there is one, or no raylet here needs it. */
  get awaitedSinceMs(): number | undefined {
    if (this.hasList) return undefined;
    const awaited = this.#viewsOf(CLUSTER_GROUP).flatMap((view) => view.awaitedSinceMs ?? []);
    return awaited.length === 0 ? undefined : Math.min(...awaited);
  }

  /** Lets go of what a source has not said again for too long; to be called now and then. */
  expire(nowMs: number): void {
    const expired = this.#standing.filter((view) => view.expire(nowMs));
    if (expired.length > 0) this.#changed();
  }

  /** How each source of each group stands, for people who look after them. */
  sources(nowMs: number): SourceState[] {
    return [...this.#views].flatMap(([group, views]) =>
      views.map((view) => ({
        group,
        source: view.provider.name,
        members: view.members,
        ranges: view.prefixes.length,
        hasAnswered: view.hasAnswered,
        ageMs: view.ageMs(nowMs),
        unresolvedNames: view.unresolvedNames,
      })),
    );
  }

  /** How many host names that sources tell of do not resolve at the moment. */
  unresolvedNames(): number {
    return this.#standing.reduce((total, { unresolvedNames }) => total + unresolvedNames.length, 0);
  }

  /** The nodes of the cluster that sources list; ranges are not among them. */
  members(): Member[] {
    return this.#viewsOf(CLUSTER_GROUP).flatMap(({ members }) => members);
  }

  /** What each source of the cluster has listed, as far as it has told of all; what stands in the rules is no news. */
  listings(): Listing[] {
    return this.#viewsOf(CLUSTER_GROUP)
      .filter(({ hasAnswered, provider }) => hasAnswered && provider.given !== 'in the rules')
      .map(({ provider, members, asOfMs }) => ({ source: provider.name, members, asOfMs }));
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
    if (this.#isListed(group, address, timeMs)) return true;
    return group === CLUSTER_GROUP && this.#isOfListedNode(address, timeMs);
  }

  /**
   * Whether both addresses are of one node, so that what passes between them never leaves it. Of this machine the kernel
   * says which addresses it has. In a recording the members do, and loopback is of the node that recorded it.
   */
  isOneNode(a: Address, b: Address, timeMs: number): boolean {
    if (sameAddress(a, b) || (isLoopback(a) && isLoopback(b))) return true;
    if (this.#own.areKnown) return this.#own.has(a) && this.#own.has(b);
    // Nobody elsewhere gets an answer at a loopback address; to one, packets come from elsewhere where `route_localnet` is set.
    if (isLoopback(a)) return this.inGroup(CLUSTER_GROUP, b, timeMs);
    for (const view of this.#viewsOf(CLUSTER_GROUP))
      for (const interval of view.intervalsOf(a))
        if (this.#holds(interval, timeMs) && hasAddress(interval.member, b)) return true;
    return false;
  }

  /**
   * This machine's addresses that other nodes may see, those first by which sources know it: not by this node's own word.
   */
  ownAddresses(): Address[] {
    const timeMs = this.#clock.monotonic();
    const isKnownToSource = (address: Address): boolean =>
      this.#viewsOf(CLUSTER_GROUP).some(
        (view) =>
          view.covers(address) ||
          view
            .intervalsOf(address)
            .some((interval) => interval.member.isLocal !== true && this.#holds(interval, timeMs)),
      );
    const own = this.#own.all().filter((address) => !isLoopback(address));
    return [...own.filter(isKnownToSource), ...own.filter((address) => !isKnownToSource(address))];
  }

  /** The node that says the address is its own, where that does not count. */
  claimant(address: Address): string | undefined {
    return this.#nodes?.claimant(address);
  }

  /** Whether the address is of a node that is in the cluster by another of its addresses. */
  #isOfListedNode(address: Address, timeMs: number): boolean {
    const isListed = (other: Address): boolean => this.#isListed(CLUSTER_GROUP, other, timeMs);
    if (this.#nodes?.knownBy(address).some(isListed) === true) return true;
    if (!this.#own.has(address)) return false;
    return this.#own.all().some((own) => !isLoopback(own) && isListed(own));
  }

  #isListed(group: string, address: Address, timeMs: number): boolean {
    // Asked several times of each connection: nothing is made for it.
    for (const view of this.#viewsOf(group)) {
      if (view.covers(address)) return true;
      for (const interval of view.intervalsOf(address)) {
        if (!this.#holds(interval, timeMs)) continue;
        if (group !== CLUSTER_GROUP || this.#admits(view, interval.member, address, timeMs)) return true;
      }
    }
    return false;
  }

  /** Whether the address is in the cluster at the moment. */
  isMemberNow(address: Address): boolean {
    return this.inGroup(CLUSTER_GROUP, address, this.#clock.monotonic());
  }

  /** Whether the address is in any group at that time. */
  isKnown(address: Address, timeMs: number): boolean {
    for (const group of this.#views.keys()) {
      if (group !== APPROVED_GROUP && this.inGroup(group, address, timeMs)) return true;
    }
    return false;
  }

  /** Whether the address was in the cluster before that time, and is no more. */
  isFormerMember(address: Address, timeMs: number): boolean {
    const known = [address, ...(this.#nodes?.knownBy(address) ?? [])];
    return known.some((each) => this.#hasLeft(each, timeMs)) && !this.inGroup(CLUSTER_GROUP, address, timeMs);
  }

  #hasLeft(address: Address, timeMs: number): boolean {
    return this.#viewsOf(CLUSTER_GROUP).some((view) =>
      view
        .intervalsOf(address)
        .some(
          ({ member, untilMs }) =>
            untilMs + this.#times.lingerMs < timeMs && this.#admits(view, member, address, timeMs),
        ),
    );
  }

  isUnapproved(address: Address, timeMs: number): boolean {
    return this.admission(address, timeMs) !== undefined;
  }

  /** Who listed the address as a member of the cluster, where the rules do not approve of it; undefined otherwise. */
  admission(address: Address, timeMs: number): Admission | undefined {
    if (this.#approved === undefined || this.inGroup(CLUSTER_GROUP, address, timeMs)) return undefined;
    const interval = this.#nodesAt(address, timeMs).at(-1);
    return interval && { address, member: interval.member, sinceMs: interval.sinceMs };
  }

  /** The nodes of the cluster that sources listed at the address at that time, those that have just left included. */
  membersAt(address: Address, timeMs: number): Member[] {
    return this.#nodesAt(address, timeMs).map(({ member }) => member);
  }

  /** Whether the address is still in a group at that time, though its time there has ended: a verdict may not last. */
  isLeaving(address: Address, timeMs: number): boolean {
    for (const view of this.#standing)
      for (const interval of view.endedIntervalsOf(address)) if (this.#holds(interval, timeMs)) return true;
    return false;
  }

  /** Begins with what another membership knows, source by source; to be called before `start`. */
  inherit(before: Membership): void {
    for (const [group, views] of this.#views) {
      for (const view of views) {
        const same = before.#viewsOf(group).find(({ provider }) => provider.name === view.provider.name);
        if (same !== undefined) view.inherit(same);
      }
    }
  }

  /**
   * Begins with the last lists from before a restart, where their sources have given none by now; to be called after `start`.
   * One without the head that this node knows is of another cluster.
   */
  recall(lists: readonly (Listing & { readonly asOfMs: number })[]): void {
    const nowMs = this.#clock.monotonic();
    for (const { source, members, asOfMs } of lists) {
      const view = this.#viewsOf(CLUSTER_GROUP).find(({ provider }) => provider.name === source);
      if (view === undefined || view.hasAnswered || view.provider.given === 'in the rules') continue;
      const listed = new Set(members.flatMap(({ addresses }) => addresses.map(addressKey)));
      const heads = view.members.filter(({ isLocal, role }) => isLocal === true && role === 'head');
      const isOfCluster = heads.every(({ addresses }) =>
        addresses.some((address) => listed.has(addressKey(address))),
      );
      if (isOfCluster) view.recall(members, asOfMs, nowMs);
    }
  }

  /** What the work comes to, or undefined where it takes too long. */
  #inTime<T>(work: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(SOURCE_LIMIT_MS, () => resolve(undefined));
      work.finally(() => timer.cancel()).then(resolve, reject);
    });
  }

  /** Whether somebody that a source of the cluster lists is a member. */
  #admits(view: StandingView, member: Member, address: Address, timeMs: number): boolean {
    if (this.#approved === undefined || view.provider.given !== undefined) return true;
    if (member.isLocal === true && member.needsApproval !== true) return true;
    const { ids, nodeGroups } = this.#approved;
    if (ids.has(member.id) || (member.group !== undefined && nodeGroups.has(member.group))) return true;
    return this.inGroup(APPROVED_GROUP, address, timeMs);
  }

  /** Which nodes of the cluster had the address at that time, whether they are admitted or not. */
  #nodesAt(address: Address, timeMs: number): Interval[] {
    const found: Interval[] = [];
    for (const view of this.#viewsOf(CLUSTER_GROUP)) {
      for (const interval of view.intervalsOf(address)) {
        if (this.#holds(interval, timeMs)) found.push(interval);
      }
    }
    return found;
  }

  #holds({ sinceMs, untilMs }: Interval, timeMs: number): boolean {
    const { graceMs, lingerMs } = this.#times;
    return timeMs >= sinceMs - graceMs && timeMs <= untilMs + lingerMs;
  }

  #take(standing: StandingView, view: GroupView): void {
    if (standing.take(view, this.#clock.monotonic())) this.#changed();
  }

  #viewsOf(group: string): readonly StandingView[] {
    return this.#views.get(group) ?? NO_VIEWS;
  }
}

const NO_VIEWS: readonly StandingView[] = [];

function hasAddress({ addresses }: Member, address: Address): boolean {
  return addresses.some((each) => sameAddress(each, address));
}
