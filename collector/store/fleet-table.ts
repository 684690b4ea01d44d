/** What the store knows of agents beyond their reports: who is silent, stopped or retired. */
import type { Anomaly } from '../../common/event.ts';
import type { Queries } from './queries.ts';

/** An agent of which nothing has reached the store for a while. */
export interface SilentAgent {
  readonly name: string;
  readonly lastSeenMs: number;
  /** When it said goodbye; null where it went without a word. */
  readonly stoppedMs: number | null;
}

export class FleetTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
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
  silentAgents(sinceMs: number): SilentAgent[] {
    const rows = this.#queries.all<{ name: string; last_seen_ms: number; stopped_ms: number | null }>(
      'SELECT name, last_seen_ms, stopped_ms FROM agents WHERE last_seen_ms <= ? AND retired_ms IS NULL',
      [sinceMs],
    );
    return rows.map((row) => ({
      name: row.name,
      lastSeenMs: row.last_seen_ms,
      stoppedMs: row.stopped_ms,
    }));
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
