/**
 * Takes reports in: stores them, groups their anomalies into incidents and writes the notifications, all of a batch
 * in one transaction. Whoever acknowledges after `record` returned has nothing to lose.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Anomaly, Report } from '../../common/event.ts';
import { refusalOf } from '../ingest/evidence-admission.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Incident, Member, Store } from '../store/store.ts';
import type { Announcer } from './announcer.ts';
import { assess, isAttempt } from './assessment.ts';
import { plausibleTime } from './event-time.ts';
import { hasOutgrown, placeAnomaly, type GroupingLimits } from './grouping.ts';
import { isOvertaken, Lifecycle, memberNow, type NewMember, type Taken } from './lifecycle.ts';
import { COLLECTOR } from './reporter.ts';
import { hasGoneOn, incidentOfConnection } from './same-connection.ts';
import { isWorse } from './severity.ts';
import { answeredFamily, endsByItself, overflowOf, storyOf } from './story.ts';
import { Tally, type IncidentEvent } from './tally.ts';

/** Resolving is done in portions of this many, so that no transaction is long. */
const RESOLVE_PORTION = 100;

export interface RecorderOptions {
  readonly store: Store;
  /** For what timers start. */
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  readonly announcer: Announcer;
  readonly limits: GroupingLimits;
  /** An incident without a report for this long is resolved; each time that it opens again, for twice as long. */
  readonly quietMs: number;
  /** An agent's report as it is stored. */
  readonly toStore: (agent: string, report: Report) => Report;
  /** An agent's anomaly with its times by the collector's clock. */
  readonly inOurTime: (agent: string, anomaly: Anomaly) => Anomaly;
  /** At most for so long. */
  readonly maxQuietMs: number;
  /** Called before times are decided by: the wall clock may have been set just now. */
  readonly compareClocks?: () => void;
  /** Called after each commit that stored something. */
  readonly onCommit: (events: readonly IncidentEvent[]) => void;
}

export interface SequencedReport {
  readonly sequence: number;
  readonly report: Report;
}

