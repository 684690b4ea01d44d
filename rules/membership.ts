/**
 * For how long the word of a source of members counts. It stands with the rules and not in the agent's settings because
 * it decides verdicts: agent, replay and `explain` must answer alike.
 */

/** So long before the report of its join a node counts as a member. */
export const GRACE_MS = 10_000;
/** So long after the report of its end its traffic is still that of a member. */
export const LINGER_MS = 30_000;
/** A view that is older counts no more. */
export const KEEP_MS = 86_400_000;
