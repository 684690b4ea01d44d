/**
 * Takes reports in: stores them, groups their anomalies into incidents and writes the notifications, all of a batch
 * in one transaction. Whoever acknowledges after `record` returned has nothing to lose.
 *
 * The numbers of an anomaly are totals of its story so far and are reported again as they grow, so an incident adds
 * up the latest numbers of each anomaly. An anomaly that goes on after its incident was resolved opens a new one,
 * which counts only what came since.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Anomaly, Report } from '../../common/event.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import { MAX_LISTED_NODES, type Incident, type Member, type Store } from '../store/store.ts';
import { Written, type Announcer } from './announcer.ts';
import { isBefore } from './event-time.ts';
import { manyStories, storyOf, titleOf } from './story.ts';
import { isWorse } from './timing.ts';

/** An incident adds up at most so many anomalies; more only keep it open. */
export const MAX_MEMBERS = 10_000;
/** Who reports what the collector itself notices; no agent can have this name. */
export const COLLECTOR = '(collector)';
/** Resolving is done in portions of this many, so that no transaction is long. */
const RESOLVE_PORTION = 100;

/** Something happened to an incident; told after it is on the disk. */
export interface IncidentEvent {
  readonly type: 'opened' | 'escalated' | 'resolved';
  readonly incident: Incident;
}

export interface RecorderOptions {
  readonly store: Store;
  /** For what timers start. */
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  readonly announcer: Announcer;
  /** An incident without a report for this long is resolved. */
  readonly quietMs: number;
  /** Past so many unresolved incidents, new stories join one incident for each family of kinds. */
  readonly maxUnresolved: number;
  /** An agent's anomaly with its times by the collector's clock. */
  readonly inOurTime: (agent: string, anomaly: Anomaly) => Anomaly;
  /** Called after each commit that stored something. */
  readonly onCommit: (events: readonly IncidentEvent[]) => void;
}

export interface SequencedReport {
  readonly sequence: number;
  readonly report: Report;
}

