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
import { placeAnomaly, type GroupingLimits } from './grouping.ts';
import { isOvertaken, Lifecycle, type NewMember, type Taken } from './lifecycle.ts';
import { storyOf } from './story.ts';
import { Tally, type IncidentEvent } from './tally.ts';

/** Who reports what the collector itself notices; no agent can have this name. */
export const COLLECTOR = '(collector)';
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
  #startedMs = 0;
  #timer: Timer | undefined;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#lifecycle = new Lifecycle(options);
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
    const { store, clock, toStore, inOurTime } = this.#options;
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
          this.#takeAnomaly(agent, { anomaly: inOurTime(agent, report), nowMs, tally });
        }
      }
    });
  }

  /**
   * Takes what the collector itself has noticed, as it takes an agent's reports.
   * @throws PlasmawatchError PW_STORE, and then nothing is stored
   */
  recordOwn(anomalies: readonly Anomaly[]): void {
    const nowMs = this.#options.clock.now();
    this.#transaction((tally) => {
      for (const anomaly of anomalies) this.#takeAnomaly(COLLECTOR, { anomaly, nowMs, tally });
    });
  }

  /** Resolves what had no report for its quiet time. */
  resolveQuiet(): void {
    const { store, clock } = this.#options;
    const times = { sinceMs: this.#startedMs, nowMs: clock.now() };
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
   * Ends an incident by the word of a person; undefined where there is none. One that is resolved stays as it is. If its
   * story goes on all the same, it opens again.
   * @param actor who said so
   */
  resolve(id: string, actor: string): Incident | undefined {
    const { store, clock } = this.#options;
    return this.#transaction((tally) => {
      const incident = store.incident(id);
      if (incident === undefined || incident.state === 'resolved') return incident;
      const nowMs = clock.now();
      store.audit.add({ atMs: nowMs, actor, action: 'incident.resolve', subject: id, details: {} });
      return this.#lifecycle.resolve(incident, actor, nowMs, tally);
    });
  }

  #takeAnomaly(agent: string, taken: Taken): void {
    const { anomaly, tally } = taken;
    const { store } = this.#options;
    const member = store.member(agent, anomaly.id);
    const known = member === undefined ? undefined : store.incident(member.incidentId);
    if (member !== undefined && known !== undefined && known.state !== 'resolved') {
      this.#lifecycle.grow(known, member, taken);
      if (anomaly.ended) this.#resolveWhenOver(known.id, taken);
    } else if (member !== undefined && (anomaly.ended || isOvertaken(anomaly, member.latest))) {
      tally.stale++;
    } else {
      this.#place(agent, member, taken);
    }
  }

  /** Puts an anomaly that no unresolved incident knows where it belongs. */
  #place(agent: string, member: Member | undefined, taken: Taken): void {
    const { store, limits } = this.#options;
    const { anomaly, nowMs, tally } = taken;
    const lifecycle = this.#lifecycle;
    // What an earlier incident has counted of it is not counted again.
    const fresh: NewMember = {
      agent,
      anomalyId: anomaly.id,
      latest: anomaly,
      baseCount: member?.latest.count ?? 0,
      baseBytes: member?.latest.bytes ?? 0,
    };
    const placement = placeAnomaly(store, anomaly, limits, nowMs);
    if (placement.kind === 'same') {
      const { incident } = placement;
      if (member?.incidentId === incident.id) lifecycle.grow(incident, member, taken);
      else lifecycle.join(incident, fresh, taken);
    } else if (placement.kind === 'absorbed') {
      const { incident, breadth, others } = placement;
      const broad = lifecycle.absorb(incident, breadth, others, storyOf(anomaly), taken);
      lifecycle.join(broad, fresh, taken);
    } else if (placement.kind === 'new') {
      lifecycle.open(placement.story, placement.isAlone, fresh, taken);
    } else {
      tally.merged++;
      const { incident, many } = placement;
      if (incident === undefined) lifecycle.open(many, true, fresh, taken);
      else lifecycle.join(lifecycle.adopt(incident, storyOf(anomaly), nowMs), fresh, taken);
    }
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
