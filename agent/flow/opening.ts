/**
 * What the first segments of a connection, or of the next one between the same ends, say of a flow's record: who opened
 * it, how far that is proven, and the initial sequence numbers.
 *
 * Everybody can send a SYN in another's name. What proves a direction is a SYN and the SYN-ACK that acknowledges its
 * number (RFC 9293, section 3.5); the latest such handshake decides who is taken for the initiator. Where both ends have
 * sent a SYN nothing is proven: one was forged, or both open the connection, which one of them can bring about by
 * answering a SYN with another SYN.
 */
import { TCP_ACK, TCP_RST, TCP_SYN, type Packet } from '../decode/packet.ts';
import {
  AWAITS_ACK,
  B_IS_INITIATOR,
  COMPLETED,
  EXACT_A,
  EXACT_B,
  FACTS_A,
  FACTS_B,
  INITIAL_OF_A,
  INITIAL_OF_B,
  INITIALS,
  OPENED_A,
  OPENED_B,
  PROVEN_A,
  PROVEN_B,
  ROLES,
  SIDE_A,
  SIDE_B,
  SIDE_INITIAL_SEQUENCE,
  type FlowStore,
} from './flow-store.ts';
import { beginStream, forgetStreams, isClaimedStart } from './stream.ts';
import { SENT_ACK, SENT_SYN, SENT_SYN_ACK, stateOf } from './tcp-state.ts';

/**
 * How far behind the SYN-ACK the acknowledgment may be that completes a handshake: the first segments of the initiator
 * may be missing in the capture. A blind guess hits it once in 4,096 times.
 */
const COMPLETION_WINDOW = 2 ** 20;

/** Whether a segment with these flags opens a connection, or answers who does. */
export function isSyn(tcpFlags: number): boolean {
  return (tcpFlags & (TCP_SYN | TCP_RST)) === TCP_SYN;
}

/**
 * Whether the flow's direction is proven: by a handshake of the end that is taken for the initiator, where the other one
 * has sent no SYN.
 */
export function isDirectionProven(roles: number): boolean {
  return (roles & B_IS_INITIATOR) === 0
    ? (roles & (PROVEN_A | OPENED_B)) === PROVEN_A
    : (roles & (PROVEN_B | OPENED_A)) === PROVEN_B;
}

/**
 * Learns the initial sequence numbers. Without the SYN the number before the first one seen must do: good enough to
 * tell a SYN that was captured late from the SYN of another connection.
 */
export function noteInitialSequences(words: Int32Array, record: number, isB: boolean, packet: Packet): void {
  const { tcpFlags } = packet;
  // Without flags it is no segment of a connection, or one of which only the ports are known.
  if (tcpFlags === 0) return;
  if (isSyn(tcpFlags)) learnFromSyn(words, record, isB, packet);
  else learnInitialSequence(words, record, isB, packet.sequence - 1);
  if ((tcpFlags & TCP_ACK) !== 0) learnInitialSequence(words, record, !isB, packet.acknowledgment - 1);
}

/** Sets it unless it is known. */
function learnInitialSequence(words: Int32Array, record: number, isB: boolean, sequence: number): void {
  if (((words[record + INITIALS] as number) & (isB ? INITIAL_OF_B : INITIAL_OF_A)) !== 0) return;
  setInitialSequence(words, record, isB, sequence);
}

/** A SYN is believed; a SYN-ACK where it answers a SYN that was seen, or where nothing is known of its sender yet. */
function learnFromSyn(words: Int32Array, record: number, isB: boolean, packet: Packet): void {
  const exact = isB ? EXACT_B : EXACT_A;
  const isKnown = ((words[record + ROLES] as number) & exact) !== 0;
  if (isKnown && !answersSyn(words, record, isB, packet)) return;
  (words[record + ROLES] as number) |= exact;
  setInitialSequence(words, record, isB, packet.sequence);
}

function setInitialSequence(words: Int32Array, record: number, isB: boolean, sequence: number): void {
  (words[record + INITIALS] as number) |= isB ? INITIAL_OF_B : INITIAL_OF_A;
  words[record + (isB ? SIDE_B : SIDE_A) + SIDE_INITIAL_SEQUENCE] = sequence;
}

/** Whether the packet is a SYN-ACK that acknowledges the other end's SYN. */
function answersSyn(words: Int32Array, record: number, isB: boolean, packet: Packet): boolean {
  if ((packet.tcpFlags & TCP_ACK) === 0 || !isSyn(packet.tcpFlags)) return false;
  const otherFacts = words[record + (isB ? FACTS_A : FACTS_B)] as number;
  if ((otherFacts & SENT_SYN) === 0) return false;
  const otherInitial = words[record + (isB ? SIDE_A : SIDE_B) + SIDE_INITIAL_SEQUENCE] as number;
  return packet.acknowledgment === ((otherInitial + 1) | 0);
}

