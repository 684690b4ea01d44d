/**
 * The state of a connection as a third party can tell it (RFC 9293, section 3.3.2, from outside).
 *
 * What each side was seen to send is kept as facts, and the state follows from the facts of both. Packets that were
 * captured in the wrong order, twice, or from one side only therefore need no special care.
 */
import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../decode/packet.ts';
import type { FlowState } from '../../common/event.ts';

/** Facts about one side: a set of bits. */
export const SENT_SYN = 1;
export const SENT_SYN_ACK = 2;
/** An ordinary segment: neither SYN nor RST, with ACK. */
export const SENT_ACK = 4;
export const SENT_FIN = 8;
export const SENT_RST = 16;
/** An ordinary segment with payload. */
export const SENT_PAYLOAD = 32;
/** A segment of which only the ports are known: it may have been any. */
export const SENT_UNKNOWN = 64;

const FACTS = Uint8Array.from({ length: 256 }, (_, tcpFlags) => {
  if (tcpFlags === 0) return SENT_UNKNOWN;
  if ((tcpFlags & TCP_RST) !== 0) return SENT_RST;
  if ((tcpFlags & TCP_SYN) !== 0) return (tcpFlags & TCP_ACK) !== 0 ? SENT_SYN_ACK : SENT_SYN;
  return ((tcpFlags & TCP_FIN) !== 0 ? SENT_FIN : 0) | ((tcpFlags & TCP_ACK) !== 0 ? SENT_ACK : 0);
});

/** The facts that a segment with these flags, byte 13 of the TCP header, and so much payload proves of its sender. */
export function factsOf(tcpFlags: number, payloadLength: number): number {
  const facts = FACTS[tcpFlags] as number;
  // What a SYN or RST carries has reached nobody yet.
  return payloadLength > 0 && (facts & SENT_ACK) !== 0 ? facts | SENT_PAYLOAD : facts;
}

/** The state that follows from the facts about initiator and responder. */
export function stateOf(initiator: number, responder: number): FlowState {
  const both = initiator | responder;
  if ((initiator & responder & SENT_FIN) !== 0) return 'closed';
  const hasSyn = (initiator & SENT_SYN) !== 0;
  // A SYN-ACK alone says nothing of the initiator, whose address may be forged: only who got it can go on.
  const isOpen = (both & (SENT_ACK | SENT_UNKNOWN)) !== 0;
  if ((both & SENT_RST) !== 0) {
    if (!hasSyn || isOpen) return 'reset';
    // A reset by the initiator itself: it gave up, or it only wanted to know whether somebody answers.
    return (responder & SENT_RST) !== 0 ? 'refused' : 'attempt';
  }
  if ((both & SENT_FIN) !== 0) return 'half-closed';
  if (!hasSyn) return 'midstream';
  return isOpen ? 'established' : 'attempt';
}
