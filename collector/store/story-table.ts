/** Which incident tells which story, now and after it was resolved. */
import type { AnomalyKind } from '../../common/event.ts';
import { incidentNumber, toIncident, type IncidentRow } from './incident-row.ts';
import type { Queries } from './queries.ts';
import type { Incident } from './store.ts';

/** What happened to whom: what tells one story from another. */
export interface Story {
  readonly fingerprint: string;
  /** Kinds of one family are the same story told differently. */
  readonly family: string;
  /** The stranger's address, or the node or cluster that the story is about. */
  readonly subject: string;
  readonly service: string | null;
}

/** A story of a subject, with the unresolved incident that tells it. */
export interface ToldStory {
  readonly family: string;
  readonly incident: Incident;
}

export class StoryTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** The incident, resolved or not, that told a story last; undefined where there is none any more. */
  incidentOf(fingerprint: string): Incident | undefined {
    return this.#queries
      .all<IncidentRow>(
        `SELECT number, incident.incident FROM stories JOIN incidents AS incident
         ON incident.number = stories.incident WHERE stories.fingerprint = ?`,
        [fingerprint],
      )
      .map(toIncident)[0];
  }

  /** From now on the incident tells the story. */
  save({ fingerprint, family, subject, service }: Story, incidentId: string, nowMs: number): void {
    this.#queries.run(
      `INSERT INTO stories (fingerprint, incident, family, subject, service, began_ms) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (fingerprint) DO UPDATE SET incident = excluded.incident, began_ms = excluded.began_ms`,
      [fingerprint, incidentNumber(incidentId), family, subject, service, nowMs],
    );
  }

  /** The latest stories like this one, of whatever subject, that began since and whose incident, not resolved, is of that kind. */
  alike(
    { family, service }: Story,
    { kind, sinceMs, limit }: { kind: AnomalyKind; sinceMs: number; limit: number },
  ): ToldStory[] {
    return this.#told(
      `family = ? AND service IS ? AND began_ms > ? AND json_extract(incident.incident, '$.kind') = ?
       ORDER BY began_ms DESC LIMIT ?`,
      [family, service, sinceMs, kind, limit],
    );
  }

  /** The stories of a subject in these families that are not resolved. */
  ofSubject(subject: string, families: readonly string[], limit: number): ToldStory[] {
    return this.#told(
      'subject = ? AND family IN (SELECT value FROM json_each(?)) ORDER BY began_ms DESC LIMIT ?',
      [subject, JSON.stringify(families), limit],
    );
  }

  hasSubject(incidentId: string, subject: string): boolean {
    return (
      this.#queries.number('SELECT 1 AS value FROM stories WHERE incident = ? AND subject = ? LIMIT 1', [
        incidentNumber(incidentId),
        subject,
      ]) > 0
    );
  }

  /** Of how many subjects an incident tells. */
  subjectCount(incidentId: string): number {
    return this.#queries.number('SELECT COUNT(DISTINCT subject) AS value FROM stories WHERE incident = ?', [
      incidentNumber(incidentId),
    ]);
  }

  /** Makes everything that is part of one incident part of another one, which absorbs it. */
  move(fromId: string, toId: string): void {
    const [from, to] = [incidentNumber(fromId), incidentNumber(toId)];
    this.#queries.run('UPDATE stories SET incident = ? WHERE incident = ?', [to, from]);
    this.#queries.run('UPDATE OR REPLACE members SET incident = ? WHERE incident = ?', [to, from]);
    this.#queries.run(
      `UPDATE incidents SET merged_into = ?, incident = json_set(incident, '$.mergedInto', ?)
       WHERE merged_into = ? OR number = ?`,
      [to, toId, from, from],
    );
    // Nothing more is told of it until the other one is over.
    this.#queries.run('UPDATE tellings SET due_ms = NULL WHERE incident = ?', [from]);
  }

  /** Lets the end of what an incident has absorbed be told to whoever was told of it before. */
  endAbsorbed(incidentId: string, nowMs: number): void {
    this.#queries.run(
      `UPDATE tellings SET due_ms = ? WHERE told IS NOT NULL
       AND incident IN (SELECT number FROM incidents WHERE merged_into = ?)`,
      [nowMs, incidentNumber(incidentId)],
    );
  }

  #told(condition: string, values: readonly (string | number | null)[]): ToldStory[] {
    const rows = this.#queries.all<IncidentRow & { family: string }>(
      `SELECT family, number, incident.incident FROM stories JOIN incidents AS incident
       ON incident.number = stories.incident WHERE incident.state <> 'resolved' AND ${condition}`,
      values,
    );
    return rows.map((row) => ({ family: row.family, incident: toIncident(row) }));
  }
}
