/** What is known of a flow at the moment, read from its record, and what of that has changed for its owner. */
import {
  B_IS_INITIATOR,
  FACTS_A,
  FACTS_B,
  OPENED_A,
  OPENED_B,
  PROVEN_A,
  PROVEN_B,
  ROLES,
} from './flow-store.ts';
import { standingOf } from './standing.ts';
import { stateOf } from './tcp-state.ts';
import type { FlowState } from '../../common/event.ts';

/**
 * What has changed of a flow: `standing` where its packets prove more of it, and nothing else; `opening` where they say
 * something of who opened it; `refused` and `unanswered` of attempts.
 */
export type FlowChange = 'standing' | 'opening' | 'refused' | 'unanswered';

/** The state of the record's flow. */
export function stateAt(words: Int32Array, record: number): FlowState {
  const factsA = words[record + FACTS_A] as number;
  const factsB = words[record + FACTS_B] as number;
  const isB = ((words[record + ROLES] as number) & B_IS_INITIATOR) !== 0;
  return isB ? stateOf(factsB, factsA) : stateOf(factsA, factsB);
}

/** The place of its standing in `STANDINGS`. */
export function standingAt(words: Int32Array, record: number): number {
  return standingOf(
    words[record + ROLES] as number,
    words[record + FACTS_A] as number,
    words[record + FACTS_B] as number,
  );
}

const PROFILE_ROLES = B_IS_INITIATOR | PROVEN_A | PROVEN_B | OPENED_A | OPENED_B;

const STANDING_SHIFT = 9;
/** From here on, a profile is of more than an attempt, or of one that is refused. */
export const NOTABLE = 1 << 8;

/** What the owner of a flow wants to know of anew when it changes, as one number: roles, then what is proven. */
export function profileOf(words: Int32Array, record: number): number {
  const roles = (words[record + ROLES] as number) & PROFILE_ROLES;
  const isRefused = stateAt(words, record) === 'refused' ? 1 : 0;
  return (standingAt(words, record) << STANDING_SHIFT) | (isRefused << 8) | roles;
}

/** What has changed between two profiles that are not the same. */
export function changeBetween(before: number, after: number): FlowChange {
  if (after >>> STANDING_SHIFT === 0) return 'refused';
  // A flow that was an attempt is seen for the first time.
  const isNew = before >>> STANDING_SHIFT === 0;
  return isNew || ((before ^ after) & PROFILE_ROLES) !== 0 ? 'opening' : 'standing';
}
