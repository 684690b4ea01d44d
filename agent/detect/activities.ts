/**
 * Connections that belong to one activity, however many there are: an activity is reported with its first connection,
 * again at once when that proves more than before, again while it grows, and a last time when it has been quiet. A
 * pending one is not reported until it is confirmed, or never.
 *
 * The table is bounded, and a new peer is not turned away: the least significant activity gives way, with a last report.
 * Its open connections stay known, and become part of an activity again when they move data, those that moved most
 * first. The same holds for those that begin in a flood, of which only so many are reported in a second.
 */
import type { Flow } from '../flow/flow.ts';
import { STANDINGS, type Standing } from '../flow/standing.ts';
import {
  bytesOf,
  bytesOfActivity,
  hasSentData,
  type Activity,
  type ActivitySubject,
  type Candidate,
} from './activity.ts';
import { Allowance } from './allowance.ts';
import { isHigher, rankOf } from './standing.ts';
import { heaviest } from './top.ts';
import { growthOf, UnfollowedFlows } from './unfollowed.ts';
import { Victims } from './victims.ts';
import type { Anomaly, FlowRecord, SocketOwner } from '../../common/event.ts';
import { formatTime } from '../../common/time.ts';

/** A growing activity is reported again at most this often. */
const REPORT_INTERVAL_MS = 10_000;
/** An activity without open connections ends after this time without a new one. */
const QUIET_MS = 60_000;
/**
 * Activities that begin at once: whoever sees both directions can forge a whole handshake, too. What comes beyond waits
 * with those that lost their place, and is reported by what it moves; a cluster has no thousand new peers in a second.
 */
const OPENINGS = {
  unproven: { perSecond: 100, burst: 1000 },
  answered: { perSecond: 1000, burst: 20_000 },
} as const;
/** Connections that come back into an activity; each costs another its place. Kept apart: no flood uses this up. */
const RETURNS = { perSecond: 100, burst: 100 };
/** What moved as much is never left out: the sender pays for each one with its bandwidth. */
const HEAVY_BYTES = 1_000_000;

/** Where an activity stands when it is reported; `raised`: its connection proves more than before. */
export type ActivityPhase = 'opened' | 'raised' | 'growing' | 'over';

/**
 * Why packets are to be recorded as evidence: how far the connection got, or that it has moved much. `awaiting`: it awaits the
 * first list of members, as the connections of a whole cluster may.
 */
export type EvidenceClaim = Standing | 'awaiting' | 'heavy';

export interface ActivityOptions<Tag> {
  /** This node's name. */
  readonly node: string;
  readonly report: (anomaly: Anomaly, phase: ActivityPhase) => void;
  readonly createId: () => string;
  /** Asks for a recording of a connection, before its activity is reported. Returns whether there is one. */
  readonly record: (activity: string, flow: Flow<Tag>, claim: EvidenceClaim) => boolean;
  /** Called when an activity's first connection has ended or left it. */
  readonly firstEnded: (activity: string) => void;
  /** Which end is this node's; undefined where neither is, or nobody knows. */
  readonly localEnd?: (flow: Flow<Tag>) => Anomaly['localEnd'];
  /** The flow as it stands now. */
  readonly describe: (flow: Flow<Tag>, service: string) => FlowRecord;
}

