/**
 * The agent's queue of reports on disk. A report is on the disk before it is sent and leaves it after the
 * collector's acknowledgement, so a killed agent, a lost connection or a collector that is away loses nothing.
 *
 * Sequence numbers rise by one and are never given twice within an epoch. The epoch is made with the file: the
 * collector knows repeats by (agent, epoch, sequence).
 *
 * The queue is bounded. When it fills up, the least important reports are turned away first (importance.ts), so that
 * the room that is left belongs to who was answered; everything that is turned away is counted.
 */
import { randomUUID } from 'node:crypto';
import { reportSchema, type Report } from '../../common/event.ts';
import { isStoreError, openDatabase, storeError, type Database } from '../../common/sqlite.ts';
import { importanceOf, SHARES, type Importance } from './importance.ts';

/** A longer report would crowd out a whole message; the schema keeps real ones under a tenth of it. */
const MAX_REPORT_BYTES = 64 * 1024;

const MIGRATIONS = [
  `CREATE TABLE spool (epoch TEXT NOT NULL);
   CREATE TABLE report (
     sequence INTEGER PRIMARY KEY AUTOINCREMENT,
     text TEXT NOT NULL,
     bytes INTEGER NOT NULL
   );`,
];

export interface SpoolOptions {
  /** The file; its folder is made when it is missing. Both are for the owner only (modes 0700 and 0600). */
  readonly path: string;
  /** Limit of the waiting reports' JSON; SQLite's own pages come on top. */
  readonly maxBytes: number;
  readonly maxReports: number;
}

/** A waiting report. */
export interface SpooledReport {
  readonly sequence: number;
  /** The report as JSON, the way it travels. */
  readonly text: string;
}

/** Totals since the spool was opened, except `pending` and `pendingBytes`, which say what waits now. */
export interface SpoolCounters {
  pending: number;
  pendingBytes: number;
  appended: number;
  acknowledged: number;
  /** Reports that found no room. */
  turnedAwayAnomalies: number;
  turnedAwayFlowReports: number;
  /** Reports that the protocol does not admit: the collector would refuse them, and all that wait behind them. */
  turnedAwayInvalid: number;
  /** Writes that the disk refused. */
  writeFailures: number;
}

export interface Spool {
  /** Identity of this sequence: a random UUID. */
  readonly epoch: string;
  /** The highest sequence number ever given in this file, 0 before the first. */
  readonly lastSequence: number;
  /**
   * Stores the reports in one transaction; they are on the disk when this returns.
   * @param importances of the reports, in their order; left out, each is taken for the first of its activity
   * @returns the sequence numbers of those that were stored: fewer than were given when some were turned away
   * @throws PlasmawatchError PW_STORE or PW_DISK_FULL, retryable, when the disk refuses; then none of them is stored, and
   *   none is counted as turned away
   */
  append(reports: readonly Report[], importances?: readonly Importance[]): number[];
  /**
   * The oldest waiting reports after a sequence number, in order: at most `maxReports`, and at most `maxBytes` of
   * text unless the first alone is longer.
   * @throws PlasmawatchError PW_STORE when the file cannot be read
   */
  peek(afterSequence: number, maxReports: number, maxBytes: number): SpooledReport[];
  /**
   * The collector has the reports up to and including `sequence`: they wait no more. Where the disk refuses to delete
   * them (a full one does), that is made up for at the next call; an agent that was killed in between sends them again.
   * @throws PlasmawatchError PW_STORE when the file cannot be read
   */
  acknowledge(sequence: number): void;
  /**
   * Gives the waiting reports to a new epoch. Needed when the collector knows higher sequence numbers than this
   * file: then the file is an older copy, and its next reports would pass for repeats.
   */
  renewEpoch(): void;
  /**
   * Puts this node's name into the reports that wait from before it was renamed: the collector takes no others.
   * @throws PlasmawatchError PW_STORE, retryable, when the disk refuses; then they keep the old name
   */
  nameReports(node: string): void;
  counters(): Readonly<SpoolCounters>;
  close(): void;
}

