/** What the uplink carries of rules: which ones this agent runs, and those that the collector hands out. */
import type { FollowRules, HandedRulesMessage, RulesInUse } from '../../common/handed-rules.ts';

export interface RulesLink {
  /** What the agent runs now, for each heartbeat. */
  readonly inUse: () => RulesInUse;
  /** Asked when the collector is there: what is wanted of it, or undefined where the agent has rules of its own. */
  readonly wanted: () => FollowRules | undefined;
  readonly take: (message: HandedRulesMessage) => void;
}