export class ActivityTracker<Tag> {
  readonly #options: ActivityOptions<Tag>;
  readonly #maxActivities: number;
  readonly #activities = new Map<string, Activity<Tag>>();
  readonly #activityOfFlow = new Map<Flow<Tag>, Activity<Tag>>();
  readonly #unfollowed = new UnfollowedFlows<Tag>();
  readonly #victims = new Victims<Tag>();
  readonly #openings = {
    unproven: new Allowance(OPENINGS.unproven),
    answered: new Allowance(OPENINGS.answered),
  };
  readonly #returns = new Allowance(RETURNS);
  /** Connections that are, or were, in no activity because there was no room. */
  suppressed = 0;

  /** @param maxActivities that are kept at a time */
  constructor(options: ActivityOptions<Tag>, maxActivities: number) {
    this.#options = options;
    this.#maxActivities = maxActivities;
  }

  get size(): number {
    return this.#activities.size;
  }

  /** The activity that a connection is part of, while it is open. */
  of(flow: Flow<Tag>): Activity<Tag> | undefined {
    return this.#activityOfFlow.get(flow);
  }

  /** Whether there is an activity that the connection would be part of. */
  hasActivityFor(candidate: Candidate<Tag>): boolean {
    return this.#activityFor(candidate) !== undefined;
  }

  /**
   * Takes a connection, or what is known of it by now.
   *
   * @param isPending where its activity begins with it: whether it is to be confirmed or dropped later
   * @returns the activity that it is part of, if any
   */
  add(candidate: Candidate<Tag>, nowMs: number, isPending = false): Activity<Tag> | undefined {
    const { flow } = candidate;
    const activity = this.#activityOfFlow.get(flow);
    if (activity === undefined) this.#admit(candidate, nowMs, isPending);
    else if (!isHigher(candidate.standing, activity.standing)) activity.open.set(flow, candidate);
    else if (activity.count === 1 && !this.hasActivityFor(candidate)) this.#raise(activity, candidate, nowMs);
    else {
      // The others of its activity prove less: what they left behind, as evidence or words, is not about this one.
      const reportedBytes = bytesOf(flow);
      this.release(flow);
      this.#admit(candidate, nowMs, isPending, reportedBytes);
    }
    return this.#activityOfFlow.get(flow);
  }

  /**
   * Notes who has this node's end of a connection of the activity, and reports the activity again with that.
   * @param text of the owner, for the message
   */
  attribute(activity: Activity<Tag>, owner: SocketOwner, text: string, nowMs: number): void {
    if (activity.owner !== undefined || this.#activities.get(activity.key) !== activity) return;
    activity.owner = owner;
    activity.ownerText = text;
    if (!activity.isPending) this.#report(activity, 'growing', nowMs);
  }

  /** The first connection of an activity, as it stands now or ended. */
  firstRecord({ firstRecord, firstFlow, subject }: Activity<Tag>): FlowRecord {
    return firstRecord ?? this.#options.describe(firstFlow, subject.service);
  }

  /**
   * Reports a pending activity as what it is by now. Where another one has the key already, it becomes part of that, and
   * its open connections are returned, which are in no activity then.
   */
  confirm(
    activity: Activity<Tag>,
    key: string,
    subject: ActivitySubject,
    nowMs: number,
  ): readonly Flow<Tag>[] | undefined {
    const fullKey = fullKeyOf(key, activity.standing);
    const other = this.#activities.get(fullKey);
    if (other !== undefined && other !== activity) {
      other.count += activity.count - activity.open.size;
      other.endedBytes += activity.endedBytes;
      return this.drop(activity);
    }
    this.#activities.delete(activity.key);
    this.#activities.set(fullKey, activity);
    Object.assign(activity, { key: fullKey, subject, isPending: false });
    this.#report(activity, 'opened', nowMs);
    return undefined;
  }

  /** Forgets a pending activity, and returns its open connections, which are in no activity then. */
  drop(activity: Activity<Tag>): readonly Flow<Tag>[] {
    this.#activities.delete(activity.key);
    for (const flow of activity.open.keys()) this.#activityOfFlow.delete(flow);
    return [...activity.open.keys()];
  }

  /** Lets a flow go that is no part of an activity any more; what it carried so far stays in its activity. */
  release(flow: Flow<Tag>): void {
    // Most flows are allowed, and mostly nothing is going on: they need no look.
    if (this.#activityOfFlow.size === 0 && this.#unfollowed.size === 0) return;
    this.#unfollowed.delete(flow);
    const activity = this.#activityOfFlow.get(flow);
    if (activity === undefined) return;
    this.#activityOfFlow.delete(flow);
    if (this.#raiseWithData(activity, flow) && !activity.isPending)
      this.#report(activity, 'raised', timeOf(flow));
    activity.open.delete(flow);
    this.#advance(activity, flow);
    activity.endedBytes += bytesOf(flow);
    if (flow !== activity.firstFlow) return;
    activity.firstRecord = this.#options.describe(flow, activity.subject.service);
    this.#options.firstEnded(activity.id);
  }

  /** Lets a flow go that ends. One that moved data while it was in no activity is reported before. */
  flowEnded(flow: Flow<Tag>): void {
    if (this.#activityOfFlow.size === 0 && this.#unfollowed.size === 0) return;
    const unfollowed = this.#unfollowed.of(flow);
    if (unfollowed !== undefined) {
      const growth = growthOf(unfollowed);
      const nowMs = timeOf(flow);
      const isReported = growth >= HEAVY_BYTES || (growth > 0 && this.#returns.take(nowMs));
      const { candidate } = unfollowed;
      if (isReported || this.hasActivityFor(candidate)) this.#enter(candidate, nowMs);
    }
    this.release(flow);
  }

  /** Reports what has grown, forgets the activities that are over, and takes back connections that moved data. */
  tick(nowMs: number): void {
    for (const activity of this.#activities.values()) {
      if (activity.isPending) continue;
      let isRaised = false;
      for (const flow of activity.open.keys()) {
        this.#advance(activity, flow);
        isRaised = this.#raiseWithData(activity, flow) || isRaised;
      }
      if (isRaised) this.#report(activity, 'raised', nowMs);
      const isOver = activity.open.size === 0 && nowMs - activity.lastTimeMs > QUIET_MS;
      if (isOver) this.#close(activity, nowMs);
      else if (nowMs - activity.reportedAtMs >= REPORT_INTERVAL_MS && hasGrown(activity)) {
        this.#recordIfHeavy(activity);
        this.#report(activity, 'growing', nowMs);
      }
    }
    if (this.#unfollowed.size > 0) this.#takeBack(nowMs);
  }

  /** Reports the final state of every activity and forgets them all. */
  end(nowMs: number): void {
    for (const activity of this.#activities.values()) {
      for (const flow of activity.open.keys()) this.#advance(activity, flow);
      this.#close(activity, nowMs);
    }
    this.#activityOfFlow.clear();
    this.#unfollowed.clear();
  }

  /** The activity of the same peer whose connections prove as much as this one, or more. */
  #activityFor({ key, standing }: Candidate<Tag>): Activity<Tag> | undefined {
    for (let rank = STANDINGS.length - 1; rank >= rankOf(standing); rank--) {
      const activity = this.#activities.get(fullKeyOf(key, STANDINGS[rank] as Standing));
      if (activity !== undefined) return activity;
    }
    return undefined;
  }

  #admit(candidate: Candidate<Tag>, nowMs: number, isPending: boolean, reportedBytes?: number): void {
    if (this.#isAdmitted(candidate, nowMs)) this.#enter(candidate, nowMs, isPending, reportedBytes);
  }

  /** Whether the connection may be in an activity now. Where it may not, it is known, and comes back when it moves data. */
  #isAdmitted(candidate: Candidate<Tag>, nowMs: number): boolean {
    if (this.hasActivityFor(candidate)) return true;
    const unfollowed = this.#unfollowed.of(candidate.flow);
    if (unfollowed !== undefined && !isHigher(candidate.standing, unfollowed.candidate.standing)) {
      this.#unfollowed.update(unfollowed, candidate);
      return false;
    }
    const { standing } = candidate;
    if (standing === 'attempt' || this.#openings[standing].take(nowMs)) return true;
    this.#unfollowed.add(candidate, 0);
    this.suppressed++;
    return false;
  }

  /** @param reportedBytes of the connection that another activity has reported */
  #enter(
    candidate: Candidate<Tag>,
    nowMs: number,
    isPending = false,
    reportedBytes = this.#unfollowed.of(candidate.flow)?.reportedBytes ?? 0,
  ): void {
    const { flow } = candidate;
    const known = this.#activityFor(candidate);
    const activity = known ?? this.#open(candidate, nowMs, isPending);
    activity.carriedBytes += reportedBytes;
    this.#unfollowed.delete(flow);
    activity.count++;
    activity.open.set(flow, candidate);
    this.#activityOfFlow.set(flow, activity);
    if (known === undefined && !activity.isPending) this.#report(activity, 'opened', nowMs);
  }

  #open(candidate: Candidate<Tag>, nowMs: number, isPending: boolean): Activity<Tag> {
    this.#makeRoom(nowMs);
    const { flow, standing } = candidate;
    const key = fullKeyOf(candidate.key, standing);
    const { owner, ...subject } = candidate.open();
    const { event } = this.#options.describe(flow, subject.service);
    const activity: Activity<Tag> = {
      key,
      id: this.#options.createId(),
      subject,
      standing,
      isPending,
      isRecorded: false,
      firstFlow: flow,
      firstRecord: undefined,
      localEnd: this.#options.localEnd?.(flow),
      owner,
      ownerText: '',
      open: new Map(),
      count: 0,
      endedBytes: 0,
      carriedBytes: 0,
      firstTime: event.start,
      lastTime: event.end,
      lastTimeMs: nowMs,
      reportedBytes: -1,
      reportedCount: 0,
      reportedAtMs: nowMs,
    };
    this.#activities.set(key, activity);
    activity.isRecorded = this.#options.record(activity.id, flow, candidate.claim ?? standing);
    return activity;
  }

  /** The only connection of an activity proves more by now: the activity is reported at once, as what it is. */
  #raise(activity: Activity<Tag>, candidate: Candidate<Tag>, nowMs: number): void {
    const { flow, standing } = candidate;
    const { owner, ...subject } = candidate.open();
    this.#activities.delete(activity.key);
    activity.key = fullKeyOf(candidate.key, standing);
    this.#activities.set(activity.key, activity);
    activity.open.set(flow, candidate);
    activity.standing = standing;
    activity.subject = subject;
    activity.owner ??= owner;
    if (!activity.isRecorded)
      activity.isRecorded = this.#options.record(activity.id, flow, candidate.claim ?? standing);
    if (!activity.isPending) this.#report(activity, 'raised', nowMs);
  }

  /** Makes an activity critical where that hangs on data, and the connection has sent some. Returns whether it is now. */
  #raiseWithData(activity: Activity<Tag>, flow: Flow<Tag>): boolean {
    const { subject, open } = activity;
    if (subject.isCriticalWithData !== true || subject.severity === 'critical') return false;
    if (!hasSentData(flow, open.get(flow)?.carried)) return false;
    activity.subject = { ...subject, severity: 'critical' };
    return true;
  }

  #makeRoom(nowMs: number): void {
    while (this.#activities.size >= this.#maxActivities) {
      const victim = this.#victims.next(this.#activities);
      if (victim === undefined) return;
      this.#evict(victim, nowMs);
    }
  }

  #evict(activity: Activity<Tag>, nowMs: number): void {
    for (const flow of activity.open.keys()) this.#advance(activity, flow);
    this.#close(activity, nowMs);
    for (const [flow, candidate] of activity.open) {
      this.#activityOfFlow.delete(flow);
      this.#unfollowed.add(candidate, bytesOf(flow));
    }
    this.suppressed += activity.open.size;
  }

  #takeBack(nowMs: number): void {
    const grown = [...this.#unfollowed.grown()];
    const alone = grown.filter(({ candidate }) => !this.hasActivityFor(candidate));
    const first = new Set(heaviest(alone, this.#returns.left(nowMs), growthOf));
    for (const unfollowed of grown) {
      const { candidate } = unfollowed;
      const mayEnter = first.has(unfollowed) && this.#returns.take(nowMs);
      if (mayEnter || this.hasActivityFor(candidate)) this.#enter(candidate, nowMs);
    }
  }

  /** Whoever moves much is recorded though its first packets found no room for a recording. */
  #recordIfHeavy(activity: Activity<Tag>): void {
    if (activity.isRecorded || bytesOfActivity(activity) < HEAVY_BYTES) return;
    for (const flow of activity.open.keys()) {
      if (bytesOf(flow) < HEAVY_BYTES) continue;
      activity.isRecorded = this.#options.record(activity.id, flow, 'heavy');
      return;
    }
  }

  #advance(activity: Activity<Tag>, flow: Flow<Tag>): void {
    const flowLastMs = timeOf(flow);
    if (flowLastMs <= activity.lastTimeMs) return;
    activity.lastTimeMs = flowLastMs;
    activity.lastTime = formatTime(flow.lastSeconds, flow.lastNanoseconds);
  }

  #close(activity: Activity<Tag>, nowMs: number): void {
    this.#report(activity, 'over', nowMs);
    this.#activities.delete(activity.key);
  }

  #report(activity: Activity<Tag>, phase: ActivityPhase, nowMs: number): void {
    const { kind, severity, verdict, message } = activity.subject;
    activity.reportedAtMs = nowMs;
    activity.reportedCount = activity.count;
    activity.reportedBytes = reportableBytesOf(activity);
    const anomaly: Anomaly = {
      type: 'anomaly',
      id: activity.id,
      kind,
      severity,
      node: this.#options.node,
      verdict,
      flow: this.firstRecord(activity),
      ...(activity.localEnd === undefined ? {} : { localEnd: activity.localEnd }),
      ...activity.owner,
      count: activity.count,
      bytes: activity.reportedBytes,
      first: activity.firstTime,
      last: activity.lastTime,
      message: `${message}${activity.ownerText}`.slice(0, MAX_MESSAGE_LENGTH),
    };
    this.#options.report(anomaly, phase);
  }
}

/** What the schema of an anomaly takes. */
const MAX_MESSAGE_LENGTH = 1024;

/** The peer's connections that prove more are an activity of their own: what was forged before leaves no mark on it. */
function fullKeyOf(key: string, standing: Standing): string {
  return `${standing} ${key}`;
}

function reportableBytesOf<Tag>(activity: Activity<Tag>): number {
  return bytesOfActivity(activity) - activity.carriedBytes;
}

function hasGrown<Tag>(activity: Activity<Tag>): boolean {
  return activity.count !== activity.reportedCount || reportableBytesOf(activity) !== activity.reportedBytes;
}

/** The time of the newest packet, in ms since the epoch. */
function timeOf({ lastSeconds, lastNanoseconds }: Flow<unknown>): number {
  return lastSeconds * 1000 + lastNanoseconds / 1e6;
}
