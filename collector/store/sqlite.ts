/** The store on SQLite: one file, one process. The schema is in sqlite-schema.ts. */
import type { EvidenceReport } from '../../common/event.ts';
import { openDatabase } from '../../common/sqlite.ts';
import { AuditTable } from './audit-table.ts';
import { shiftTimes, type ClockShift } from './clock-shift.ts';
import { EnrolmentTable } from './enrolment-table.ts';
import { FairRemoval, removeReports, type RoomLimits } from './fair-removal.ts';
import { FleetTable, type AgentRecord } from './fleet-table.ts';
import { MemberTable } from './member-table.ts';
import { incidentId, incidentNumber, toIncident, type IncidentRow } from './incident-row.ts';
import { Queries } from './queries.ts';
import { ReportTable, type ReportSource } from './report-table.ts';
import { RulesTable } from './rules-table.ts';
import { MIGRATIONS } from './sqlite-schema.ts';
import { SilenceTable } from './silence-table.ts';
import { StoryTable } from './story-table.ts';
import { TellingTable } from './telling-table.ts';
import type {
  Incident,
  IncidentQuery,
  Member,
  NewIncident,
  Notification,
  NotificationLimits,
  NotificationType,
  OutboxEntry,
  RemovalLimits,
  Removed,
  RemovedExcess,
  Store,
  StoredReport,
} from './store.ts';

/** An agent that loses its spool starts a new epoch; more lost spools than this are forgotten. */
const MAX_EPOCHS_PER_AGENT = 16;

/**
 * Opens (and makes) the store at `path`; `:memory:` for one that lives as long as the process.
 * @throws PlasmawatchError PW_STORE, PW_SQLITE_UNAVAILABLE
 */
export async function openSqliteStore(path: string): Promise<Store> {
  const database = await openDatabase(path, MIGRATIONS);
  // Without it a row that REPLACE removes fires no trigger, and the shares would be wrong.
  database.exec('PRAGMA recursive_triggers = ON');
  return new SqliteStore(new Queries(path, database));
}

/** Counted by no limit, and never lost to make room. */
const UNLIMITED: NotificationLimits = { topic: null, origin: null, rank: Number.MAX_SAFE_INTEGER };

interface OutboxRow {
  id: string;
  receiver: string;
  type: NotificationType;
  snapshot: string;
  held_back: number;
  created_ms: number;
  state: OutboxEntry['state'];
  attempts: number;
  next_attempt_ms: number;
  reason: string | null;
}

class SqliteStore implements Store {
  readonly #queries: Queries;
  readonly #reports: ReportTable;
  readonly #room: FairRemoval;
  readonly fleet: FleetTable;
  readonly rules: RulesTable;
  readonly stories: StoryTable;
  readonly memberTable: MemberTable;
  readonly enrolments: EnrolmentTable;
  readonly tellings: TellingTable;
  readonly silences: SilenceTable;
  readonly audit: AuditTable;

  constructor(queries: Queries) {
    this.#queries = queries;
    this.#reports = new ReportTable(queries);
    this.#room = new FairRemoval(queries);
    this.fleet = new FleetTable(queries);
    this.rules = new RulesTable(queries);
    this.memberTable = new MemberTable(queries);
    this.stories = new StoryTable(queries, this.memberTable);
    this.enrolments = new EnrolmentTable(queries);
    this.tellings = new TellingTable(queries);
    this.silences = new SilenceTable(queries);
    this.audit = new AuditTable(queries);
  }

  transaction<Result>(work: () => Result): Result {
    return this.#queries.transaction(work);
  }

