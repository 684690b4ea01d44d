/**
 * What the first segments of a connection, or of the next one between the same ends, say of a flow's record: who opened it,
 * and the initial sequence numbers.
 */
import { TCP_ACK, TCP_RST, TCP_SYN, type Packet } from '../decode/packet.ts';
import {
  FACTS_A,
  FACTS_B,
  INITIAL_OF_A,
  INITIAL_OF_B,
  IS_B_INITIATOR,
  KNOWN_INITIALS,
  SIDE_A,
  SIDE_B,
  SIDE_INITIAL_SEQUENCE,
} from './flow-store.ts';
import { SENT_ACK, SENT_SYN, SENT_SYN_ACK, stateOf } from './tcp-state.ts';

/** Whether a segment with these flags opens a connection, or answers who does. */
export function isSyn(tcpFlags: number): boolean {
  return (tcpFlags & (TCP_SYN | TCP_RST)) === TCP_SYN;
}

/**
 * Learns the initial sequence numbers. Without the SYN the number before the first one seen must do: good enough to
 * tell a SYN that was captured late from the SYN of another connection.
 */
export function noteInitialSequences(words: Int32Array, record: number, isB: boolean, packet: Packet): void {
  const { tcpFlags } = packet;
  // Without flags it is no segment of a connection, or one of which only the ports are known.
  if (tcpFlags === 0) return;
  const sequence = packet.sequence - (isSyn(tcpFlags) ? 0 : 1);
  learnInitialSequence(words, record, isB, sequence);
  if ((tcpFlags & TCP_ACK) !== 0) learnInitialSequence(words, record, !isB, packet.acknowledgment - 1);
}

/** Sets it unless it is known. */
function learnInitialSequence(words: Int32Array, record: number, isB: boolean, sequence: number): void {
  const known = words[record + KNOWN_INITIALS] as number;
  const bit = isB ? INITIAL_OF_B : INITIAL_OF_A;
  if ((known & bit) !== 0) return;
  words[record + KNOWN_INITIALS] = known | bit;
  words[record + (isB ? SIDE_B : SIDE_A) + SIDE_INITIAL_SEQUENCE] = sequence;
}

/** What a SYN or SYN-ACK says of the flow before it. Returns whether the sides changed places. */
export function noteOpening(words: Int32Array, record: number, isB: boolean, facts: number): boolean {
  const isBInitiator = words[record + IS_B_INITIATOR] === 1;
  const initiatorFacts = words[record + (isBInitiator ? FACTS_B : FACTS_A)] as number;
  const responderFacts = words[record + (isBInitiator ? FACTS_A : FACTS_B)] as number;
  const isInitiator = isB === isBInitiator;
  if (isOtherWayRound(initiatorFacts, responderFacts, isInitiator, facts)) {
    words[record + IS_B_INITIATOR] = isBInitiator ? 0 : 1;
    return true;
  }
  if (isInitiator && facts === SENT_SYN && hasFailed(initiatorFacts, responderFacts)) {
    words[record + FACTS_A] = 0;
    words[record + FACTS_B] = 0;
  }
  return false;
}

/** Whether a SYN or SYN-ACK shows that who was taken for the initiator is the responder. */
function isOtherWayRound(initiator: number, responder: number, isInitiator: boolean, facts: number): boolean {
  // With a SYN of each side both open the connection (RFC 9293, section 3.5); the first one counts.
  if ((initiator & SENT_SYN) !== 0) return false;
  if (facts === SENT_SYN) return !isInitiator;
  return isInitiator && (responder & SENT_SYN_ACK) === 0;
}

/**
 * Whether the attempt was turned away, so that a SYN with the same number is the next attempt, of which what came
 * before says nothing: it was refused, or it met the rest of an old connection, which its initiator reset
 * (RFC 9293, section 3.5.1).
 */
function hasFailed(initiator: number, responder: number): boolean {
  const state = stateOf(initiator, responder);
  const isNeverOpen = (initiator & SENT_ACK) === 0 && (responder & SENT_SYN_ACK) === 0;
  return state === 'refused' || (state === 'reset' && isNeverOpen);
}
