/** The members of incidents: anomalies in the order of their severity, and how many each node has. */
import { SEVERITIES } from '../../common/event.ts';
import { incidentId, incidentNumber } from './incident-row.ts';
import type { Queries } from './queries.ts';
import type { Member } from './store.ts';

interface MemberRow {
  number: number;
  incident: number;
  agent: string;
  anomaly_id: string;
  base_count: number;
  base_bytes: number;
  severity: number;
  data_bytes: number;
  placed: number;
  latest: string;
}

/** Where a page ended: the order of the members, as numbers. */
export interface MemberPosition {
  readonly severity: number;
  readonly dataBytes: number;
  readonly number: number;
  /** The last placing before the first page. */
  readonly placed: number;
}

/** Where a page ended of those that got another place while the pages before were read. */
export interface MovedPosition {
  readonly placed: number;
  readonly number: number;
}

/** A member with a number that it keeps. */
export interface NumberedMember extends Member {
  readonly number: number;
}

export interface MemberPage {
  readonly members: readonly NumberedMember[];
  /** After the last of them; null where there are no more. */
  readonly next: MemberPosition | MovedPosition | null;
}

const COLUMNS = `rowid AS number, incident, agent, anomaly_id, base_count, base_bytes, severity, data_bytes, placed, latest`;
/** The next placing in an incident. */
const NEXT_PLACING = '(SELECT coalesce(MAX(placed), 0) + 1 FROM members WHERE incident = ?)';

