/**
 * For how long the word of a source of members counts. It decides verdicts: `replay` and `rules explain` take these times,
 * and so does an agent unless its settings say otherwise.
 */

export const GRACE_MS = 10_000;
export const LINGER_MS = 30_000;
export const KEEP_MS = 86_400_000;
export const FIRST_LIST_MS = 600_000;

export interface MembershipTimes {
  /** So long before the report of its join a node counts as a member, and so long a stranger is waited for. */
  readonly graceMs: number;
  /** So long after the report of its end its traffic is still that of a member. */
  readonly lingerMs: number;
  /** A view that is older counts no more. */
  readonly keepMs: number;
  /** Longest time that an unknown peer is pending before a first list of members; `FIRST_LIST_MS` when left out. */
  readonly firstListMs?: number;
}

export const DEFAULT_TIMES: MembershipTimes = { graceMs: GRACE_MS, lingerMs: LINGER_MS, keepMs: KEEP_MS };
