/**
 * How much a flow's packets prove of it, which is how far a forger can get without an answer from the other end.
 */
import { COMPLETED } from './flow-store.ts';
import { SENT_ACK, SENT_PAYLOAD, SENT_SYN, SENT_SYN_ACK, SENT_UNKNOWN } from './tcp-state.ts';

/**
 * - `attempt`: nothing but SYNs, answers to them, resets and empty segments of one side. Anybody can send them in any
 *   name, and nothing was moved
 * - `unproven`: payload, segments that could not be read, or one side alone that goes on after its SYN or SYN-ACK.
 *   Anybody can send that, too, but a connection that was joined midstream, or of which one side is captured, looks the
 *   same
 * - `answered`: a handshake whose numbers fit, its last segment included, or ordinary segments of both sides
 */
export const STANDINGS = ['attempt', 'unproven', 'answered'] as const;
export type Standing = (typeof STANDINGS)[number];

/** The place in `STANDINGS`, from the roles of a record and the facts of both sides. */
export function standingOf(roles: number, factsA: number, factsB: number): number {
  if ((roles & COMPLETED) !== 0 || (factsA & factsB & SENT_ACK) !== 0) return 2;
  const isOneSided = factsA === 0 || factsB === 0;
  const both = factsA | factsB;
  const goesOn = (both & (SENT_SYN | SENT_SYN_ACK)) !== 0 && (both & SENT_ACK) !== 0;
  const hasMoved = (both & (SENT_PAYLOAD | SENT_UNKNOWN)) !== 0;
  return hasMoved || (isOneSided && goesOn) ? 1 : 0;
}