  greetAgent(
    { name, epoch, version, capture }: Pick<AgentRecord, 'name' | 'epoch' | 'version' | 'capture'>,
    nowMs: number,
  ): number {
    return this.transaction(() => {
      this.#queries.run(
        `INSERT INTO agents (name, epoch, version, capture, first_seen_ms, last_seen_ms) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, version = excluded.version,
           capture = excluded.capture, last_seen_ms = excluded.last_seen_ms, stopped_ms = NULL, retired_ms = NULL`,
        [name, epoch, version, capture, nowMs, nowMs],
      );
      this.#queries.run('INSERT OR IGNORE INTO epochs (agent, epoch) VALUES (?, ?)', [name, epoch]);
      this.#queries.run(
        `DELETE FROM epochs WHERE agent = ? AND epoch <> ? AND id NOT IN
           (SELECT id FROM epochs WHERE agent = ? ORDER BY id DESC LIMIT ?)`,
        [name, epoch, name, MAX_EPOCHS_PER_AGENT],
      );
      return this.lastSequence(name, epoch);
    });
  }

  saveHeartbeat(agent: string, counters: Readonly<Record<string, number | null>>, nowMs: number): void {
    this.#queries.run('UPDATE agents SET counters = ?, last_seen_ms = ? WHERE name = ?', [
      JSON.stringify(counters),
      nowMs,
      agent,
    ]);
  }

  agentCount(): number {
    return this.#queries.number('SELECT COUNT(*) AS value FROM agents', []);
  }

  hasAgent(name: string): boolean {
    return this.#queries.number('SELECT COUNT(*) AS value FROM agents WHERE name = ?', [name]) > 0;
  }

  insertReport(source: ReportSource, report: StoredReport['report'], nowMs: number): boolean {
    return this.#reports.insert(source, report, nowMs);
  }

  hasReport(source: ReportSource): boolean {
    return this.#reports.has(source);
  }

  noteSequence(source: ReportSource): void {
    this.#reports.noteSequence(source);
  }

  lastSequence(agent: string, epoch: string): number {
    return this.#queries.number('SELECT last_sequence AS value FROM epochs WHERE agent = ? AND epoch = ?', [
      agent,
      epoch,
    ]);
  }

  reportsAfter(id: number, limit: number): StoredReport[] {
    return this.#reports.after(id, limit);
  }

  cursor(name: string): number {
    return this.#queries.number('SELECT position AS value FROM cursors WHERE name = ?', [name]);
  }

  saveCursor(name: string, id: number): void {
    this.#queries.run(
      'INSERT INTO cursors (name, position) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET position = excluded.position',
      [name, id],
    );
  }

  waitingFor(name: string): number {
    return this.#reports.countAfter(this.cursor(name));
  }

  shiftTimes(shift: ClockShift): void {
    shiftTimes(this.#queries, shift);
  }

  tryWrite(nowMs: number): void {
    this.saveCursor('last-try', nowMs);
  }

  insertIncident(incident: NewIncident): Incident {
    this.#queries.run(
      `INSERT INTO incidents (fingerprint, opened_by, state, last_report_ms, quiet_ms, incident)
       VALUES (?, ?, ?, ?, ?, ?)`,
      [
        incident.fingerprint,
        incident.nodes[0] ?? '',
        incident.state,
        incident.lastReportMs,
        incident.quietMs,
        JSON.stringify(incident),
      ],
    );
    const number = this.#queries.number('SELECT last_insert_rowid() AS value', []);
    return { ...incident, id: incidentId(number) };
  }

  updateIncident({ id, ...incident }: Incident): void {
    // The key of an incident that became broader is free for one of its own: what it tells of is in its stories.
    const key = incident.breadth === 'story' ? incident.fingerprint : `${id} ${incident.fingerprint}`;
    this.#queries.run(
      `UPDATE incidents SET fingerprint = ?, state = ?, last_report_ms = ?, quiet_ms = ?, incident = ?
       WHERE number = ?`,
      [
        key,
        incident.state,
        incident.lastReportMs,
        incident.quietMs,
        JSON.stringify(incident),
        incidentNumber(id),
      ],
    );
  }

  incident(id: string): Incident | undefined {
    return this.#queries
      .all<IncidentRow>('SELECT number, incident FROM incidents WHERE number = ?', [incidentNumber(id)])
      .map(toIncident)[0];
  }

  unresolvedCount(): number {
    return this.#queries.number("SELECT COUNT(*) AS value FROM incidents WHERE state <> 'resolved'", []);
  }

  hasUnresolvedPeer(address: string): boolean {
    const found = this.#queries.number(
      `SELECT EXISTS (
         SELECT 1 FROM incidents WHERE state <> 'resolved' AND json_extract(incident, '$.peer') = ?
           AND json_extract(incident, '$.kind') IN
             ('unexpected-peer', 'unexpected-destination', 'former-member', 'not-ray', 'scan', 'volume')
           AND json_extract(incident, '$.fingerprint') NOT LIKE '%-attempt"%') AS value`,
      [address],
    );
    return found === 1;
  }

  unresolvedOf(agent: string, limit: number): number {
    return this.#queries.number(
      `SELECT COUNT(*) AS value FROM
         (SELECT 1 FROM incidents WHERE opened_by = ? AND state <> 'resolved' LIMIT ?)`,
      [agent, limit],
    );
  }

  leastUnresolvedOf(agent: string): Incident | undefined {
    return this.#queries
      .all<IncidentRow>(
        `SELECT number, incident FROM incidents
         WHERE opened_by = ? AND state <> 'resolved' AND fingerprint NOT LIKE '["many"%'
           AND json_extract(incident, '$.nodeCount') = 1
         ORDER BY CASE json_extract(incident, '$.severity') WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END,
           coalesce(json_extract(incident, '$.highlights[0].dataBytes'), 0), number LIMIT 1`,
        [agent],
      )
      .map(toIncident)[0];
  }

  incidents({ state, severity, kind, limit, before = Number.MAX_SAFE_INTEGER }: IncidentQuery): {
    incidents: Incident[];
    next: number | null;
  } {
    const conditions: [condition: string, value: string | number][] = [['number < ?', before]];
    if (state === 'unresolved') conditions.push(['state <> ?', 'resolved']);
    else if (state !== undefined) conditions.push(['state = ?', state]);
    if (severity !== undefined) conditions.push(["json_extract(incident, '$.severity') = ?", severity]);
    if (kind !== undefined) conditions.push(["json_extract(incident, '$.kind') = ?", kind]);
    const where = conditions.map(([condition]) => condition).join(' AND ');
    const rows = this.#queries.all<IncidentRow>(
      `SELECT number, incident FROM incidents WHERE ${where} ORDER BY number DESC LIMIT ?`,
      [...conditions.map(([, value]) => value), limit + 1],
    );
    const page = rows.slice(0, limit);
    return {
      incidents: page.map(toIncident),
      next: rows.length > limit ? (page.at(-1)?.number ?? null) : null,
    };
  }

  quietIncidents({ sinceMs, nowMs }: { sinceMs: number; nowMs: number }, limit: number): Incident[] {
    return this.#queries
      .all<IncidentRow>(
        `SELECT number, incident FROM incidents WHERE state <> 'resolved' AND max(last_report_ms, ?) + quiet_ms <= ?
         ORDER BY number LIMIT ?`,
        [sinceMs, nowMs, limit],
      )
      .map(toIncident);
  }

  member(agent: string, anomalyId: string): Member | undefined {
    return this.memberTable.latest(agent, anomalyId);
  }

  saveMember(member: Member): void {
    this.memberTable.save(member);
  }

  hasOngoing(id: string): boolean {
    return (
      this.#queries.number('SELECT 1 AS value FROM members WHERE incident = ? AND ended = 0 LIMIT 1', [
        incidentNumber(id),
      ]) > 0
    );
  }

  evidence(agent: string, anomalyId: string): EvidenceReport | undefined {
    return this.#reports.evidence(agent, anomalyId);
  }

  hasEvidence(agent: string, anomalyId: string): boolean {
    return this.#reports.hasEvidence(agent, anomalyId);
  }

  enqueue(
    { id, receiver, type, incident, heldBack, createdMs }: Notification,
    { topic, origin, rank }: NotificationLimits = UNLIMITED,
  ): void {
    const number = incidentNumber(incident.id);
    this.#queries.run(
      `INSERT INTO outbox (id, receiver, type, incident, snapshot, held_back, created_ms, topic, origin, rank)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      [id, receiver, type, number, JSON.stringify(incident), heldBack, createdMs, topic, origin, rank],
    );
  }

  nthLatestMs(receiver: string, by: { topic: string } | { origin: string }, n: number): number | undefined {
    const [column, value] = 'topic' in by ? ['topic', by.topic] : ['origin', by.origin];
    return this.#queries.all<{ created_ms: number }>(
      `SELECT created_ms FROM outbox WHERE receiver = ? AND ${column} = ?
       ORDER BY created_ms DESC LIMIT 1 OFFSET ?`,
      [receiver, value, n - 1],
    )[0]?.created_ms;
  }

  dropPending(receiver: string, rank: number, reason: string): boolean {
    const dropped = this.#queries.run(
      `UPDATE outbox SET state = 'failed', reason = ? WHERE number =
         (SELECT number FROM outbox WHERE receiver = ? AND state = 'pending' AND rank < ?
          ORDER BY rank, number LIMIT 1)`,
      [reason, receiver, rank],
    );
    return dropped > 0;
  }

  pending(receiver: string, limit: number): OutboxEntry[] {
    return this.#queries
      .all<OutboxRow>(
        "SELECT * FROM outbox WHERE receiver = ? AND state = 'pending' ORDER BY number LIMIT ?",
        [receiver, limit],
      )
      .map(toOutboxEntry);
  }

  newestPendingMs(receiver: string): number | undefined {
    return this.#queries.all<{ created_ms: number }>(
      "SELECT created_ms FROM outbox WHERE receiver = ? AND state = 'pending' ORDER BY number DESC LIMIT 1",
      [receiver],
    )[0]?.created_ms;
  }

  toldUnresolved(
    receiver: string,
    { limit, after = '' }: Parameters<Store['toldUnresolved']>[1],
  ): Incident[] {
    return this.#queries
      .all<IncidentRow>(
        `SELECT number, incident FROM incidents WHERE state <> 'resolved' AND number > ? AND EXISTS
           (SELECT 1 FROM outbox WHERE outbox.incident = incidents.number AND receiver = ?
              AND outbox.state = 'delivered')
         ORDER BY number LIMIT ?`,
        [incidentNumber(after), receiver, limit],
      )
      .map(toIncident);
  }

  pendingCount(receiver: string): number {
    return this.#queries.number(
      "SELECT COUNT(*) AS value FROM outbox WHERE receiver = ? AND state = 'pending'",
      [receiver],
    );
  }

  updateDelivery(entry: Pick<OutboxEntry, 'id' | 'state' | 'attempts' | 'nextAttemptMs' | 'reason'>): void {
    this.#queries.run(
      'UPDATE outbox SET state = ?, attempts = ?, next_attempt_ms = ?, reason = ? WHERE id = ?',
      [entry.state, entry.attempts, entry.nextAttemptMs, entry.reason, entry.id],
    );
  }

  failPending(which: { receiver: string } | { allBut: readonly string[] }, reason: string): number {
    if ('receiver' in which) {
      return this.#queries.run(
        "UPDATE outbox SET state = 'failed', reason = ? WHERE state = 'pending' AND receiver = ?",
        [reason, which.receiver],
      );
    }
    return this.#queries.run(
      `UPDATE outbox SET state = 'failed', reason = ?
       WHERE state = 'pending' AND receiver NOT IN (SELECT value FROM json_each(?))`,
      [reason, JSON.stringify(which.allBut)],
    );
  }

  notifications(id: string, limit: number): OutboxEntry[] {
    return this.#queries
      .all<OutboxRow>('SELECT * FROM outbox WHERE incident = ? ORDER BY number LIMIT ?', [
        incidentNumber(id),
        limit,
      ])
      .map(toOutboxEntry);
  }

  usedBytes(): number {
    return this.#room.usedBytes();
  }

  isFull(limits: RoomLimits): boolean {
    return this.#room.isFull(limits);
  }

  remove(limits: RemovalLimits): Removed {
    return this.transaction(() => {
      const { beforeMs, maxRows } = limits;
      const old = this.#removeOldReports(limits);
      const incidents = this.#queries.run(
        `DELETE FROM incidents WHERE number IN
           (SELECT number FROM incidents WHERE state = 'resolved' AND last_report_ms < ? ORDER BY number LIMIT ?)`,
        [beforeMs, maxRows],
      );
      const notifications = this.#queries.run(
        `DELETE FROM outbox WHERE number IN
           (SELECT number FROM outbox WHERE state <> 'pending' AND created_ms < ? ORDER BY number LIMIT ?)`,
        [beforeMs, maxRows],
      );
      const agents = this.#queries.run(
        'DELETE FROM agents WHERE name IN (SELECT name FROM agents WHERE last_seen_ms < ? LIMIT ?)',
        [beforeMs, maxRows],
      );
      if (agents > 0)
        this.#queries.run('DELETE FROM epochs WHERE agent NOT IN (SELECT name FROM agents)', []);
      this.enrolments.remove(beforeMs, maxRows);
      const silences = this.silences.remove(beforeMs, maxRows);
      const excess = this.#removeExcess(limits);
      return {
        ...excess,
        reports: old.reports + excess.reports,
        unexported: old.unexported + excess.unexported,
        incidents: incidents + excess.incidents,
        notifications: notifications + excess.notifications,
        agents,
        silences,
      };
    });
  }

  removeExcess(limits: Omit<RemovalLimits, 'beforeMs'>): RemovedExcess {
    return this.transaction(() => this.#removeExcess(limits));
  }

  close(): void {
    this.#queries.close();
  }

  #removeOldReports({ beforeMs, exporter, maxRows }: RemovalLimits): Pick<Removed, 'reports' | 'unexported'> {
    const rows = this.#queries.all<{ id: number; received_ms: number }>(
      'SELECT id, received_ms FROM reports ORDER BY id LIMIT ?',
      [maxRows],
    );
    const young = rows.findIndex(({ received_ms: receivedMs }) => receivedMs >= beforeMs);
    const ids = (young < 0 ? rows : rows.slice(0, young)).map(({ id }) => id);
    if (ids.length > 0) removeReports(this.#queries, ids);
    const cursor = this.#readBy(exporter);
    return { reports: ids.length, unexported: ids.filter((id) => id > cursor).length };
  }

  #removeExcess({ exporter, maxRows, ...limits }: Omit<RemovalLimits, 'beforeMs'>): RemovedExcess {
    const { unread, ...removed } = this.#room.remove(limits, maxRows, this.#readBy(exporter));
    return { ...removed, unexported: unread };
  }

  /** The last report that an exporter has read; where there is no exporter nothing is lost on it. */
  #readBy(exporter: string | undefined): number {
    return exporter === undefined ? Infinity : this.cursor(exporter);
  }
}

function toOutboxEntry(row: OutboxRow): OutboxEntry {
  return {
    id: row.id,
    receiver: row.receiver,
    type: row.type,
    incident: JSON.parse(row.snapshot) as Incident,
    heldBack: row.held_back,
    createdMs: row.created_ms,
    state: row.state,
    attempts: row.attempts,
    nextAttemptMs: row.next_attempt_ms,
    reason: row.reason,
  };
}
