/** Who did what, in the order in which it was done. Entries are added and, when they are old, removed; never changed. */
import type { Queries } from './queries.ts';

/** Everything that a person can change, here or in a file that is followed. */
export const AUDIT_ACTIONS = [
  'incident.acknowledge',
  'incident.resolve',
  'rules.push',
  'silence.add',
  'silence.end',
  'agent.retire',
  'agent.enrol',
  'agent.enrol-revoke',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

export interface AuditEntry {
  readonly atMs: number;
  /** The name of the token that was presented; `(file)` for who changed a file on the collector's machine. */
  readonly actor: string;
  readonly action: AuditAction;
  /** What it was done to: `INC-3`, `SIL-1`, the name of an agent, `rules`. */
  readonly subject: string;
  /** What else is to be known, as JSON; no secret. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Which entries are asked for; what is left out does not matter. */
export interface AuditQuery {
  readonly subject?: string | undefined;
  readonly actor?: string | undefined;
  readonly limit: number;
  /** The cursor that the page before gave. */
  readonly before?: number | undefined;
}

interface AuditRow {
  number: number;
  at_ms: number;
  actor: string;
  action: AuditAction;
  subject: string;
  details: string;
}

export class AuditTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** To be called in the transaction in which it was done. */
  add({ atMs, actor, action, subject, details }: AuditEntry): void {
    this.#queries.run('INSERT INTO audit (at_ms, actor, action, subject, details) VALUES (?, ?, ?, ?, ?)', [
      atMs,
      actor,
      action,
      subject,
      JSON.stringify(details),
    ]);
  }

  /** Newest first. */
  entries({ subject, actor, limit, before = Number.MAX_SAFE_INTEGER }: AuditQuery): {
    entries: AuditEntry[];
    next: number | null;
  } {
    const conditions: [condition: string, value: string | number][] = [['number < ?', before]];
    if (subject !== undefined) conditions.push(['subject = ?', subject]);
    if (actor !== undefined) conditions.push(['actor = ?', actor]);
    const where = conditions.map(([condition]) => condition).join(' AND ');
    const rows = this.#queries.all<AuditRow>(
      `SELECT * FROM audit WHERE ${where} ORDER BY number DESC LIMIT ?`,
      [...conditions.map(([, value]) => value), limit + 1],
    );
    const page = rows.slice(0, limit);
    return { entries: page.map(toEntry), next: rows.length > limit ? (page.at(-1)?.number ?? null) : null };
  }

  /**
   * Removes what is older than a time, and of what is more than `maxEntries` the oldest of whoever did most: nobody hides
   * what another one did, or did before, behind a thousand actions of one's own. Returns how many.
   */
  remove({
    beforeMs,
    maxEntries,
    maxRows,
  }: {
    beforeMs: number;
    maxEntries: number;
    maxRows: number;
  }): number {
    const old = this.#queries.run(
      'DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE at_ms < ? ORDER BY number LIMIT ?)',
      [beforeMs, maxRows],
    );
    return old + this.#removeExcess(maxEntries, maxRows - old);
  }

  #removeExcess(maxEntries: number, maxRows: number): number {
    const stored = this.#queries.number('SELECT COUNT(*) AS value FROM audit', []);
    const excess = Math.min(stored - maxEntries, maxRows);
    if (excess <= 0) return 0;
    const actors = this.#queries.all<{ actor: string; count: number }>(
      'SELECT actor, COUNT(*) AS count FROM audit GROUP BY actor ORDER BY count DESC',
      [],
    );
    const fairShare = maxEntries / actors.length;
    let removed = 0;
    for (const { actor, count } of actors) {
      removed += this.#queries.run(
        'DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE actor = ? ORDER BY number LIMIT ?)',
        [actor, Math.max(0, Math.min(Math.ceil(count - fairShare), excess - removed))],
      );
    }
    return removed;
  }
}

function toEntry({ at_ms, actor, action, subject, details }: AuditRow): AuditEntry {
  return { atMs: at_ms, actor, action, subject, details: JSON.parse(details) as AuditEntry['details'] };
}