export class Recorder {
  readonly #options: RecorderOptions;
  readonly #lifecycle: Lifecycle;
  /** Since when the collector listens, by the monotonic clock. */
  #listeningSinceMs = 0;
  #timer: Timer | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#lifecycle = new Lifecycle(options);
  }

  /** Begins to resolve incidents that are quiet. Time in which the collector did not run does not count as quiet. */
  start(): void {
    const { clock, quietMs } = this.#options;
    this.resume();
    const checkMs = Math.min(Math.max(quietMs / 10, 1000), 30_000);
    this.#timer = clock.every(checkMs, () => {
      this.#options.guard(() => this.resolveQuiet());
    });
  }

  /** Begins anew after a pause of the process: nobody was listened to in it. */
  resume(): void {
    this.#listeningSinceMs = this.#options.clock.monotonic();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /**
   * Stores reports of one agent and what follows from them; repeats are ignored.
   * @throws PlasmawatchError PW_STORE, and then nothing of the batch is stored
   */
  record(agent: string, epoch: string, reports: readonly SequencedReport[]): void {
    const { store, clock, toStore, inOurTime, compareClocks } = this.#options;
    compareClocks?.();
    const nowMs = clock.now();
    this.#transaction((tally) => {
      for (const { sequence, report } of reports) {
        const source = { agent, epoch, sequence };
        if (report.type === 'evidence' && !store.hasReport(source)) {
          const refusal = refusalOf(report, agent, store);
          if (refusal !== undefined) {
            store.noteSequence(source);
            tally.evidenceRefused.push(refusal);
            continue;
          }
        }
        if (!store.insertReport(source, toStore(agent, report), nowMs)) {
          tally.repeated++;
          continue;
        }
        tally.stored.push(report.type);
        if (report.type === 'anomaly') {
          this.#takeAnomaly(takenOf(agent, inOurTime(agent, report), nowMs, tally));
        }
      }
    });
  }

  /**
   * Takes what the collector itself has noticed, as it takes an agent's reports.
   * @throws PlasmawatchError PW_STORE, and then nothing is stored
   */
  recordOwn(anomalies: readonly Anomaly[]): void {
    this.#options.compareClocks?.();
    const nowMs = this.#options.clock.now();
    this.#transaction((tally) => {
      for (const anomaly of anomalies) this.#takeAnomaly(takenOf(COLLECTOR, anomaly, nowMs, tally));
    });
  }

  /** Resolves what had no report for its quiet time. */
  resolveQuiet(): void {
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    const listenedMs = clock.monotonic() - this.#listeningSinceMs;
    const times = { sinceMs: Math.round(nowMs - listenedMs), nowMs };
    for (;;) {
      const found = this.#transaction((tally) => {
        const quiet = store.quietIncidents(times, RESOLVE_PORTION);
        for (const incident of quiet) this.#lifecycle.resolve(incident, null, times.nowMs, tally);
        return quiet.length;
      });
      if (found < RESOLVE_PORTION) return;
    }
  }

  /**
   * Marks an incident as seen by a person; undefined where there is none. A resolved one stays resolved.
   * @param actor who said so
   * @param comment kept with the action; one to an incident that is acknowledged already is an action, too
   */
  acknowledge(id: string, actor: string, comment?: string): Incident | undefined {
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    return store.transaction(() => {
      const incident = store.incident(id);
      const details = comment === undefined ? {} : { comment };
      const action = { atMs: nowMs, actor, action: 'incident.acknowledge', subject: id, details } as const;
      if (incident?.state === 'acknowledged' && comment !== undefined) store.audit.add(action);
      if (incident?.state !== 'open') return incident;
      const acknowledged: Incident = { ...incident, state: 'acknowledged', acknowledgedMs: nowMs };
      store.updateIncident(acknowledged);
      store.audit.add(action);
      return acknowledged;
    });
  }

  /**
   * Ends an incident by the word of a person; undefined where there is none. One that is resolved stays as it is. If its
   * story goes on all the same, it opens again.
   * @param actor who said so
   * @param comment kept with the action
   */
  resolve(id: string, actor: string, comment?: string): Incident | undefined {
    const { store, clock } = this.#options;
    return this.#transaction((tally) => {
      const incident = store.incident(id);
      if (incident === undefined || incident.state === 'resolved') return incident;
      const nowMs = clock.now();
      const details = comment === undefined ? {} : { comment };
      store.audit.add({ atMs: nowMs, actor, action: 'incident.resolve', subject: id, details });
      return this.#lifecycle.resolve(incident, actor, nowMs, tally);
    });
  }

  #takeAnomaly(taken: Taken): void {
    const { agent, anomaly, tally } = taken;
    const { store } = this.#options;
    const member = store.member(agent, anomaly.id);
    const known = member === undefined ? undefined : store.incident(member.incidentId);
    if (member !== undefined && known !== undefined && known.state !== 'resolved') {
      const base = { count: member.baseCount, bytes: member.baseBytes };
      if (isAboutAnother(member, taken)) {
        // It stays what it was there, too: an agent that could empty its incidents could open new ones without end.
        this.#place(taken, base);
        return;
      }
      const isElsewhere =
        isAnsweredNow(member, taken) || hasOutgrown(known, taken.story) || hasGoneOn(known, taken);
      if (!isElsewhere) {
        this.#lifecycle.grow(known, member, taken);
        if (anomaly.ended) this.#resolveWhenOver(known.id, taken);
        return;
      }
      this.#lifecycle.leave(known, member);
      const incident = this.#place(taken, base);
      this.#afterLeaving(known.id, incident, member, taken);
    } else if (member !== undefined && isOver(member, taken)) {
      tally.stale++;
    } else {
      // What an earlier incident has counted of it is not counted again.
      const { count = 0, bytes = 0 } = member?.latest ?? {};
      this.#place(taken, { count, bytes });
    }
  }

  /** An incident without a member that went elsewhere: over where it was the last one, else of a peer less. */
  #afterLeaving(id: string, now: Incident, member: Member, taken: Taken): void {
    const { store } = this.#options;
    const left = store.incident(id);
    if (left === undefined || left.state === 'resolved' || id === now.id) return;
    if (left.anomalyCount === 0) {
      this.#lifecycle.replace(left, now, taken);
      return;
    }
    const { breadth, peerCount } = left;
    if (breadth !== 'kind' || peerCount <= 1) return;
    const { subject } = storyOf(member.latest);
    if (!store.stories.hasSubject(left.id, subject)) this.#lifecycle.losePeer(left);
  }

  /**
   * Puts an anomaly that no unresolved incident knows where it belongs, and returns the incident.
   * @param base what was counted of it elsewhere
   */
  #place(taken: Taken, base: { count: number; bytes: number }): Incident {
    const { store, limits } = this.#options;
    const { agent, anomaly, story, nowMs, tally } = taken;
    const lifecycle = this.#lifecycle;
    const fresh: NewMember = {
      agent,
      anomalyId: anomaly.id,
      baseCount: base.count,
      baseBytes: base.bytes,
      ...memberNow(anomaly),
    };
    const placement = placeAnomaly(store, { anomaly, story, isOwn: agent === COLLECTOR }, limits, nowMs);
    if (placement.kind === 'same') {
      const { incident } = placement;
      const own = store.memberTable.of(incident.id, agent, anomaly.id);
      if (own === undefined) return lifecycle.join(incident, fresh, taken);
      return lifecycle.grow(incident, own, taken);
    }
    if (placement.kind === 'absorbed') {
      return lifecycle.join(lifecycle.absorb(placement.incident, placement, taken), fresh, taken);
    }
    if (placement.kind === 'new') {
      const known = this.#incidentOfConnection(taken);
      if (known !== undefined) return lifecycle.join(known, fresh, taken);
      const { displaced } = placement;
      if (displaced !== undefined) {
        tally.merged++;
        lifecycle.displace(displaced, taken);
      }
      return lifecycle.open(story, placement.isAlone, fresh, taken);
    }
    tally.merged++;
    const { incident } = placement;
    if (incident === undefined)
      return lifecycle.open(overflowOf(story.family, story.agent), true, fresh, taken);
    return lifecycle.join(incident, fresh, taken);
  }

  /** The incident about the same connection, where nobody hears less if the anomaly has none of its own. */
  #incidentOfConnection(taken: Taken): Incident | undefined {
    const { store, announcer } = this.#options;
    const { anomaly, story, nowMs } = taken;
    const incident = incidentOfConnection(store, taken, nowMs);
    if (incident === undefined) return undefined;
    const { severity } = assess(anomaly);
    if (isWorse(severity, incident.severity)) return undefined;
    const { fingerprint, peer, service } = story;
    const nodes = [anomaly.node];
    const own: Incident = {
      ...incident,
      fingerprint,
      kind: anomaly.kind,
      severity,
      peer,
      service,
      nodes,
      nodeCount: 1,
    };
    return announcer.reachesNoFewer(incident, own, nowMs) ? incident : undefined;
  }

  /** Resolves an incident none of whose anomalies goes on. */
  #resolveWhenOver(id: string, { nowMs, tally }: Taken): void {
    const { store } = this.#options;
    const incident = store.incident(id);
    if (incident !== undefined && !store.hasOngoing(id))
      this.#lifecycle.resolve(incident, null, nowMs, tally);
  }

  /** Counts and tells what was done, once it is on the disk. */
  #transaction<Result>(work: (tally: Tally) => Result): Result {
    const { store, metrics, announcer, onCommit } = this.#options;
    const tally = new Tally();
    const result = store.transaction(() => work(tally));
    tally.count(metrics);
    announcer.publish(tally.written);
    if (tally.stored.length > 0 || tally.events.length > 0) onCommit(tally.events);
    return result;
  }
}