export class MemberTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  save(member: Member): void {
    const { latest } = member;
    const incident = incidentNumber(member.incidentId);
    this.#queries.run(
      `INSERT INTO members
         (incident, agent, anomaly_id, node, base_count, base_bytes, severity, data_bytes, latest, ended, placed)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ${NEXT_PLACING})
       ON CONFLICT (agent, anomaly_id, incident) DO UPDATE SET latest = excluded.latest, node = excluded.node,
         severity = excluded.severity, data_bytes = excluded.data_bytes, ended = excluded.ended,
         placed = iif(severity = excluded.severity AND data_bytes = excluded.data_bytes, placed, excluded.placed)`,
      [
        incident,
        member.agent,
        member.anomalyId,
        latest.node,
        member.baseCount,
        member.baseBytes,
        SEVERITIES.indexOf(member.severity),
        member.dataBytes,
        JSON.stringify(latest),
        latest.ended ? 1 : 0,
        incident,
      ],
    );
  }

  /** An anomaly in the latest of the incidents that it is or was part of. */
  latest(agent: string, anomalyId: string): Member | undefined {
    return this.#all('agent = ? AND anomaly_id = ? ORDER BY incident DESC LIMIT 1', [agent, anomalyId])[0];
  }

  /** An anomaly as a member of this incident. */
  of(incident: string, agent: string, anomalyId: string): Member | undefined {
    return this.#all('agent = ? AND anomaly_id = ? AND incident = ?', [
      agent,
      anomalyId,
      incidentNumber(incident),
    ])[0];
  }

  remove({ incidentId: incident, agent, anomalyId }: Member): void {
    this.#queries.run('DELETE FROM members WHERE agent = ? AND anomaly_id = ? AND incident = ?', [
      agent,
      anomalyId,
      incidentNumber(incident),
    ]);
  }

  /**
   * Members by severity, then by bytes, then in the order in which they came; after the last page those that came or got
   * another place while the pages were read, so that nobody escapes who moves up. They may be listed twice.
   */
  page(
    incident: string,
    { limit, after }: { limit: number; after?: MemberPosition | MovedPosition | undefined },
  ): MemberPage {
    const number = incidentNumber(incident);
    if (after !== undefined && !('severity' in after)) return this.#pageOfMoved(number, limit, after);
    const placed = after?.placed ?? this.#lastPlacing(number);
    const order = 'ORDER BY severity DESC, data_bytes DESC, rowid LIMIT ?';
    const rows =
      after === undefined
        ? this.#rows(`incident = ? ${order}`, [number, limit + 1])
        : this.#rows(
            `incident = ? AND (severity < ? OR (severity = ? AND (data_bytes < ? OR (data_bytes = ? AND rowid > ?))))
             ${order}`,
            [
              number,
              after.severity,
              after.severity,
              after.dataBytes,
              after.dataBytes,
              after.number,
              limit + 1,
            ],
          );
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    const hasMore = rows.length > limit && last !== undefined;
    const moved = this.#lastPlacing(number) > placed ? { placed, number: Number.MAX_SAFE_INTEGER } : null;
    return {
      members: page.map(toMember),
      next: hasMore
        ? { severity: last.severity, dataBytes: last.data_bytes, number: last.number, placed }
        : moved,
    };
  }

  #pageOfMoved(incident: number, limit: number, { placed, number }: MovedPosition): MemberPage {
    const rows = this.#rows(
      'incident = ? AND (placed > ? OR (placed = ? AND rowid > ?)) ORDER BY placed, rowid LIMIT ?',
      [incident, placed, placed, number, limit + 1],
    );
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    const hasMore = rows.length > limit && last !== undefined;
    return {
      members: page.map(toMember),
      next: hasMore ? { placed: last.placed, number: last.number } : null,
    };
  }

  #lastPlacing(incident: number): number {
    return this.#queries.number('SELECT coalesce(MAX(placed), 0) AS value FROM members WHERE incident = ?', [
      incident,
    ]);
  }

  /** Members that came last, those that are over left out. */
  latestOf(incident: string, limit: number): Member[] {
    return this.#all('incident = ? AND ended = 0 ORDER BY rowid DESC LIMIT ?', [
      incidentNumber(incident),
      limit,
    ]);
  }

  /** The latest member of each of the nodes that reported one last. */
  latestByNode(incident: string, limit: number): Member[] {
    return this.#all(
      `rowid IN (SELECT MAX(rowid) FROM members WHERE incident = ? GROUP BY node ORDER BY 1 DESC LIMIT ?)
       ORDER BY rowid DESC`,
      [incidentNumber(incident), limit],
    );
  }

  /** The member of an incident that has this number. */
  numbered(incident: string, number: number): Member | undefined {
    return this.#all('rowid = ? AND incident = ?', [number, incidentNumber(incident)])[0];
  }

  /** The most severe member that a node has in an incident. */
  mostSevereOf(incident: string, node: string): Member | undefined {
    return this.#all('incident = ? AND node = ? ORDER BY severity DESC, data_bytes DESC LIMIT 1', [
      incidentNumber(incident),
      node,
    ])[0];
  }

  /** The least severe member of the node that has the most members, and how many that node has. */
  mostDispensable(incident: string): { readonly member: Member; readonly ofNode: number } | undefined {
    const number = incidentNumber(incident);
    const fullest = this.#queries.all<{ node: string; members: number }>(
      'SELECT node, members FROM incident_nodes WHERE incident = ? ORDER BY members DESC LIMIT 1',
      [number],
    )[0];
    if (fullest === undefined) return undefined;
    const member = this.#all('incident = ? AND node = ? ORDER BY severity, data_bytes LIMIT 1', [
      number,
      fullest.node,
    ])[0];
    return member === undefined ? undefined : { member, ofNode: fullest.members };
  }

  /** How many members a node has in an incident. */
  countOf(incident: string, node: string): number {
    return this.#queries.number(
      'SELECT members AS value FROM incident_nodes WHERE incident = ? AND node = ?',
      [incidentNumber(incident), node],
    );
  }

  /** How many nodes report of an incident. */
  nodeCount(incident: string): number {
    return this.#queries.number('SELECT COUNT(*) AS value FROM incident_nodes WHERE incident = ?', [
      incidentNumber(incident),
    ]);
  }

  /** Makes the members of one incident those of another; what is in both is what it was in the other. */
  move(from: string, to: string): void {
    const [fromNumber, toNumber] = [incidentNumber(from), incidentNumber(to)];
    this.#queries.run(
      `DELETE FROM members WHERE incident = ? AND EXISTS (SELECT 1 FROM members AS other
         WHERE other.agent = members.agent AND other.anomaly_id = members.anomaly_id AND other.incident = ?)`,
      [fromNumber, toNumber],
    );
    this.#queries.run(`UPDATE members SET incident = ?, placed = ${NEXT_PLACING} WHERE incident = ?`, [
      toNumber,
      toNumber,
      fromNumber,
    ]);
  }

  #all(condition: string, values: readonly (string | number)[]): Member[] {
    return this.#rows(condition, values).map(toMember);
  }

  #rows(condition: string, values: readonly (string | number)[]): MemberRow[] {
    return this.#queries.all<MemberRow>(`SELECT ${COLUMNS} FROM members WHERE ${condition}`, values);
  }
}

function toMember(row: MemberRow): NumberedMember {
  return {
    number: row.number,
    agent: row.agent,
    anomalyId: row.anomaly_id,
    incidentId: incidentId(row.incident),
    latest: JSON.parse(row.latest) as Member['latest'],
    baseCount: row.base_count,
    baseBytes: row.base_bytes,
    severity: SEVERITIES[row.severity] ?? 'info',
    dataBytes: row.data_bytes,
  };
}
