/**
 * What stands of one provider: its last good view with its age, and the memory of the views before.
 *
 * A source that fails or lies does not empty the cluster. Its last view stays for the time that the rules say, most of
 * its members cannot vanish by one answer, and only after that time what it alone told counts no more.
 */
import { prefixContains, type Address, type Prefix } from '../../common/address.ts';
import { AddressHistory, type Interval } from './address-history.ts';
import type { GroupView, Member, Provider } from './provider.ts';
import { ShrinkGuard } from './shrink-guard.ts';

export class StandingView {
  readonly provider: Provider;
  readonly #keepMs: number;
  readonly #history = new AddressHistory();
  readonly #guard = new ShrinkGuard();
  #members: readonly Member[] = [];
  #prefixes: readonly Prefix[] = [];
  /** Of the members, then of the prefixes. */
  #fingerprints: readonly string[] = [];
  #asOfMs: number | undefined;
  #hasView = false;
  /** Whether a view was there with all that the source knows. */
  #isComplete = false;
  /** Whether the source has ever told all of something that can grow old. */
  #canAge = false;
  /** Since when its first view is overdue, in ms. */
  #overdueSinceMs: number | undefined;
  /** Whether the members are still those of a view before a change of the rules. */
  #isInherited = false;
  #unresolvedNames: readonly string[] = [];

  /** @param keepMs how long a view stays that the source does not renew */
  constructor(provider: Provider, keepMs: number) {
    this.provider = provider;
    this.#keepMs = keepMs;
  }

  get members(): readonly Member[] {
    return this.#members;
  }

  get prefixes(): readonly Prefix[] {
    return this.#prefixes;
  }

  /** Host names that the source tells of and that do not resolve at the moment. */
  get unresolvedNames(): readonly string[] {
    return this.#unresolvedNames;
  }

  /** When the source said so, in ms since the epoch; undefined where it never ages. */
  get asOfMs(): number | undefined {
    return this.#asOfMs;
  }

  /** Whether the source has told all that it knows at least once. */
  get hasAnswered(): boolean {
    return this.#isComplete;
  }

