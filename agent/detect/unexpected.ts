/**
 * Connections that no rule allows, reported as activities: one for each peer, node and service, however many connections
 * it makes. What was answered, or carried something, is a conversation; what was not is an attempt, and kept apart
 * (attempts.ts).
 *
 * An unknown peer may be a node that has just joined. Where a source can be asked, its conversation opens pending: it is
 * confirmed or dropped by the first refresh of the sources that was begun late enough after its packet, and confirmed in
 * any case when the grace period is over. At the GCS, and at the dashboard beside it, only the end of the grace period
 * confirms it: a node talks there before any source can list it. As long as no source has given a complete list,
 * first-list.ts decides instead, of attempts as well.
 */
import type { Flow } from '../flow/flow.ts';
import type { Standing } from '../flow/standing.ts';
import type { LookResult } from '../membership/provider.ts';
import { ownerInWords } from '../process/socket-owners.ts';
import { ActivityTracker, type ActivityOptions } from './activities.ts';
import type { Activity, ActivitySubject, Candidate, Carried } from './activity.ts';
import { AttemptDetector } from './attempts.ts';
import type { FoundProcess } from './attribution.ts';
import type { FirstListStep } from './first-list.ts';
import { kindOf, peerOf, sentenceOf, type Judged } from './wording.ts';
import { copyAddress, formatAddress, type Address } from '../../common/address.ts';
import type { AnomalyKind, FlowRecord, Verdict } from '../../common/event.ts';

export const MAX_CONVERSATIONS = 10_000;
/** Activities that await a refresh at a time. Beyond that a new one is reported at once: a flood hides nobody. */
export const MAX_PENDING = 1000;
/** Likewise of those that await the first complete list: in a large cluster each node exchanges with each. */
export const MAX_AWAITING_LIST = 5000;
/** A refresh that was begun sooner after the packet may have missed a node whose join was under way. */
export const SETTLE_MS = 250;
/** The service at which a node asks to be admitted, seconds before Ray can list it. */
const ADMITTING_SERVICE = 'gcs';
/** What the agent of a node asks that joins, as soon as its raylet runs: that may be before it is listed as well. */
const AGENTS_SERVICE = 'dashboard';
const JOINING_KINDS: ReadonlySet<AnomalyKind> = new Set<AnomalyKind>(['unexpected-peer', 'former-member']);

/** The ends of a connection, by value: a flow's own go on changing. */
export interface Ends {
  readonly initiator: Address;
  readonly responder: Address & { readonly port: number };
  /** The time of the packet that it is judged by. */
  readonly timeMs: number;
}

/** A connection that was judged, and not allowed. */
export interface UnexpectedConnection<Tag> extends Judged {
  readonly flow: Flow<Tag>;
  readonly service: string;
  /** What it had carried when it was allowed no more; undefined where it never was allowed. */
  readonly carried?: Carried | undefined;
  /** How far it got; a higher one may be added later. */
  readonly standing: Standing;
  /** The time of the packet that it was judged by. */
  readonly timeMs: number;
  /** Since when its activity is pending, in ms since the epoch; left out where it is reported at once. */
  readonly pendingSinceMs?: number | undefined;
  /** Whether it awaits the first complete list of members, and not only a refresh. */
  readonly awaitsList?: boolean;
  /** Of one that does: whether its unknown ends may be nodes, as far as that is known by now. */
  readonly mayBeMember?: boolean;
}

/** A refresh of all sources of the membership. */
export interface Look {
  readonly begunMs: number;
  readonly result: LookResult;
}

interface UnexpectedOptions<Tag> extends ActivityOptions<Tag> {
  /** How long an activity is pending at most, in ms. */
  readonly graceMs: number;
  /** Called after a pending activity was reported. */
  readonly confirmed: (activity: string) => void;
  /** Called when a pending activity is none; its open connections are to be judged again. */
  readonly dropped: (activity: string, open: readonly Flow<Tag>[]) => void;
  /** Judges the first connection of a pending activity again; undefined where it is allowed. */
  readonly judgeAgain: (ends: Ends) => Judged | undefined;
  /** What is to be done with a pending activity while no complete list of members is there; undefined where one is. */
  readonly firstListStep?: (ends: Ends, sinceMs: number, nowMs: number) => FirstListStep;
}

interface Pending<Tag> {
  readonly activity: Activity<Tag>;
  /** Of the conversations, or of the attempts. */
  readonly tracker: ActivityTracker<Tag>;
  /** Of the first connection. */
  readonly ends: Ends;
  readonly peer: string;
  readonly sinceMs: number;
  /** Whether a list was awaited when it began. */
  readonly awaitsList: boolean;
  /** Whether its peer may be a node that joins, which no refresh before the end of the grace period can tell. */
  readonly isJoin: boolean;
}

