/** One cluster of which agents report: what they have read, who follows it, and what was handed out. */
import { isLoopbackHost } from '../../common/address.ts';
import type { Timer } from '../../common/clock.ts';
import type { SharedMember } from '../../common/shared-view.ts';
import { viewOf, type AcceptedView, type Follower, type Report } from './view.ts';

export interface Cluster {
  /** By agent, that whose list has changed last at the end. */
  readonly reports: Map<string, Report>;
  view: AcceptedView | undefined;
  /** Since when the two readers have listed different addresses. */
  disagreeSinceMs: number | undefined;
  /** Whether it was said that there is no view to hand out. */
  isWaitingSaid: boolean;
  /** The members that each follower was sent last. */
  readonly followers: Map<Follower, readonly SharedMember[] | undefined>;
  /** Where the raylet of a follower's node has the head. */
  readonly heads: Map<Follower, readonly string[]>;
  /** From which address how many of the agents connect that report of it or follow it; undefined until it is asked for again. */
  agentsAt: Map<string, number> | undefined;
  /** Runs until followers may get the next message. */
  pause: Timer | undefined;
  isNews: boolean;
  /** Followers that wait for a view that is read after their question, and since when; they get it at once. */
  readonly askers: Map<Follower, number>;
  /** Runs until the readers may be asked again. */
  refreshPause: Timer | undefined;
  isRefreshDue: boolean;
}

export function newCluster(): Cluster {
  return {
    reports: new Map(),
    view: undefined,
    disagreeSinceMs: undefined,
    isWaitingSaid: false,
    followers: new Map(),
    heads: new Map(),
    agentsAt: undefined,
    pause: undefined,
    isNews: false,
    askers: new Map(),
    refreshPause: undefined,
    isRefreshDue: false,
  };
}

export function cancelTimers({ pause, refreshPause }: Cluster): void {
  pause?.cancel();
  refreshPause?.cancel();
}

function placeOf({ agent, isBound, from }: Follower): string {
  return isBound === true ? `agent ${agent}` : from;
}

/**
 * What the agent on the head itself reads, for a follower whose own raylet has its head there. Whoever speaks from the head's address
 * can admit nodes to the cluster anyway, so its word needs no second one. An address from which several agents connect (a
 * proxy, a node port) proves nothing.
 */
export function headView(cluster: Cluster, follower: Follower): AcceptedView | undefined {
  const heads = cluster.heads.get(follower) ?? [];
  if (heads.length === 0) return undefined;
  for (const report of cluster.reports.values()) {
    const { address } = report.follower;
    if (address === undefined || !isAtHead(address, follower, heads)) continue;
    cluster.agentsAt ??= countAgents(cluster);
    return cluster.agentsAt.get(address) === 1 ? viewOf('head', [report]) : undefined;
  }
  return undefined;
}

export function anyHeadView(cluster: Cluster): AcceptedView | undefined {
  for (const follower of cluster.followers.keys()) {
    const view = headView(cluster, follower);
    if (view !== undefined) return view;
  }
  return undefined;
}

/** Over loopback an agent is on this machine, which is the head where that is how the follower reaches it. */
function isAtHead(address: string, { reachedAt }: Follower, heads: readonly string[]): boolean {
  if (heads.includes(address)) return true;
  return isLoopbackHost(address) && reachedAt !== undefined && heads.includes(reachedAt);
}

/** By address. An agent that reports and follows is one. */
function countAgents({ reports, followers }: Cluster): Map<string, number> {
  const agents = new Map<string, string | undefined>();
  const reporting = [...reports.values()].map(({ follower }) => follower);
  for (const { agent, address } of [...reporting, ...followers.keys()]) agents.set(agent, address);
  const counts = new Map<string, number>();
  for (const address of agents.values())
    if (address !== undefined) counts.set(address, (counts.get(address) ?? 0) + 1);
  return counts;
}

export function dropFollower(cluster: Cluster, follower: Follower): void {
  cluster.followers.delete(follower);
  cluster.heads.delete(follower);
  cluster.askers.delete(follower);
  cluster.agentsAt = undefined;
}

export function isRead({ reports, view }: Cluster): boolean {
  return reports.size > 0 || view !== undefined;
}

/**
 * Takes the report away of an agent that is not the only one of its place, for one of a place of which there is none. Who has a token
 * that agents share has as many names as it likes, and must not keep others from agreeing.
 */
export function makeRoomForPlace({ reports, view }: Cluster, newcomer: Follower): boolean {
  const places = new Map<string, number>();
  for (const { follower } of reports.values())
    places.set(placeOf(follower), (places.get(placeOf(follower)) ?? 0) + 1);
  if (places.has(placeOf(newcomer))) return false;
  for (const [agent, { follower }] of reports)
    if ((places.get(placeOf(follower)) ?? 0) > 1 && view?.readers.includes(follower) !== true)
      return reports.delete(agent);
  return false;
}