  /**
   * Whether there is something new to be learnt by asking; nobody waits for a source that has never answered. One that had nothing
   * to say, for want of a raylet here, may have by now.
   */
  get canBeAsked(): boolean {
    const hasNothingToSay = this.#hasView && !this.#isComplete && this.#asOfMs === undefined;
    return (this.#canAge || hasNothingToSay) && this.provider.refresh !== undefined;
  }

  /** Since when a first view with all that the source knows is awaited, in ms; undefined once there was one, or for nobody. */
  get awaitedSinceMs(): number | undefined {
    return this.#isComplete ? undefined : (this.#asOfMs ?? this.#overdueSinceMs);
  }

  /** Whether the source has published a view, complete or not. */
  get hasView(): boolean {
    return this.#hasView;
  }

  /** How old the view is, in ms; 0 where it never ages. */
  ageMs(nowMs: number): number {
    const sinceMs = this.#asOfMs ?? this.#overdueSinceMs;
    return sinceMs === undefined ? 0 : Math.max(0, nowMs - sinceMs);
  }

  /** The first look has not ended in time: until a view comes, the source counts as silent since then. */
  noteOverdue(sinceMs: number): void {
    this.#overdueSinceMs = sinceMs;
  }

  /** Takes what the provider publishes. Returns whether that changes anything. */
  take(view: GroupView, nowMs: number): boolean {
    const isPartial = view.isPartial === true;
    this.#hasView = true;
    this.#overdueSinceMs = undefined;
    this.#unresolvedNames = view.unresolvedNames ?? [];
    // Whoever changed the rules may have changed the question: the first answer to it stands, however short.
    const before = this.#isInherited && !isPartial ? [] : this.#members;
    const members = this.#guard.admit(before, view, nowMs);
    // Before the first complete view, a partial one says whether anybody waits at all.
    if (isPartial) this.#asOfMs = this.#isComplete ? (this.#asOfMs ?? view.asOfMs) : view.asOfMs;
    else if (!this.#guard.isInDoubt) this.#asOfMs = view.asOfMs;
    const sinceMs = this.#isComplete ? (view.asOfMs ?? nowMs) : -Infinity;
    this.#isComplete ||= !isPartial;
    this.#canAge ||= !isPartial && view.asOfMs !== undefined;
    this.#isInherited &&= isPartial;
    const standing = this.#isOutdated(nowMs) ? members.filter(isLocal) : members;
    return this.#show(standing, view.prefixes, sinceMs, nowMs);
  }

  /** Lets go of members whose source has been silent for too long. Returns whether there were any. */
  expire(nowMs: number): boolean {
    if (!this.#isOutdated(nowMs)) return false;
    return this.#show(this.#members.filter(isLocal), this.#prefixes, nowMs, nowMs);
  }

  /** The members that had the address at some time, in the order of the ends of their time. */
  intervalsOf(address: Address): readonly Interval[] {
    return this.#history.of(address);
  }

  /** Those of them that have ended. */
  endedIntervalsOf(address: Address): readonly Interval[] {
    return this.#history.endedOf(address);
  }

  /** Whether the address lies in one of the ranges. */
  covers({ w0, w1, w2, w3 }: Address): boolean {
    for (const prefix of this.#prefixes) if (prefixContains(prefix, w0, w1, w2, w3)) return true;
    return false;
  }

  /**
   * Begins where a view of the same source stands; to be called before the first look. What stood in the rules themselves
   * is void now, and only what had ended is remembered.
   */
  inherit(before: StandingView): void {
    if (this.provider.given === 'in the rules') {
      this.#history.inheritEnded(before.#history);
      return;
    }
    this.#history.inherit(before.#history);
    this.#members = before.#members;
    this.#asOfMs = before.#asOfMs;
    this.#isComplete = before.#isComplete;
    this.#canAge = before.#canAge;
    this.#isInherited = true;
  }

  /** Begins with a list from before a restart, beside what is known of this node itself. */
  recall(members: readonly Member[], asOfMs: number, nowMs: number): void {
    this.#asOfMs = asOfMs;
    this.#isComplete = true;
    this.#canAge = true;
    this.#isInherited = true;
    this.#show([...this.#members, ...members], this.#prefixes, -Infinity, nowMs);
  }

  #isOutdated(nowMs: number): boolean {
    return this.ageMs(nowMs) > this.#keepMs;
  }

  #show(members: readonly Member[], prefixes: readonly Prefix[], sinceMs: number, nowMs: number): boolean {
    const isSame = this.#isShown(members, prefixes);
    this.#members = members;
    this.#prefixes = prefixes;
    if (!isSame) this.#history.update(members, sinceMs, nowMs);
    return !isSame;
  }

  #isShown(members: readonly Member[], prefixes: readonly Prefix[]): boolean {
    if (members === this.#members && prefixes === this.#prefixes) return true;
    const before = this.#fingerprints;
    this.#fingerprints = [...members.map(fingerprintOf), JSON.stringify(prefixes)];
    return sameTexts(this.#fingerprints, before);
  }
}

/** Of a thousand members that a source lists again and again, mostly the same objects, few have to be made text of. */
const fingerprints = new WeakMap<Member, string>();

function fingerprintOf(member: Member): string {
  const known = fingerprints.get(member);
  if (known !== undefined) return known;
  const { ports, claimedPorts = [] } = member;
  const fingerprint = JSON.stringify({ ...member, ports: [...ports], claimedPorts: [...claimedPorts] });
  fingerprints.set(member, fingerprint);
  return fingerprint;
}

function sameTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, index) => text === b[index]);
}

function isLocal(member: Member): boolean {
  return member.isLocal === true;
}