/**
 * Opens (and makes) the spool. One process at a time may have it open.
 * @throws PlasmawatchError PW_STORE, PW_DISK_FULL or PW_SQLITE_UNAVAILABLE
 */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const database = await openDatabase(options.path, MIGRATIONS);
  try {
    return new SqliteSpool(database, options);
  } catch (error) {
    database.close();
    throw isStoreError(error) ? error : storeError('open', 'the spool', options.path, error);
  }
}

interface PreparedReport {
  readonly text: string;
  readonly bytes: number;
}

interface Admission {
  readonly admitted: PreparedReport[];
  readonly turnedAway: ('turnedAwayAnomalies' | 'turnedAwayFlowReports' | 'turnedAwayInvalid')[];
}

class SqliteSpool implements Spool {
  readonly #database: Database;
  readonly #options: SpoolOptions;
  readonly #counters: SpoolCounters;
  readonly #insert;
  readonly #select;
  readonly #measure;
  readonly #delete;
  readonly #rename;
  #epoch: string;
  #lastSequence: number;
  /** What the collector has, and how much of that is deleted. */
  #acknowledged = 0;
  #deleted = 0;

  constructor(database: Database, options: SpoolOptions) {
    this.#database = database;
    this.#options = options;
    this.#insert = database.prepare('INSERT INTO report (text, bytes) VALUES (?, ?)');
    this.#select = database.prepare(
      'SELECT sequence, text, bytes FROM report WHERE sequence > ? ORDER BY sequence LIMIT ?',
    );
    this.#measure = database.prepare(
      'SELECT count(*) AS reports, coalesce(sum(bytes), 0) AS bytes FROM report WHERE sequence > ? AND sequence <= ?',
    );
    this.#delete = database.prepare('DELETE FROM report WHERE sequence <= ?');
    this.#rename = database.prepare(
      `UPDATE report SET text = json_set(text, '$.node', ?), bytes = length(CAST(json_set(text, '$.node', ?) AS BLOB))
       WHERE json_extract(text, '$.node') <> ?`,
    );
    this.#epoch = database.transaction(() => readOrMakeEpoch(database));
    this.#lastSequence = readLastSequence(database);
    const waiting = this.#measureBetween(0, this.#lastSequence);
    this.#counters = {
      pending: waiting.reports,
      pendingBytes: waiting.bytes,
      appended: 0,
      acknowledged: 0,
      turnedAwayAnomalies: 0,
      turnedAwayFlowReports: 0,
      turnedAwayInvalid: 0,
      writeFailures: 0,
    };
  }

  get epoch(): string {
    return this.#epoch;
  }

  get lastSequence(): number {
    return this.#lastSequence;
  }

  append(reports: readonly Report[], importances?: readonly Importance[]): number[] {
    const { admitted, turnedAway } = this.#admit(reports, importances);
    const insertAll = (): number[] =>
      admitted.map(({ text, bytes }) => Number(this.#insert.run(text, bytes).lastInsertRowid));
    const sequences = admitted.length === 0 ? [] : this.#write('append to', insertAll);
    this.#lastSequence = sequences.at(-1) ?? this.#lastSequence;
    for (const counter of turnedAway) this.#counters[counter]++;
    this.#counters.appended += admitted.length;
    this.#counters.pending += admitted.length;
    this.#counters.pendingBytes += admitted.reduce((sum, { bytes }) => sum + bytes, 0);
    return sequences;
  }

  peek(afterSequence: number, maxReports: number, maxBytes: number): SpooledReport[] {
    let rows: { sequence: number; text: string; bytes: number }[];
    try {
      rows = this.#select.all(Math.max(afterSequence, this.#acknowledged), maxReports) as typeof rows;
    } catch (error) {
      throw storeError('read', 'the spool', this.#options.path, error);
    }
    const reports: SpooledReport[] = [];
    let totalBytes = 0;
    for (const { sequence, text, bytes } of rows) {
      totalBytes += bytes;
      if (totalBytes > maxBytes && reports.length > 0) break;
      reports.push({ sequence, text });
    }
    return reports;
  }

  acknowledge(sequence: number): void {
    const upTo = Math.min(sequence, this.#lastSequence);
    if (upTo > this.#acknowledged) {
      const gone = this.#measureBetween(this.#acknowledged, upTo);
      this.#acknowledged = upTo;
      this.#counters.acknowledged += gone.reports;
      this.#counters.pending -= gone.reports;
      this.#counters.pendingBytes -= gone.bytes;
    }
    try {
      if (this.#deleted < this.#acknowledged) this.#write('delete from', () => {});
    } catch {
      // Counted; nothing is lost by it.
    }
  }

  renewEpoch(): void {
    const epoch = randomUUID();
    this.#write('write to', () => this.#database.prepare('UPDATE spool SET epoch = ?').run(epoch));
    this.#epoch = epoch;
  }

  nameReports(node: string): void {
    const renamed = this.#write('write to', () => this.#rename.run(node, node, node).changes);
    if (Number(renamed) === 0) return;
    this.#counters.pendingBytes = this.#measureBetween(this.#acknowledged, this.#lastSequence).bytes;
  }

  counters(): Readonly<SpoolCounters> {
    return { ...this.#counters };
  }

  close(): void {
    this.#database.close();
  }

  /** The reports there is room for, as text, and the counter of each of the others. */
  #admit(reports: readonly Report[], importances: readonly Importance[] = []): Admission {
    const { maxReports, maxBytes } = this.#options;
    const admitted: PreparedReport[] = [];
    const turnedAway: Admission['turnedAway'] = [];
    let count = this.#counters.pending;
    let totalBytes = this.#counters.pendingBytes;
    for (const [index, report] of reports.entries()) {
      const text = JSON.stringify(report);
      const bytes = Buffer.byteLength(text);
      const share = SHARES[importances[index] ?? importanceOf(report)];
      if (bytes > MAX_REPORT_BYTES || !reportSchema.safeParse(report).success) {
        turnedAway.push('turnedAwayInvalid');
      } else if (count + 1 > maxReports * share || totalBytes + bytes > maxBytes * share) {
        turnedAway.push(report.type === 'anomaly' ? 'turnedAwayAnomalies' : 'turnedAwayFlowReports');
      } else {
        admitted.push({ text, bytes });
        count++;
        totalBytes += bytes;
      }
    }
    return { admitted, turnedAway };
  }

  /** What waits after one sequence number, up to and including another. */
  #measureBetween(after: number, upTo: number): { reports: number; bytes: number } {
    try {
      return this.#measure.get(after, upTo) as { reports: number; bytes: number };
    } catch (error) {
      throw storeError('read', 'the spool', this.#options.path, error);
    }
  }

  /** All of the work, and the deletion of what is acknowledged before it; or nothing. */
  #write<Result>(operation: string, work: () => Result): Result {
    try {
      const result = this.#database.transaction(() => {
        if (this.#deleted < this.#acknowledged) this.#delete.run(this.#acknowledged);
        return work();
      });
      this.#deleted = this.#acknowledged;
      return result;
    } catch (error) {
      this.#counters.writeFailures++;
      throw storeError(operation, 'the spool', this.#options.path, error);
    }
  }
}

function readOrMakeEpoch(database: Database): string {
  const row = database.prepare('SELECT epoch FROM spool').get() as { epoch: string } | undefined;
  if (row !== undefined) return row.epoch;
  const epoch = randomUUID();
  database.prepare('INSERT INTO spool (epoch) VALUES (?)').run(epoch);
  return epoch;
}

/** AUTOINCREMENT keeps its counter in this table, also when all rows are deleted (sqlite.org/autoinc.html). */
function readLastSequence(database: Database): number {
  const row = database.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'report'").get() as
    { seq: number } | undefined;
  return row?.seq ?? 0;
}
