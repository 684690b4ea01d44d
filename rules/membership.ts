/**
 * What the rules say of membership itself: for how long the word of a source counts. It stands in the
 * rules and not in the agent's settings because it decides verdicts: agent, replay and `explain` must answer alike.
 */
export interface MembershipRules {
  /** So long before the report of its join a node counts as a member. */
  readonly graceMs: number;
  /** So long after the report of its end its traffic is still that of a member. */
  readonly lingerMs: number;
  /** A view that is older counts no more. */
  readonly keepMs: number;
}

export const DEFAULT_MEMBERSHIP: MembershipRules = {
  graceMs: 10_000,
  lingerMs: 30_000,
  keepMs: 86_400_000,
};
