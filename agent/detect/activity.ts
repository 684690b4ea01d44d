/** What one peer does at one service of one node: the unit that an agent reports, and reports again as it grows. */
import type { Flow } from '../flow/flow.ts';
import type { Standing } from '../flow/standing.ts';
import type { Anomaly, AnomalyKind, FlowRecord, Severity, SocketOwner, Verdict } from '../../common/event.ts';

/** What an activity is about; the same for all of its connections. */
export interface ActivitySubject {
  readonly kind: AnomalyKind;
  readonly severity: Severity;
  readonly verdict: Verdict;
  readonly service: string;
  readonly message: string;
  /** It is critical from the first data on that an initiator sends and a responder takes. */
  readonly isCriticalWithData?: true;
}

/** What a connection has carried. */
export interface Carried {
  /** Payload of the initiator. */
  readonly payloadBytes: number;
  /** Packets of the responder. */
  readonly answers: number;
}

/** How an activity begins. */
export interface ActivityOpening extends ActivitySubject {
  readonly owner?: SocketOwner;
}

/** A connection that is to be part of an activity. */
export interface Candidate<Tag> {
  readonly flow: Flow<Tag>;
  /** What the connections of an activity have in common. */
  readonly key: string;
  readonly standing: Standing;
  /** What it had carried while it was allowed; undefined where all that it carried counts. */
  readonly carried?: Carried | undefined;
  /** The claim to evidence of an activity that begins with it; its standing where left out. */
  readonly claim?: 'awaiting' | undefined;
  /** The activity as it begins with this connection, or stands when it proves more. */
  readonly open: () => ActivityOpening;
}

/** An activity that goes on, or has gone on. */
export interface Activity<Tag> {
  /** What its connections have in common, and how much they prove. */
  key: string;
  readonly id: string;
  subject: ActivitySubject;
  /** Of its connections, at least. */
  standing: Standing;
  /** It is not reported yet: its peer may be a node that has just joined. */
  isPending: boolean;
  /** Whether packets of it are, or were, recorded as evidence. */
  isRecorded: boolean;
  readonly firstFlow: Flow<Tag>;
  /** The first flow as it was when it ended; until then it is read from `firstFlow`. */
  firstRecord: FlowRecord | undefined;
  /** Which end of its connections is this node's. */
  readonly localEnd: Anomaly['localEnd'];
  /** Who has this node's end of one of its connections. */
  owner: SocketOwner | undefined;
  /** Behind the message, once the owner is known. */
  ownerText: string;
  /** Its open connections, as they were added. */
  readonly open: Map<Flow<Tag>, Candidate<Tag>>;
  /** Connections so far. */
  count: number;
  /** Wire bytes of the connections that have ended. */
  endedBytes: number;
  /** Wire bytes of its connections that an earlier activity has reported. */
  carriedBytes: number;
  firstTime: string;
  lastTime: string;
  lastTimeMs: number;
  reportedBytes: number;
  reportedCount: number;
  reportedAtMs: number;
}

export function carriedBy({ initiator, responder }: Flow<unknown>): Carried {
  return { payloadBytes: initiator.payloadBytes, answers: responder.packets };
}

/** Whether the initiator has sent data, and the responder answered, since: a sender repeats what nobody answers. */
export function hasSentData(
  flow: Flow<unknown>,
  { payloadBytes, answers }: Carried = { payloadBytes: 0, answers: 0 },
): boolean {
  const now = carriedBy(flow);
  return now.payloadBytes > payloadBytes && now.answers > answers;
}

/** Wire bytes of a connection, both ways. */
export function bytesOf({ initiator, responder }: Flow<unknown>): number {
  return initiator.bytes + responder.bytes;
}

/** Wire bytes of all connections of an activity. */
export function bytesOfActivity<Tag>({ endedBytes, open }: Activity<Tag>): number {
  let bytes = endedBytes;
  for (const flow of open.keys()) bytes += bytesOf(flow);
  return bytes;
}
