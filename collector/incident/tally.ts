/** What a transaction did; counted and told once it is on the disk. */
import type { Report } from '../../common/event.ts';
import type { EvidenceRefusal } from '../ingest/evidence-admission.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { Incident } from '../store/store.ts';
import { Written } from './announcer.ts';

/** Something happened to an incident; told after it is on the disk. */
export interface IncidentEvent {
  readonly type: 'opened' | 'escalated' | 'reopened' | 'merged' | 'resolved';
  readonly incident: Incident;
}

export class Tally {
  /** Types of the reports that were stored. */
  readonly stored: Report['type'][] = [];
  /** Reports that were stored before. */
  repeated = 0;
  /** Why evidence was not stored. */
  readonly evidenceRefused: EvidenceRefusal[] = [];
  readonly events: IncidentEvent[] = [];
  readonly written = new Written();
  /** Anomalies that joined the overflow of their agent. */
  merged = 0;
  /** Anomalies whose numbers their incident does not add up. */
  uncounted = 0;
  /** Members that made room for more severe ones. */
  dropped = 0;
  /** Reports that told nothing new. */
  stale = 0;

  count(metrics: CollectorMetrics): void {
    metrics.reportsRepeated.inc(this.repeated);
    for (const type of this.stored) metrics.reports.inc({ type });
    for (const reason of this.evidenceRefused) metrics.evidenceRefused.inc({ reason });
    metrics.anomaliesMerged.inc(this.merged);
    metrics.anomaliesUncounted.inc(this.uncounted);
    metrics.membersDropped.inc(this.dropped);
    metrics.anomaliesStale.inc(this.stale);
    for (const { type } of this.events) metrics.incidents.inc({ event: type });
  }
}