function takenOf(agent: string, reported: Anomaly, nowMs: number, tally: Tally): Taken {
  const { first, last } = reported;
  const { ended, ...rest } = reported;
  const anomaly: Anomaly = {
    ...rest,
    first: plausibleTime(first, nowMs),
    last: plausibleTime(last, nowMs),
    ...(ended === true && endsByItself(reported.kind) ? { ended } : {}),
  };
  return { agent, anomaly, story: storyOf(anomaly), nowMs, tally };
}

/** Whether a report says nothing new of an anomaly whose incident is resolved. */
function isOver(member: Member, taken: Taken): boolean {
  if (isAnsweredNow(member, taken)) return false;
  return taken.anomaly.ended === true || isOvertaken(taken.anomaly, member, taken.nowMs);
}

/** Whether an anomaly is suddenly about another peer or service, or of a kind that has nothing to do with what it was. */
function isAboutAnother({ latest }: Member, { story }: Taken): boolean {
  const before = storyOf(latest);
  return (
    before.subject !== story.subject ||
    before.service !== story.service ||
    answeredFamily(before.family) !== answeredFamily(story.family)
  );
}

/** Whether somebody has answered what was an attempt. What was answered once stays so, whatever is said of it later. */
function isAnsweredNow({ latest }: Member, { anomaly }: Taken): boolean {
  return isAttempt(latest) && !isAttempt(anomaly);
}