export class Recorder {
  readonly #options: RecorderOptions;
  #startedMs = 0;
  #timer: Timer | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** Begins to resolve incidents that are quiet. Time in which the collector did not run does not count as quiet. */
  start(): void {
    const { clock, quietMs } = this.#options;
    this.#startedMs = clock.now();
    const checkMs = Math.min(Math.max(quietMs / 10, 1000), 30_000);
    this.#timer = clock.every(checkMs, () => {
      this.#options.guard(() => this.resolveQuiet());
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /**
   * Stores reports of one agent and what follows from them; repeats are ignored.
   * @throws PlasmawatchError PW_STORE, and then nothing of the batch is stored
   */
  record(agent: string, epoch: string, reports: readonly SequencedReport[]): void {
    const { store, clock, metrics } = this.#options;
    const nowMs = clock.now();
    const tally = new Tally();
    store.transaction(() => {
      for (const { sequence, report } of reports) {
        if (!store.insertReport({ agent, epoch, sequence }, report, nowMs)) {
          tally.repeated++;
          continue;
        }
        tally.stored.push(report.type);
        if (report.type === 'anomaly') {
          this.#takeAnomaly(agent, this.#options.inOurTime(agent, report), nowMs, tally);
        }
      }
    });
    metrics.reportsRepeated.inc(tally.repeated);
    for (const type of tally.stored) metrics.reports.inc({ type });
    this.#publish(tally);
  }

  /**
   * Takes what the collector itself has noticed, as it takes an agent's reports.
   * @throws PlasmawatchError PW_STORE, and then nothing is stored
   */
  recordOwn(anomalies: readonly Anomaly[]): void {
    const nowMs = this.#options.clock.now();
    const tally = new Tally();
    this.#options.store.transaction(() => {
      for (const anomaly of anomalies) this.#takeAnomaly(COLLECTOR, anomaly, nowMs, tally);
    });
    this.#publish(tally);
  }

  /** Resolves what had no report for the quiet time. */
  resolveQuiet(): void {
    const { store, clock, quietMs } = this.#options;
    const nowMs = clock.now();
    if (nowMs - this.#startedMs < quietMs) return;
    for (;;) {
      const tally = new Tally();
      store.transaction(() => {
        for (const incident of store.quietIncidents(nowMs - quietMs, RESOLVE_PORTION)) {
          this.#resolve(incident, null, nowMs, tally);
        }
      });
      this.#publish(tally);
      if (tally.events.length < RESOLVE_PORTION) return;
    }
  }

  /**
   * Marks an incident as seen by a person; undefined where there is none. A resolved one stays resolved.
   * @param actor who said so
   */
  acknowledge(id: string, actor: string): Incident | undefined {
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    return store.transaction(() => {
      const incident = store.incident(id);
      if (incident?.state !== 'open') return incident;
      const acknowledged: Incident = { ...incident, state: 'acknowledged', acknowledgedMs: nowMs };
      store.updateIncident(acknowledged);
      store.audit.add({ atMs: nowMs, actor, action: 'incident.acknowledge', subject: id, details: {} });
      return acknowledged;
    });
  }

  /**
   * Ends an incident by the word of a person; undefined where there is none. One that is resolved stays as it is.
   * @param actor who said so
   */
  resolve(id: string, actor: string): Incident | undefined {
    const { store, clock } = this.#options;
    const nowMs = clock.now();
    const tally = new Tally();
    const incident = store.transaction(() => {
      const found = store.incident(id);
      if (found === undefined || found.state === 'resolved') return found;
      store.audit.add({ atMs: nowMs, actor, action: 'incident.resolve', subject: id, details: {} });
      return this.#resolve(found, actor, nowMs, tally);
    });
    this.#publish(tally);
    return incident;
  }

  #takeAnomaly(agent: string, anomaly: Anomaly, nowMs: number, tally: Tally): void {
    const { store } = this.#options;
    const member = store.member(agent, anomaly.id);
    const known = member === undefined ? undefined : store.incident(member.incidentId);
    if (member !== undefined && known !== undefined && known.state !== 'resolved') {
      this.#continue(known, member, anomaly, nowMs, tally);
      if (anomaly.ended) this.#resolveWhenOver(known.id, nowMs, tally);
      return;
    }
    if (member !== undefined && (anomaly.ended || isOvertaken(anomaly, member.latest))) {
      tally.stale++;
      return;
    }
    const fresh: Omit<Member, 'incidentId'> = {
      agent,
      anomalyId: anomaly.id,
      latest: anomaly,
      baseCount: member?.latest.count ?? 0,
      baseBytes: member?.latest.bytes ?? 0,
    };
    const incident = this.#findOpen(anomaly, tally);
    if (incident === undefined) this.#open(anomaly, fresh, nowMs, tally);
    else this.#join(incident, { ...fresh, incidentId: incident.id }, nowMs, tally);
  }

  /** Resolves an incident none of whose anomalies goes on. */
  #resolveWhenOver(id: string, nowMs: number, tally: Tally): void {
    const { store } = this.#options;
    const incident = store.incident(id);
    if (incident === undefined || store.hasOngoing(id)) return;
    this.#resolve(incident, null, nowMs, tally);
  }

  #resolve(incident: Incident, resolvedBy: string | null, nowMs: number, tally: Tally): Incident {
    const resolved: Incident = { ...incident, state: 'resolved', resolvedMs: nowMs, resolvedBy };
    this.#options.store.updateIncident(resolved);
    this.#happened('resolved', resolved, nowMs, tally);
    return resolved;
  }

  #findOpen(anomaly: Anomaly, tally: Tally): Incident | undefined {
    const { store, maxUnresolved } = this.#options;
    const incident = store.unresolvedIncident(storyOf(anomaly).fingerprint);
    if (incident !== undefined || store.unresolvedCount() < maxUnresolved) return incident;
    tally.merged++;
    return store.unresolvedIncident(manyStories(anomaly.kind).fingerprint);
  }

  #open(anomaly: Anomaly, member: Omit<Member, 'incidentId'>, nowMs: number, tally: Tally): void {
    const { store, maxUnresolved } = this.#options;
    const story = store.unresolvedCount() < maxUnresolved ? storyOf(anomaly) : manyStories(anomaly.kind);
    const titled = { ...story, kind: anomaly.kind, nodes: [anomaly.node], nodeCount: 1 };
    const incident = store.insertIncident({
      ...titled,
      title: titleOf(titled),
      state: 'open',
      severity: anomaly.severity,
      anomalyCount: 1,
      count: grown(anomaly.count, member.baseCount),
      bytes: grown(anomaly.bytes, member.baseBytes),
      first: anomaly.first,
      last: anomaly.last,
      message: anomaly.message,
      openedMs: nowMs,
      lastReportMs: nowMs,
      acknowledgedMs: null,
      resolvedMs: null,
      resolvedBy: null,
    });
    store.saveMember({ ...member, incidentId: incident.id });
    this.#happened('opened', incident, nowMs, tally);
  }

  /** An anomaly that the incident knows is reported again. A report that came late still shows that the story goes on. */
  #continue(incident: Incident, member: Member, anomaly: Anomaly, nowMs: number, tally: Tally): void {
    if (isOvertaken(anomaly, member.latest)) {
      tally.stale++;
      this.#update(incident, anomaly, nowMs, tally);
      return;
    }
    const { baseCount, baseBytes, latest } = member;
    const continued: Incident = {
      ...incident,
      count: added(incident.count, grown(anomaly.count, baseCount) - grown(latest.count, baseCount)),
      bytes: added(incident.bytes, grown(anomaly.bytes, baseBytes) - grown(latest.bytes, baseBytes)),
    };
    this.#options.store.saveMember({ ...member, latest: anomaly });
    this.#update(continued, anomaly, nowMs, tally);
  }

  /** An anomaly that the incident does not know becomes part of it. */
  #join(incident: Incident, member: Member, nowMs: number, tally: Tally): void {
    const { store } = this.#options;
    const anomaly = member.latest;
    if (incident.anomalyCount >= MAX_MEMBERS) {
      tally.uncounted++;
      this.#update(incident, anomaly, nowMs, tally);
      return;
    }
    const isNewNode = !store.hasNode(incident.id, anomaly.node);
    const isListed = isNewNode && incident.nodes.length < MAX_LISTED_NODES;
    const joined: Incident = {
      ...incident,
      nodes: isListed ? [...incident.nodes, anomaly.node] : incident.nodes,
      nodeCount: incident.nodeCount + (isNewNode ? 1 : 0),
      anomalyCount: incident.anomalyCount + 1,
      count: added(incident.count, grown(anomaly.count, member.baseCount)),
      bytes: added(incident.bytes, grown(anomaly.bytes, member.baseBytes)),
    };
    store.saveMember(member);
    this.#update(joined, anomaly, nowMs, tally);
  }

  /** Stores an incident that had a report: what is common to all reports, late ones included. */
  #update(incident: Incident, anomaly: Anomaly, nowMs: number, tally: Tally): void {
    const isLater = isBefore(incident.last, anomaly.last);
    const isEscalated = isWorse(anomaly.severity, incident.severity);
    const updated: Incident = {
      ...incident,
      title: titleOf(incident),
      severity: isEscalated ? anomaly.severity : incident.severity,
      first: isBefore(anomaly.first, incident.first) ? anomaly.first : incident.first,
      last: isLater ? anomaly.last : incident.last,
      message: isLater ? anomaly.message : incident.message,
      lastReportMs: nowMs,
    };
    this.#options.store.updateIncident(updated);
    if (isEscalated) this.#happened('escalated', updated, nowMs, tally);
    else this.#options.announcer.consider(updated, nowMs, tally.written);
  }

  #happened(type: IncidentEvent['type'], incident: Incident, nowMs: number, tally: Tally): void {
    tally.events.push({ type, incident });
    this.#options.announcer.consider(incident, nowMs, tally.written);
  }

  /** Counts and tells what is on the disk now. */
  #publish(tally: Tally): void {
    const { metrics, announcer, onCommit } = this.#options;
    metrics.anomaliesMerged.inc(tally.merged);
    metrics.anomaliesUncounted.inc(tally.uncounted);
    metrics.anomaliesStale.inc(tally.stale);
    for (const { type } of tally.events) metrics.incidents.inc({ event: type });
    announcer.publish(tally.written);
    if (tally.stored.length > 0 || tally.events.length > 0) onCommit(tally.events);
  }
}

/** What a transaction did; counted only once it is on the disk. */
class Tally {
  readonly stored: Report['type'][] = [];
  readonly events: IncidentEvent[] = [];
  readonly written = new Written();
  repeated = 0;
  merged = 0;
  uncounted = 0;
  stale = 0;
}

/** Whether a report tells nothing that a later one of the same anomaly has not told: it came late. */
function isOvertaken(anomaly: Anomaly, latest: Anomaly): boolean {
  if (anomaly.ended && !latest.ended) return false;
  return (
    !isBefore(latest.last, anomaly.last) && anomaly.count <= latest.count && anomaly.bytes <= latest.bytes
  );
}

/** What a total has grown by since an earlier incident; a total that fell has begun anew. */
function grown(total: number, base: number): number {
  return total >= base ? total - base : total;
}

function added(sum: number, more: number): number {
  return Math.min(Math.max(sum + more, 0), Number.MAX_SAFE_INTEGER);
}
