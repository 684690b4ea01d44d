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

const FACTS = Uint8Array.from({ length: 256 }, (_, tcpFlags) => {
  if ((tcpFlags & TCP_RST) !== 0) return SENT_RST;
  if ((tcpFlags & TCP_SYN) !== 0) return (tcpFlags & TCP_ACK) !== 0 ? SENT_SYN_ACK : SENT_SYN;
  return ((tcpFlags & TCP_FIN) !== 0 ? SENT_FIN : 0) | ((tcpFlags & TCP_ACK) !== 0 ? SENT_ACK : 0);
});

/** The fact that a segment with these flags, byte 13 of the TCP header, proves; 0 for a segment without any flag. */
export function factsOf(tcpFlags: number): number {
  return FACTS[tcpFlags] as number;
}

/** The state that follows from the facts about initiator and responder. */
export function stateOf(initiator: number, responder: number): FlowState {
  const both = initiator | responder;
  if ((initiator & responder & SENT_FIN) !== 0) return 'closed';
  const hasSyn = (initiator & SENT_SYN) !== 0;
  // An initiator that sends on has had its answer, even when only its own packets are captured.
  const isAnswered = (responder & (SENT_SYN_ACK | SENT_ACK)) !== 0 || (initiator & SENT_ACK) !== 0;
  if ((both & SENT_RST) !== 0) {
    if (!hasSyn || isAnswered) return 'reset';
    // A reset by the initiator itself: it gave up before an answer came.
    return (responder & SENT_RST) !== 0 ? 'refused' : 'attempt';
  }
  if ((both & SENT_FIN) !== 0) return 'half-closed';
  if (!hasSyn) return 'midstream';
  return isAnswered ? 'established' : 'attempt';
}
