/** Which incident tells which story, now and after it was resolved. */
import { incidentNumber, toIncident, type IncidentRow } from './incident-row.ts';
import type { MemberTable } from './member-table.ts';
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
  /** The agent that reports it. */
  readonly agent: string;
  /** What it has in common with others that are one burst with it. */
  readonly burst: string;
}

/** A story of a subject, with the unresolved incident that tells it. */
export interface ToldStory {
  readonly family: string;
  /** The agent that began it. */
  readonly agent: string;
  readonly incident: Incident;
}

export class StoryTable {
  readonly #queries: Queries;
  readonly #members: MemberTable;

  constructor(queries: Queries, members: MemberTable) {
    this.#queries = queries;
    this.#members = members;
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
  save({ fingerprint, family, subject, service, agent, burst }: Story, id: string, nowMs: number): void {
    const incident = incidentNumber(id);
    this.#queries.run(
      `INSERT INTO stories (fingerprint, incident, family, subject, service, agent, burst, began_ms)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (fingerprint) DO UPDATE SET incident = excluded.incident, agent = excluded.agent,
         burst = excluded.burst, began_ms = excluded.began_ms`,
      [fingerprint, incident, family, subject, service, agent, burst, nowMs],
    );
    this.#queries.run(
      `INSERT INTO latest_stories (burst, agent, incident, began_ms) VALUES (?, ?, ?, ?)
       ON CONFLICT (burst, agent) DO UPDATE SET incident = excluded.incident, began_ms = excluded.began_ms`,
      [burst, agent, incident, nowMs],
    );
  }

  /** The latest stories like this one that its agent began since, of whatever subject, whose incident is not resolved. */
  alikeOfAgent({ burst, agent }: Story, { sinceMs, limit }: { sinceMs: number; limit: number }): ToldStory[] {
    return this.#told('burst = ? AND agent = ? AND began_ms > ? ORDER BY began_ms DESC LIMIT ?', [
      burst,
      agent,
      sinceMs,
      limit,
    ]);
  }

  /** Likewise the latest one of each other agent. */
  alikeOfOthers(
    { burst, agent, family }: Story,
    { sinceMs, limit }: { sinceMs: number; limit: number },
  ): ToldStory[] {
    return this.#queries
      .all<IncidentRow & { agent: string }>(
        `SELECT latest_stories.agent, number, incidents.incident
         FROM latest_stories JOIN incidents ON incidents.number = latest_stories.incident
         WHERE burst = ? AND began_ms > ? AND latest_stories.agent <> ? AND state <> 'resolved'
         ORDER BY began_ms DESC LIMIT ?`,
        [burst, sinceMs, agent, limit],
      )
      .map((row) => ({ family, agent: row.agent, incident: toIncident(row) }));
  }

  /** The other stories of its subject in these families that are not resolved. */
  othersOfSubject({ subject, fingerprint }: Story, families: readonly string[], limit: number): ToldStory[] {
    return this.#told(
      `subject = ? AND family IN (SELECT value FROM json_each(?)) AND stories.fingerprint <> ?
       ORDER BY began_ms DESC LIMIT ?`,
      [subject, JSON.stringify(families), fingerprint, limit],
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
    this.#queries.run('UPDATE latest_stories SET incident = ? WHERE incident = ?', [to, from]);
    this.#members.move(fromId, toId);
    this.markMerged(fromId, toId);
  }

  /** Notes that another incident tells what one did, and what that one has absorbed; nothing more is told of it till then. */
  markMerged(fromId: string, toId: string): void {
    const [from, to] = [incidentNumber(fromId), incidentNumber(toId)];
    this.#queries.run(
      `UPDATE incidents SET merged_into = ?, incident = json_set(incident, '$.mergedInto', ?)
       WHERE merged_into = ? OR number = ?`,
      [to, toId, from, from],
    );
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
    const rows = this.#queries.all<IncidentRow & { family: string; agent: string }>(
      `SELECT family, agent, number, incident.incident FROM stories JOIN incidents AS incident
       ON incident.number = stories.incident WHERE incident.state <> 'resolved' AND ${condition}`,
      values,
    );
    // Most of them are told by one incident, which may be large.
    const incidents = new Map<number, Incident>();
    return rows.map((row) => {
      const incident = incidents.get(row.number) ?? toIncident(row);
      incidents.set(row.number, incident);
      return { family: row.family, agent: row.agent, incident };
    });
  }
}
