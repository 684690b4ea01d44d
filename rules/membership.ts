/**
 * What the rules say of membership itself: whose word makes a member, and for how long it counts. It stands in the
 * rules and not in the agent's settings because it decides verdicts: agent, replay and `explain` must answer alike.
 */
import type { GroupSources } from './schema.ts';

/** Who is approved, where listed members must be. */
export interface Approval {
  /** Addresses, as sources of a group. */
  readonly addresses: GroupSources;
  /** Groups of nodes for which a source vouches: KubeRay's worker groups. */
  readonly nodeGroups: readonly string[];
}

export interface MembershipRules {
  /** Undefined where every listed member is one. */
  readonly approved: Approval | undefined;
  /** So long before the report of its join a node counts as a member, and so long its traffic may wait for that report. */
  readonly graceMs: number;
  /** So long after the report of its end its traffic is still that of a member. */
  readonly lingerMs: number;
  /** A view that is older is an anomaly. */
  readonly staleMs: number;
  /** A view that is older counts no more. */
  readonly keepMs: number;
}

export const DEFAULT_MEMBERSHIP: MembershipRules = {
  approved: undefined,
  graceMs: 10_000,
  lingerMs: 30_000,
  staleMs: 300_000,
  keepMs: 86_400_000,
};
