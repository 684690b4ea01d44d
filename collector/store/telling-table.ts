/** What each receiver knows of each incident, and when it is to be told more. */
import type { Severity } from '../../common/event.ts';
import { incidentId, incidentNumber, toIncident, type IncidentRow } from './incident-row.ts';
import type { Queries } from './queries.ts';
import type { Breadth, Incident, NotificationType } from './store.ts';

/** The last message about an incident, in the numbers that the next one is compared with. */
export interface Told {
  readonly type: NotificationType;
  readonly atMs: number;
  readonly severity: Severity;
  readonly breadth: Breadth;
  readonly peerCount: number;
  readonly nodeCount: number;
  readonly count: number;
  readonly bytes: number;
  /** What its most severe member had moved; left out in what an earlier version noted. */
  readonly mostBytes?: number | undefined;
  /** How often 1 GB was reached at each node (timing.ts); left out likewise. */
  readonly ordersByNode?: Readonly<Record<string, number>> | undefined;
}

export interface Telling {
  readonly incidentId: string;
  readonly receiver: string;
  /** Null before the first message. */
  readonly told: Told | null;
  /** Messages that were due since the last one and were not written, because of a limit. */
  readonly heldBack: number;
  /** The type of the last of those. */
  readonly held: NotificationType | null;
  /** When to look again, though nothing is reported until then; null for never. */
  readonly dueMs: number | null;
}

interface TellingRow {
  incident: number;
  receiver: string;
  told: string | null;
  held_back: number;
  held: NotificationType | null;
  due_ms: number | null;
}

export class TellingTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** What the receivers know of an incident; none for a receiver that it never concerned. */
  of(incident: string): Telling[] {
    return this.#queries
      .all<TellingRow>('SELECT * FROM tellings WHERE incident = ?', [incidentNumber(incident)])
      .map(toTelling);
  }

  save({ incidentId: incident, receiver, told, heldBack, held, dueMs }: Telling): void {
    this.#queries.run(
      `INSERT INTO tellings (incident, receiver, told, held_back, held, due_ms) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (incident, receiver) DO UPDATE SET told = excluded.told, held_back = excluded.held_back,
         held = excluded.held, due_ms = excluded.due_ms`,
      [
        incidentNumber(incident),
        receiver,
        told === null ? null : JSON.stringify(told),
        heldBack,
        held,
        dueMs,
      ],
    );
  }

  /** What is to be looked at now, the longest due first. */
  due(nowMs: number, limit: number): { incident: Incident; telling: Telling }[] {
    const rows = this.#queries.all<TellingRow & { snapshot: string }>(
      `SELECT tellings.*, incidents.incident AS snapshot
       FROM tellings JOIN incidents ON incidents.number = tellings.incident
       WHERE due_ms <= ? ORDER BY due_ms LIMIT ?`,
      [nowMs, limit],
    );
    return rows.map((row) => {
      const incidentRow: IncidentRow = { number: row.incident, incident: row.snapshot };
      return { incident: toIncident(incidentRow), telling: toTelling(row) };
    });
  }

  /** Forgets receivers that are none any more. */
  keepOnly(receivers: readonly string[]): void {
    this.#queries.run('DELETE FROM tellings WHERE receiver NOT IN (SELECT value FROM json_each(?))', [
      JSON.stringify(receivers),
    ]);
  }
}

function toTelling(row: TellingRow): Telling {
  return {
    incidentId: incidentId(row.incident),
    receiver: row.receiver,
    told: row.told === null ? null : (JSON.parse(row.told) as Told),
    heldBack: row.held_back,
    held: row.held,
    dueMs: row.due_ms,
  };
}