export class UnexpectedDetector<Tag> {
  readonly #options: UnexpectedOptions<Tag>;
  readonly #conversations: ActivityTracker<Tag>;
  readonly #attempts: AttemptDetector<Tag>;
  /** By id of the activity. */
  readonly #pending = new Map<string, Pending<Tag>>();
  /** Those of them that began while a list was awaited. */
  #awaitingList = 0;

  constructor(options: UnexpectedOptions<Tag>) {
    this.#options = options;
    this.#conversations = new ActivityTracker(options, MAX_CONVERSATIONS);
    this.#attempts = new AttemptDetector(options);
  }

  /** Connections that are, or were, in no activity because there was no room. */
  get suppressed(): number {
    return this.#conversations.suppressed;
  }

  /** Activities that are not reported yet. */
  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The peers of the activities that await the first complete list, each once. */
  peersAwaitingList(): string[] {
    if (this.#awaitingList === 0) return [];
    const peers = [...this.#pending.values()].flatMap(({ awaitsList, peer }) => (awaitsList ? [peer] : []));
    return [...new Set(peers)];
  }

  /** Whether the activity was opened and is not reported yet. */
  isPending(activity: string): boolean {
    return this.#pending.has(activity);
  }

  /** Takes a connection that was judged unexpected; calling it again with the same standing changes nothing. */
  add(connection: UnexpectedConnection<Tag>): void {
    const { flow, standing, timeMs } = connection;
    const candidate = this.#candidateOf(connection);
    if (standing === 'attempt') {
      if (this.#conversations.of(flow) !== undefined) return;
      // What a peer tries beside its conversation is part of that; a tunnel's inside is nobody's conversation.
      if (flow.tunnelKey === 0 && this.#conversations.hasActivityFor(candidate)) {
        this.#conversations.add(candidate, timeMs);
      } else {
        // One that only tries is never waited for, but where nobody knows who belongs to the cluster.
        const mayWait = connection.awaitsList === true && this.#mayBePending(connection);
        this.#hold(this.#attempts.add(candidate, timeMs, mayWait), this.#attempts.activities, connection);
      }
      return;
    }
    this.#attempts.release(flow);
    const mayWait = this.#mayBePending(connection);
    this.#hold(this.#conversations.add(candidate, timeMs, mayWait), this.#conversations, connection);
  }

  /** Takes an attempt that is in no flow any more, and was not judged. Cheap: for each packet of a flood. */
  countAttempt(source: Address, port: number): void {
    this.#attempts.count(source, port);
  }

  /** The activity of a flow whose process is asked for: undefined where it is in none, or where that is known already. */
  unattributed(flow: Flow<Tag>): Activity<Tag> | undefined {
    const activity = this.#conversations.of(flow);
    return activity?.owner === undefined ? activity : undefined;
  }

  /** Notes who has this node's end of a connection of the activity. */
  attribute(activity: Activity<Tag>, { description, isRaylet }: FoundProcess, nowMs: number): void {
    const who = isRaylet === true ? 'the raylet' : ownerInWords(description);
    this.#conversations.attribute(activity, description, `; here it is ${who}`, nowMs);
  }

  /** Lets a flow go that is allowed now; what it carried so far stays in its activity. */
  release(flow: Flow<Tag>): void {
    this.#attempts.release(flow);
    this.#conversations.release(flow);
  }

  /** Lets a flow go that ends, after all that it carried was taken in. */
  flowEnded(flow: Flow<Tag>): void {
    this.#attempts.release(flow);
    this.#conversations.flowEnded(flow);
  }

  /** Confirms or drops the pending activities that the refresh decides. */
  decide(look: Look, nowMs: number): void {
    for (const pending of Array.from(this.#pending.values())) this.#decide(pending, nowMs, look);
  }

  /** Reports what has grown, and forgets the activities that are over. */
  tick(nowMs: number): void {
    for (const pending of Array.from(this.#pending.values())) this.#decide(pending, nowMs);
    this.#conversations.tick(nowMs);
    this.#attempts.tick(nowMs);
  }

  /**
   * Reports the final state of every activity and forgets them all. Of peers that await the first complete list nobody
   * knows anything: they are forgotten, and the owner names them (unknown-membership.ts).
   */
  end(nowMs: number): void {
    for (const pending of Array.from(this.#pending.values())) {
      if (this.#firstListStep(pending, nowMs) === 'wait') this.#drop(pending);
      else this.#decide(pending, pending.sinceMs + this.#options.graceMs);
    }
    this.#conversations.end(nowMs);
    this.#attempts.end(nowMs);
  }

  /** Keeps no record of the flow: there may be one of these for each flow of the table. */
  #candidateOf(connection: UnexpectedConnection<Tag>): Candidate<Tag> {
    const { flow, service, standing, verdict, carried, mayBeMember } = connection;
    const open = (): ActivitySubject =>
      subjectOf(this.#options.describe(flow, service), service, connection, standing);
    const claim = mayBeMember === true && standing !== 'attempt' ? 'awaiting' : undefined;
    return { flow, key: keyOf(verdict, service, flow), standing, open, carried, claim };
  }

  #mayBePending({ pendingSinceMs, awaitsList = false }: UnexpectedConnection<Tag>): boolean {
    if (pendingSinceMs === undefined) return false;
    if (awaitsList) return this.#awaitingList < MAX_AWAITING_LIST;
    return this.#pending.size - this.#awaitingList < MAX_PENDING;
  }

  /** Notes that an activity is pending, where it is and was not noted before. */
  #hold(
    activity: Activity<Tag> | undefined,
    tracker: ActivityTracker<Tag>,
    { flow, timeMs, pendingSinceMs: sinceMs, awaitsList = false, ...judged }: UnexpectedConnection<Tag>,
  ): void {
    if (activity?.isPending !== true || sinceMs === undefined || this.#pending.has(activity.id)) return;
    const ends = endsOf(flow, timeMs);
    const peer = formatAddress(peerOf(judged, ends));
    const isJoin = this.#isJoin(activity.subject.service, peer);
    if (awaitsList) this.#awaitingList++;
    this.#pending.set(activity.id, { activity, tracker, ends, peer, sinceMs, awaitsList, isJoin });
  }

  /**
   * Whether a node may be about to join, for the first time or again: it talks to the GCS before any list can have it, and its agent
   * to the dashboard. Whoever reaches the GCS can be admitted at once, so that a few seconds there gain nothing that joining would
   * not; at every other service the first refresh decides all the same.
   */
  #isJoin(service: string | undefined, peer: string): boolean {
    if (service === ADMITTING_SERVICE) return true;
    if (service !== AGENTS_SERVICE) return false;
    return [...this.#pending.values()].some(
      (pending) => pending.peer === peer && pending.activity.subject.service === ADMITTING_SERVICE,
    );
  }

  #forget({ activity, awaitsList }: Pending<Tag>): void {
    if (this.#pending.delete(activity.id) && awaitsList) this.#awaitingList--;
  }

  #drop(pending: Pending<Tag>): void {
    this.#forget(pending);
    this.#options.dropped(pending.activity.id, pending.tracker.drop(pending.activity));
  }

  #firstListStep({ ends, sinceMs, awaitsList }: Pending<Tag>, nowMs: number): FirstListStep {
    return awaitsList ? this.#options.firstListStep?.(ends, sinceMs, nowMs) : undefined;
  }

  #decide(pending: Pending<Tag>, nowMs: number, look?: Look): void {
    const { activity, tracker, ends, sinceMs, isJoin } = pending;
    const step = this.#firstListStep(pending, nowMs);
    if (step === 'wait') return;
    const judged = this.#options.judgeAgain(ends);
    if (judged === undefined) {
      this.#drop(pending);
      return;
    }
    const isJoining = isJoin && JOINING_KINDS.has(kindOf(judged));
    const isDecisive = look?.result === 'answered' && look.begunMs - sinceMs >= SETTLE_MS && !isJoining;
    if (step === undefined && !isDecisive && nowMs - sinceMs < this.#options.graceMs) return;
    this.#forget(pending);
    const open = this.#confirm(tracker, activity, ends, judged, nowMs);
    if (open === undefined) this.#options.confirmed(activity.id);
    else this.#options.dropped(activity.id, open);
  }

  /** Reports an activity as what its first connection is by now. */
  #confirm(
    tracker: ActivityTracker<Tag>,
    activity: Activity<Tag>,
    ends: Ends,
    judged: Judged,
    nowMs: number,
  ): readonly Flow<Tag>[] | undefined {
    const { service } = activity.subject;
    const record = tracker.firstRecord(activity);
    const subject = subjectOf(record, service, judged, activity.standing);
    return tracker.confirm(activity, keyOf(judged.verdict, service, ends), subject, nowMs);
  }
}

function keyOf(
  { reason }: Verdict,
  service: string,
  { initiator, responder }: Pick<Ends, 'initiator' | 'responder'>,
): string {
  return `${reason} ${formatAddress(initiator)} ${formatAddress(responder)} ${service}`;
}

function subjectOf(record: FlowRecord, service: string, judged: Judged, standing: Standing): ActivitySubject {
  const kind = kindOf(judged);
  // A node calls another for a moment after that has left. What it sends there leaves the cluster all the same.
  const isCallOfFormer = kind === 'unexpected-destination' && judged.verdict.reason === 'former-member';
  const isMild = kind === 'former-member' || isCallOfFormer || standing === 'attempt';
  return {
    kind,
    severity: isMild ? 'warning' : 'critical',
    ...(isCallOfFormer && standing !== 'attempt' ? { isCriticalWithData: true } : {}),
    verdict: judged.verdict,
    service,
    message: sentenceOf(record, service, judged, standing),
  };
}

function endsOf<Tag>({ initiator, responder }: Flow<Tag>, timeMs: number): Ends {
  return {
    initiator: copyAddress(initiator),
    responder: { ...copyAddress(responder), port: responder.port },
    timeMs,
  };
}
