/** What the store knows of agents beyond their reports: who is there, silent, stopped or retired. */
import type { Anomaly, AnomalyKind } from '../../common/event.ts';
import type { RulesInUse } from '../../common/handed-rules.ts';
import type { Queries } from './queries.ts';

export interface AgentRecord {
  readonly name: string;
  readonly epoch: string;
  readonly version: string;
  readonly capture: string;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  /** When it said goodbye, unless it came back since. */
  readonly stoppedMs: number | null;
  /** When a person declared it gone for good, unless it came back since. */
  readonly retiredMs: number | null;
  /** Of the current epoch; 0 before the first report. */
  readonly lastSequence: number;
  /** The latest heartbeat's counters, or null before the first. */
  readonly counters: Readonly<Record<string, number | null>> | null;
  /** Whether it has a key of its own. */
  readonly isEnrolled: boolean;
  /** The rules that it runs, by its latest heartbeat. */
  readonly rules: RulesInUse | null;
}

/** An agent of which nothing has reached the store for a while. */
export interface SilentAgent {
  readonly name: string;
  readonly lastSeenMs: number;
  /** When it said goodbye; null where it went without a word. */
  readonly stoppedMs: number | null;
}

interface AgentRow {
  name: string;
  epoch: string;
  version: string;
  capture: string;
  first_seen_ms: number;
  last_seen_ms: number;
  stopped_ms: number | null;
  retired_ms: number | null;
  last_sequence: number | null;
  counters: string | null;
  rules: string | null;
  is_enrolled: number;
}

const AGENTS = `SELECT agents.*, epochs.last_sequence, enrolments.key_digest IS NOT NULL AS is_enrolled
  FROM agents LEFT JOIN enrolments ON enrolments.agent = agents.name
  LEFT JOIN epochs ON epochs.agent = agents.name AND epochs.epoch = agents.epoch`;

export class FleetTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** At most `limit` agents in the order of their names, after the name `after`. */
  agents({ limit, after }: { limit: number; after: string }): AgentRecord[] {
    return this.#queries
      .all<AgentRow>(`${AGENTS} WHERE agents.name > ? ORDER BY agents.name LIMIT ?`, [after, limit])
      .map(toAgent);
  }

  agent(name: string): AgentRecord | undefined {
    return this.#queries.all<AgentRow>(`${AGENTS} WHERE agents.name = ?`, [name]).map(toAgent)[0];
  }

  /** The agent said which rules it runs. */
  saveRules(agent: string, rules: RulesInUse): void {
    this.#queries.run('UPDATE agents SET rules = ? WHERE name = ?', [JSON.stringify(rules), agent]);
  }

  /** The agent said goodbye; its next hello takes that back. */
  markStopped(agent: string, nowMs: number): void {
    this.#queries.run('UPDATE agents SET stopped_ms = ?, last_seen_ms = ? WHERE name = ?', [
      nowMs,
      nowMs,
      agent,
    ]);
  }

  /** The agent is gone for good, and its silence is no story; its next hello takes that back. False where there is none. */
  retire(agent: string, nowMs: number): boolean {
    return this.#queries.run('UPDATE agents SET retired_ms = ? WHERE name = ?', [nowMs, agent]) > 0;
  }

  /** Agents, not retired, of which nothing was stored since. */
  silentAgents({ sinceMs, nowMs }: { sinceMs: number; nowMs: number }): SilentAgent[] {
    const rows = this.#queries.all<{ name: string; last_seen_ms: number; stopped_ms: number | null }>(
      `SELECT name, last_seen_ms, stopped_ms FROM agents
       WHERE (last_seen_ms <= ? OR last_seen_ms > ?) AND retired_ms IS NULL`,
      [sinceMs, nowMs],
    );
    return rows.map((row) => ({
      name: row.name,
      lastSeenMs: row.last_seen_ms,
      stoppedMs: row.stopped_ms,
    }));
  }

  /** Whether a story of this kind goes on about a node, in an incident that is not resolved. */
  isOngoing(kind: AnomalyKind, node: string): boolean {
    const rows = this.#queries.all(
      `SELECT 1 FROM incidents JOIN members ON members.incident = incidents.number
       WHERE incidents.state <> 'resolved' AND json_extract(incidents.incident, '$.kind') = ?
         AND members.node = ? AND members.ended = 0 LIMIT 1`,
      [kind, node],
    );
    return rows.length > 0;
  }

  /** The anomalies of a reporter that have not said that they are over. */
  ongoing(reporter: string): Anomaly[] {
    const rows = this.#queries.all<{ latest: string }>(
      `SELECT members.latest FROM members JOIN incidents ON incidents.number = members.incident
       WHERE members.agent = ? AND members.ended = 0 AND incidents.state <> 'resolved'`,
      [reporter],
    );
    return rows.map(({ latest }) => JSON.parse(latest) as Anomaly);
  }
}

function toAgent(row: AgentRow): AgentRecord {
  return {
    name: row.name,
    epoch: row.epoch,
    version: row.version,
    capture: row.capture,
    firstSeenMs: row.first_seen_ms,
    lastSeenMs: row.last_seen_ms,
    stoppedMs: row.stopped_ms,
    retiredMs: row.retired_ms,
    lastSequence: row.last_sequence ?? 0,
    counters: row.counters === null ? null : (JSON.parse(row.counters) as Record<string, number | null>),
    isEnrolled: row.is_enrolled === 1,
    rules: row.rules === null ? null : (JSON.parse(row.rules) as RulesInUse),
  };
}