/**
 * Takes in a SYN or SYN-ACK, before its facts and its number are added to the record.
 *
 * @param facts `SENT_SYN` or `SENT_SYN_ACK`
 */
export function noteOpening(
  words: Int32Array,
  record: number,
  isB: boolean,
  facts: number,
  packet: Packet,
): void {
  if (facts === SENT_SYN) noteSyn(words, record, isB);
  else noteSynAck(words, record, isB, packet);
}

function noteSyn(words: Int32Array, record: number, isB: boolean): void {
  const roles = words[record + ROLES] as number;
  words[record + ROLES] = roles | (isB ? OPENED_B : OPENED_A);
  const isInitiator = isB === ((roles & B_IS_INITIATOR) !== 0);
  const senderFacts = words[record + (isB ? FACTS_B : FACTS_A)] as number;
  const otherFacts = words[record + (isB ? FACTS_A : FACTS_B)] as number;
  if (!isInitiator) {
    // With a SYN of each side both open the connection (RFC 9293, section 3.5); the first one counts.
    const isFirst = (otherFacts & SENT_SYN) === 0;
    if (isFirst && (roles & (PROVEN_A | PROVEN_B)) === 0) turn(words, record);
  } else if (hasFailed(senderFacts, otherFacts)) {
    words[record + FACTS_A] = 0;
    words[record + FACTS_B] = 0;
    (words[record + ROLES] as number) &= ~COMPLETED;
    forgetStreams(words, record);
  }
}

function noteSynAck(words: Int32Array, record: number, isB: boolean, packet: Packet): void {
  const roles = words[record + ROLES] as number;
  const isInitiator = isB === ((roles & B_IS_INITIATOR) !== 0);
  if (answersSyn(words, record, isB, packet)) {
    if (isInitiator && !isOfOwnSyn(words, record, isB, packet)) turn(words, record);
    (words[record + ROLES] as number) |= isB ? PROVEN_A : PROVEN_B;
    if ((roles & COMPLETED) === 0) (words[record + INITIALS] as number) |= AWAITS_ACK;
    return;
  }
  // An answer to a SYN that was not seen, where no SYN of its sender and no other answer speaks against it.
  const sender = words[record + (isB ? FACTS_B : FACTS_A)] as number;
  const other = words[record + (isB ? FACTS_A : FACTS_B)] as number;
  const isPlausible = ((sender & SENT_SYN) | (other & SENT_SYN_ACK)) === 0;
  if (isInitiator && isPlausible && (roles & (PROVEN_A | PROVEN_B)) === 0) turn(words, record);
}

/** Whether a SYN-ACK has the number of a SYN that its sender has sent: then both ends open the connection. */
function isOfOwnSyn(words: Int32Array, record: number, isB: boolean, packet: Packet): boolean {
  const roles = words[record + ROLES] as number;
  const bits = isB ? OPENED_B | EXACT_B : OPENED_A | EXACT_A;
  const initial = words[record + (isB ? SIDE_B : SIDE_A) + SIDE_INITIAL_SEQUENCE];
  return (roles & bits) === bits && initial === packet.sequence;
}

/** Lets initiator and responder change places. */
export function turn(words: Int32Array, record: number): void {
  (words[record + ROLES] as number) ^= B_IS_INITIATOR;
}

/**
 * Takes in an ordinary segment of a connection whose handshake waits for its end. Of two answers to the SYN the one counts
 * that is acknowledged: the latest is known by its number, an earlier one by the stream that it began.
 */
export function noteCompletion(store: FlowStore, record: number, isB: boolean, packet: Packet): void {
  const { words } = store;
  const roles = words[record + ROLES] as number;
  // Whose SYN was answered: where both ends open the connection, that is either.
  if ((roles & (isB ? PROVEN_B : PROVEN_A)) === 0) return;
  const { acknowledgment } = packet;
  const answer = words[record + (isB ? SIDE_A : SIDE_B) + SIDE_INITIAL_SEQUENCE] as number;
  const acknowledged = (acknowledgment - answer - 1) | 0;
  if (acknowledged !== 0 && isClaimedStart(store, record, !isB, acknowledgment)) {
    setInitialSequence(words, record, !isB, (acknowledgment - 1) | 0);
  } else if (acknowledged >= 0 && acknowledged <= COMPLETION_WINDOW) {
    beginStream(store, record, !isB, (answer + 1) | 0);
  } else return;
  (words[record + ROLES] as number) |= COMPLETED;
  (words[record + INITIALS] as number) &= ~AWAITS_ACK;
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
