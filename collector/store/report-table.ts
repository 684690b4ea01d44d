/** What agents reported: each report once, with its rank, by which reports go when the store is full (fair-removal.ts). */
import type { Anomaly, EvidenceReport, Report } from '../../common/event.ts';
import type { Queries } from './queries.ts';
import type { StoredReport } from './store.ts';

/** Which report of which agent; an epoch is one life of the agent's spool. */
export interface ReportSource {
  readonly agent: string;
  readonly epoch: string;
  readonly sequence: number;
}

/** Of flow reports, and of anomaly reports that a later one supersedes. */
const PLAIN = 0;
/** Of the latest report of an anomaly and of its evidence. */
const FINDING = 1;
/** The same of a critical anomaly. */
const CRITICAL_FINDING = 2;

export class ReportTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** Stores a report; false when this (agent, epoch, sequence) is here, or was here before. */
  insert(source: ReportSource, report: Report, nowMs: number): boolean {
    const { agent, epoch, sequence } = source;
    if (this.has(source)) return false;
    const anomaly = report.type === 'flow-report' ? null : idOf(report);
    const rank = report.type === 'flow-report' ? PLAIN : this.#rankFinding(agent, report);
    const incident = anomaly === null || rank === PLAIN ? 0 : this.#incidentOf(agent, anomaly);
    const text = JSON.stringify(report);
    this.#queries.run(
      `INSERT INTO reports (agent, epoch, sequence, received_ms, report, type, anomaly, rank, incident, bytes)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [agent, epoch, sequence, nowMs, text, report.type, anomaly, rank, incident, Buffer.byteLength(text)],
    );
    this.noteSequence(source);
    this.#queries.run('UPDATE agents SET last_seen_ms = ? WHERE name = ?', [nowMs, agent]);
    return true;
  }

  /** Whether the report is here, or was here before. */
  has({ agent, epoch, sequence }: ReportSource): boolean {
    const isRemoved = 'SELECT 1 AS value FROM epochs WHERE agent = ? AND epoch = ? AND removed_sequence >= ?';
    const isHere = 'SELECT 1 AS value FROM reports WHERE agent = ? AND epoch = ? AND sequence = ?';
    return [isRemoved, isHere].some((sql) => this.#queries.number(sql, [agent, epoch, sequence]) > 0);
  }

  /** Remembers that a report came, so that its agent does not send it again. */
  noteSequence({ agent, epoch, sequence }: ReportSource): void {
    this.#queries.run(
      `INSERT INTO epochs (agent, epoch, last_sequence) VALUES (?, ?, ?)
       ON CONFLICT (agent, epoch) DO UPDATE SET last_sequence = max(last_sequence, excluded.last_sequence)`,
      [agent, epoch, sequence],
    );
  }

  /** Reports in order of arrival, after `id`. */
  after(id: number, limit: number): StoredReport[] {
    const rows = this.#queries.all<{
      id: number;
      agent: string;
      sequence: number;
      received_ms: number;
      report: string;
    }>('SELECT id, agent, sequence, received_ms, report FROM reports WHERE id > ? ORDER BY id LIMIT ?', [
      id,
      limit,
    ]);
    return rows.map((row) => ({
      id: row.id,
      agent: row.agent,
      sequence: row.sequence,
      receivedMs: row.received_ms,
      report: JSON.parse(row.report) as Report,
    }));
  }

  /** At most this many reports come after `id`: what was removed between them counts too, unless it is all that was there. */
  countAfter(id: number): number {
    const distance = this.#queries.number(
      `SELECT max(0, coalesce((SELECT MAX(id) FROM reports), 0)
         - max(?, coalesce((SELECT MIN(id) FROM reports) - 1, 0))) AS value`,
      [id],
    );
    const stored = this.#queries.number(
      "SELECT SUM(row_count) AS value FROM shares WHERE part IN ('plain', 'findings')",
      [],
    );
    return Math.min(distance, stored);
  }

  /** The first packets of an anomaly's connection; undefined where there are none, or none any more. */
  evidence(agent: string, anomalyId: string): EvidenceReport | undefined {
    return this.#queries
      .all<{ report: string }>(
        "SELECT report FROM reports WHERE agent = ? AND anomaly = ? AND type = 'evidence' AND rank > 0",
        [agent, anomalyId],
      )
      .map(({ report }) => JSON.parse(report) as EvidenceReport)[0];
  }

  hasEvidence(agent: string, anomalyId: string): boolean {
    return this.#rankOf(agent, anomalyId, 'evidence') > 0;
  }

  /** The rank of a finding that is about to be inserted; lowers that of the anomaly report which it supersedes. */
  #rankFinding(agent: string, report: Anomaly | EvidenceReport): number {
    if (report.type === 'evidence') {
      // Only the first is ever shown.
      if (this.hasEvidence(agent, report.anomaly)) return PLAIN;
      return Math.max(FINDING, this.#rankOf(agent, report.anomaly, 'anomaly'));
    }
    const rank = report.severity === 'critical' ? CRITICAL_FINDING : FINDING;
    this.#queries.run(
      `UPDATE reports SET rank = ${PLAIN}, incident = 0
       WHERE agent = ? AND anomaly = ? AND type = 'anomaly' AND rank > 0`,
      [agent, report.id],
    );
    this.#queries.run(
      "UPDATE reports SET rank = ? WHERE agent = ? AND anomaly = ? AND type = 'evidence' AND rank > 0",
      [rank, agent, report.id],
    );
    return rank;
  }

  #rankOf(agent: string, anomalyId: string, type: 'anomaly' | 'evidence'): number {
    return this.#queries.number(
      'SELECT rank AS value FROM reports WHERE agent = ? AND anomaly = ? AND type = ? AND rank > 0',
      [agent, anomalyId, type],
    );
  }

  /** The number of the latest incident that an anomaly is part of; 0 where there is none (yet). */
  #incidentOf(agent: string, anomalyId: string): number {
    return this.#queries.number(
      'SELECT MAX(incident) AS value FROM members WHERE agent = ? AND anomaly_id = ?',
      [agent, anomalyId],
    );
  }
}

function idOf(report: Anomaly | EvidenceReport): string {
  return report.type === 'anomaly' ? report.id : report.anomaly;
}
