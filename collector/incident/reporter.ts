/** Who reports anomalies besides agents. */

/** The collector itself, of what it notices of its fleet; no agent can have this name. */
export const COLLECTOR = '(collector)';
