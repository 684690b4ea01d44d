/**
 * The verdict on a connection: which rule allows it, or why none does.
 *
 * The command line, the tests and the live path ask the same `Ruleset`. It is asked once for a connection and again
 * when rules or membership change, never for each packet.
 */
import type { Address } from '../common/address.ts';
import type { Verdict, VerdictReason } from '../common/event.ts';
import type { TrustedTunnel } from '../common/tunnel.ts';
import type { Hours } from './hours.ts';
import {
  CLUSTER_GROUP,
  type Approvals,
  type GroupSources,
  type RuleMode,
  type ServicePorts,
} from './schema.ts';

/** Who is in which group; times are ms since the epoch. */
export interface MembershipView {
  /** Whether the address is in the group at that time; false for groups it does not know. */
  inGroup(group: string, address: Address, timeMs: number): boolean;
  /** Whether the address was in the cluster before that time and is no more. */
  isFormerMember(address: Address, timeMs: number): boolean;
  /** Whether a source lists the address as a member of the cluster at that time, and the rules do not approve of it. */
  isUnapproved(address: Address, timeMs: number): boolean;
  /** Whether both addresses are of one node at that time; left out by views that know of addresses only. */
  isOneNode?(a: Address, b: Address, timeMs: number): boolean;
}

/** What is judged: who opened a connection to whom, and when. */
export interface Connection {
  readonly source: Address;
  readonly destination: Address;
  /** Services of the destination endpoint; empty when the destination is no member. */
  readonly services: readonly string[];
  /** The packet's time, ms since the epoch. */
  readonly timeMs: number;
  /** The wall clock's time then, by which `until` and `hours` are meant; left out where `timeMs` is that. */
  readonly wallMs?: number;
}

/** One rule, ready to be asked. */
export interface Rule {
  readonly name: string;
  /** Groups, as written. */
  readonly from: readonly string[];
  /** Services, as written. */
  readonly to: readonly string[];
  /** When the rule holds; undefined for always. */
  readonly hours: Hours | undefined;
  /** `hours` as written, for messages. */
  readonly hoursText: string | undefined;
  /** The rule holds before this time, ms since the epoch; Infinity for ever. */
  readonly untilMs: number;
  readonly mode: RuleMode;
  readonly owner: string | undefined;
  readonly reason: string | undefined;
  /** Where the rule stands. */
  readonly file: string;
  readonly line: number;
}

/** What is kept of the packets of an unexpected connection. */
export interface EvidenceLimits {
  /** Packets that are kept; 0 for no evidence. */
  readonly packets: number;
  /** Bytes of payload that are kept of each of them. */
  readonly payloadBytes: number;
}

export const DEFAULT_EVIDENCE: EvidenceLimits = { packets: 16, payloadBytes: 0 };

export interface RulesetParts {
  /** In the order in which they are tried. */
  readonly rules: readonly Rule[];
  readonly services: ReadonlyMap<string, ServicePorts>;
  readonly groups: ReadonlyMap<string, GroupSources>;
  /** With `members: approved`; left out, whoever a source lists is a member. */
  readonly approvals?: Approvals | undefined;
  /** `DEFAULT_EVIDENCE` when left out. */
  readonly evidence?: EvidenceLimits;
  /** Tunnels whose inside is plain traffic; none when left out. */
  readonly tunnels?: readonly TrustedTunnel[];
}

/** Compiled rules; immutable. */
export class Ruleset {
  readonly rules: readonly Rule[];
  /** The watched services: those under `services:`, those that a rule refers to, and always object-manager. */
  readonly services: ReadonlyMap<string, ServicePorts>;
  readonly groups: ReadonlyMap<string, GroupSources>;
  /** Whom the rules approve of as members; undefined where whoever a source lists is one. */
  readonly approvals: Approvals | undefined;
  readonly evidence: EvidenceLimits;
  readonly tunnels: readonly TrustedTunnel[];
  /** Made once and shared: a change of rules judges every open connection again. */
  readonly #verdicts: readonly RuleVerdicts[];

  constructor({
    rules,
    services,
    groups,
    approvals,
    evidence = DEFAULT_EVIDENCE,
    tunnels = [],
  }: RulesetParts) {
    this.rules = rules;
    this.services = services;
    this.groups = groups;
    this.approvals = approvals;
    this.evidence = evidence;
    this.tunnels = tunnels;
    this.#verdicts = rules.map(({ name }) => ({
      allowed: verdict(true, name, 'allowed'),
      expired: verdict(false, name, 'expired'),
      outsideHours: verdict(false, name, 'outside-hours'),
    }));
  }

  /**
   * A node may talk to itself, whatever the rules say of others. Else the first rule that matches decides. Where none does, the reason is the most telling one: a rule that has expired
   * or is outside its hours, an endpoint that made itself a member or has left the cluster, a service that the source
   * may not reach.
   */
  judge(connection: Connection, membership: MembershipView): Verdict {
    const { source, destination, services, timeMs, wallMs = timeMs } = connection;
    if (membership.isOneNode?.(source, destination, timeMs) === true) return WITHIN_NODE;
    const isToMember = membership.inGroup(CLUSTER_GROUP, destination, timeMs);
    let expired: Verdict | undefined;
    let outsideHours: Verdict | undefined;
    let isKnownSource = false;
    for (let index = 0; index < this.rules.length; index++) {
      const rule = this.rules[index];
      const verdicts = this.#verdicts[index];
      if (!isToMember || rule === undefined || verdicts === undefined) break;
      if (!isFrom(rule, source, timeMs, membership)) continue;
      isKnownSource = true;
      if (!isTo(rule, services)) continue;
      if (wallMs >= rule.untilMs) expired ??= verdicts.expired;
      else if (rule.hours !== undefined && !rule.hours(wallMs)) outsideHours ??= verdicts.outsideHours;
      else return verdicts.allowed;
    }
    if (expired !== undefined) return expired;
    if (outsideHours !== undefined) return outsideHours;
    if (membership.isUnapproved(source, timeMs) || membership.isUnapproved(destination, timeMs)) {
      return NOT_APPROVED;
    }
    if (membership.isFormerMember(source, timeMs) || membership.isFormerMember(destination, timeMs)) {
      return FORMER_MEMBER;
    }
    return isKnownSource ? WRONG_SERVICE : NO_RULE;
  }
}

interface RuleVerdicts {
  readonly allowed: Verdict;
  readonly expired: Verdict;
  readonly outsideHours: Verdict;
}

/** No rule had to allow it. */
const WITHIN_NODE = verdict(true, null, 'allowed');
const NOT_APPROVED = verdict(false, null, 'not-approved');
const FORMER_MEMBER = verdict(false, null, 'former-member');
const WRONG_SERVICE = verdict(false, null, 'wrong-service');
const NO_RULE = verdict(false, null, 'no-rule');

function isFrom(rule: Rule, source: Address, timeMs: number, membership: MembershipView): boolean {
  for (let index = 0; index < rule.from.length; index++) {
    if (membership.inGroup(rule.from[index] ?? '', source, timeMs)) return true;
  }
  return false;
}

function isTo(rule: Rule, services: readonly string[]): boolean {
  for (let index = 0; index < services.length; index++) {
    if (rule.to.includes(services[index] ?? '')) return true;
  }
  return false;
}

function verdict(allowed: boolean, rule: string | null, reason: VerdictReason): Verdict {
  return Object.freeze({ allowed, rule, reason });
}
