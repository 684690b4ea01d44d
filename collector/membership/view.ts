/**
 * What agents have read of a cluster, and which of it counts. A view is the word of its readers: it is accepted where an admin named
 * the reader, where two agents of different nodes list the same, or where the reader is on the head.
 */
import { createHash } from 'node:crypto';
import type { MembersWanted, SharedMember, SharedMembersMessage } from '../../common/shared-view.ts';

const MAX_READERS_LENGTH = 128;

/** One agent's connection. */
export interface Follower {
  readonly agent: string;
  /** Whether it presented a credential of its own: then its name is no other's. */
  readonly isBound?: boolean;
  /** Where it connects from: one place for all addresses of loopback, or behind a proxy that is not trusted. */
  readonly from: string;
  /** The address that it connects from, and the one of this machine that it connects to, as text; left out where not known. */
  readonly address?: string | undefined;
  readonly reachedAt?: string | undefined;
  /** Returns whether the message went out; a peer that does not read is told later. */
  readonly send: (message: SharedMembersMessage | MembersWanted) => boolean;
}

/** A view as the API shows it. */
export interface SharedView {
  readonly cluster: string;
  /** Who read it: `head`, or `head and w2`. */
  readonly reporter: string;
  /**
   * `named` and `confirmed` are handed out, and `head` to those whose raylet has its head where the reader is; `waiting` needs
   * another agent that reads the same, or an admin who names the reader.
   */
  readonly state: 'named' | 'confirmed' | 'head' | 'waiting';
  readonly asOfMs: number;
  readonly members: readonly SharedMember[];
  readonly followers: number;
}

/** What one agent has read. */
export interface Report {
  readonly follower: Follower;
  readonly asOfMs: number;
  readonly heardAtMs: number;
  readonly members: readonly SharedMember[];
  /** The same for the same addresses. */
  readonly fingerprint: string;
}

export interface AcceptedView extends Omit<SharedView, 'cluster' | 'followers'> {
  readonly readers: readonly Follower[];
  readonly fingerprint: string;
}

/** The addresses that most agents list, where at least two of different nodes do; of equals those that came first. */
export function confirmedView(reports: readonly Report[]): AcceptedView | undefined {
  const groups = new Map<string, Report[]>();
  for (const report of reports) {
    const group = groups.get(report.fingerprint) ?? [];
    groups.set(report.fingerprint, group);
    if (group.every(({ follower }) => areDifferentNodes(follower, report.follower))) group.push(report);
  }
  const [largest = []] = [...groups.values()].toSorted((a, b) => b.length - a.length);
  return largest.length < 2 ? undefined : viewOf('confirmed', largest.slice(0, 2));
}

/** Two names that share a token are two agents only where they connect from two places. */
function areDifferentNodes(a: Follower, b: Follower): boolean {
  if (a.agent === b.agent) return false;
  const areBound = a.isBound === true && b.isBound === true;
  return areBound || a.from !== b.from;
}

/** @param reports of the same addresses, one or two */
export function viewOf(state: 'named' | 'confirmed' | 'head', reports: readonly Report[]): AcceptedView {
  const [first, second] = reports;
  if (first === undefined) throw new Error('a view without a report');
  return {
    state,
    readers: reports.map(({ follower }) => follower),
    reporter: reports
      .map(({ follower }) => follower.agent)
      .join(' and ')
      .slice(0, MAX_READERS_LENGTH),
    asOfMs: Math.min(...reports.map(({ asOfMs }) => asOfMs)),
    members: second === undefined ? first.members : withCommonPorts(first.members, second.members),
    fingerprint: first.fingerprint,
  };
}

/** The members of the first list, with no more than what both say of them. */
function withCommonPorts(
  members: readonly SharedMember[],
  others: readonly SharedMember[],
): readonly SharedMember[] {
  const said = new Set(others.flatMap((member) => claimsOf(member)));
  return members.map(({ id, addresses, role, group, isShared, ports }) => ({
    id,
    addresses,
    ...(role === undefined ? {} : { role }),
    // What a rule may approve of is said by both, or by none.
    ...(group === undefined || !addresses.every((address) => said.has(`${address} group ${group}`))
      ? {}
      : { group }),
    ...(isShared === undefined ? {} : { isShared }),
    ports: ports
      .map(([service, numbers]): [string, number[]] => [
        service,
        numbers.filter((port) => addresses.every((address) => said.has(`${address} ${service} ${port}`))),
      ])
      .filter(([, numbers]) => numbers.length > 0),
  }));
}

function claimsOf({ addresses, ports, group }: SharedMember): string[] {
  return addresses.flatMap((address) => [
    `${address} group ${group}`,
    ...ports.flatMap(([service, numbers]) => numbers.map((port) => `${address} ${service} ${port}`)),
  ]);
}

/** The list that was there before, where the new one says the same. */
export function sameOr(
  before: Pick<Report, 'members'>,
  { members }: Pick<Report, 'members'>,
): readonly SharedMember[] {
  return before.members === members || JSON.stringify(before.members) === JSON.stringify(members)
    ? before.members
    : members;
}

export function fingerprintOf(members: readonly SharedMember[]): string {
  // An id is what a rule may approve of: it is part of what two agents have to agree on.
  const texts = members.flatMap(({ id, addresses }) => addresses.map((address) => `${address} ${id}`));
  return createHash('sha256').update(texts.toSorted().join('\n')).digest('hex');
}

export function waitingView(
  reports: readonly Report[],
): Omit<SharedView, 'cluster' | 'followers'> | undefined {
  const [first] = reports;
  if (first === undefined) return undefined;
  const reporter = reports.map(({ follower }) => follower.agent).join(' and ');
  return {
    reporter: reporter.slice(0, MAX_READERS_LENGTH),
    state: 'waiting',
    asOfMs: first.asOfMs,
    members: first.members,
  };
}
