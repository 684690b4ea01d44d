/**
 * What goes when the store is full: the room is divided fairly, and what people need last goes last.
 *
 * An agent may use room that nobody else needs. When there is too much, the agents with the largest shares are cut down to
 * one level, so high that all of it fits; who has less than that loses nothing. So no agent pushes out what another one
 * reported, and names that are only made up take no room. Of the agents beyond the level go, in this order:
 *
 * 1. flow reports, and reports of an anomaly that a later one supersedes, the oldest first;
 * 2. findings (the latest report of an anomaly, and its evidence) whose incident is resolved or gone, by the age of the
 *    incident, and then the incident;
 * 3. messages to receivers about incidents that are resolved or gone, whoever's they are, the oldest first;
 * 4. findings of incidents that are not resolved, those that are not critical first;
 * 5. an anomaly's part in an incident that is not resolved.
 *
 * `shares` is kept by triggers in the transaction of the rows themselves (sqlite-schema.ts): nothing is counted here, and
 * nothing is wrong after a crash.
 */
import type { Queries } from './queries.ts';

export interface RoomLimits {
  /** Reports at most, of all agents. */
  readonly maxReports: number;
  /** Bytes of the database at most, indexes included; for ever when not given. */
  readonly maxBytes?: number | undefined;
}

/** What one round took away. */
export interface FairlyRemoved {
  readonly reports: number;
  /** Of these, findings of incidents that are not resolved. */
  readonly unresolved: number;
  /** Of the reports, those that came after `unreadAfter`. */
  readonly unread: number;
  readonly members: number;
  readonly incidents: number;
  readonly notifications: number;
}

/** Those that are not critical first. */
const RANKS_OF_FINDINGS = [1, 2];
/** Where messages to receivers take more of the room than this, the old ones go before anything else. */
const MESSAGES_PART = 1 / 4;
/** Messages among which those that may go are looked for. */
const SEARCHED_MESSAGES = 10_000;
/** Rows that are looked at in one step where bytes are too many. */
const SEARCHED_ROWS = 256;

type Part = 'plain' | 'findings' | 'members';
type Measure = 'rows' | 'bytes';
type Amount = Record<Measure, number>;

/** What one agent has in the store. */
interface Share {
  readonly agent: string;
  readonly parts: Record<Part, Amount>;
}

/** What one step may take. */
interface Step {
  readonly measure: Measure;
  /** How much of it is too much: rows, or bytes of rows. */
  readonly amount: number;
  readonly maxRows: number;
}

interface Victim {
  readonly id: number;
  readonly bytes: number;
}

export class FairRemoval {
  readonly #queries: Queries;
  #removed = { reports: 0, unresolved: 0, unread: 0, members: 0, incidents: 0, notifications: 0 };
  #unreadAfter = Infinity;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** Bytes of the database that hold something, by its own account. */
  usedBytes(): number {
    return this.#queries.number(
      `SELECT (page_count - freelist_count) * page_size AS value
       FROM pragma_page_count, pragma_freelist_count, pragma_page_size`,
      [],
    );
  }

  /** Whether there is more than the limits allow. Costs the same whatever is stored. */
  isFull({ maxReports, maxBytes = Infinity }: RoomLimits): boolean {
    return this.#reportCount() > maxReports || this.usedBytes() > maxBytes;
  }

  /**
   * Removes what is too much, at most `maxRows` rows of it. To be called in a transaction.
   * @param unreadAfter the last id that an exporter has read; what goes beyond it is counted
   */
  remove(limits: RoomLimits, maxRows: number, unreadAfter = Infinity): FairlyRemoved {
    this.#removed = { reports: 0, unresolved: 0, unread: 0, members: 0, incidents: 0, notifications: 0 };
    this.#unreadAfter = unreadAfter;
    const count = this.#reportCount();
    if (count > limits.maxReports) this.#cut('rows', { current: count, limit: limits.maxReports, maxRows });
    const { maxBytes: limit = Infinity } = limits;
    this.#removeMessages(
      maxRows,
      () => this.usedBytes() > limit && this.#messageBytes() > limit * MESSAGES_PART,
    );
    const current = this.usedBytes();
    if (current > limit) this.#cut('bytes', { current, limit, maxRows });
    this.#queries.run('DELETE FROM shares WHERE row_count = 0', []);
    return this.#removed;
  }

  #reportCount(): number {
    return this.#queries.number(
      "SELECT SUM(row_count) AS value FROM shares WHERE part IN ('plain', 'findings')",
      [],
    );
  }

  #messageBytes(): number {
    return this.#queries.number("SELECT bytes AS value FROM shares WHERE part = 'messages'", []);
  }

  /** Goes through the order above, and in each step through the shares that are too large. Each is looked at once. */
  #cut(
    measure: Measure,
    { current, limit, maxRows }: { current: number; limit: number; maxRows: number },
  ): void {
    const shares = this.#shares();
    const total = shares.reduce((sum, share) => sum + sizeOf(share, measure), 0);
    // By the database's account all takes more room than by the rows'.
    const scale = total / current;
    const sizes = shares.map((share) => sizeOf(share, measure));
    const level = levelOf(sizes, limit * scale);
    const beyond = shares
      .filter((share) => sizeOf(share, measure) > level)
      .toSorted((a, b) => sizeOf(b, measure) - sizeOf(a, measure));
    const left = { rows: maxRows, excess: current - limit };
    const note = (removed: number): void => {
      left.rows -= removed;
      left.excess = measure === 'rows' ? left.excess - removed : this.usedBytes() - limit;
    };
    const cutEach = (take: (share: Share, step: Step) => number): void => {
      for (const share of beyond) {
        while (left.rows > 0 && left.excess > 0 && sizeOf(share, measure) > level) {
          const amount = Math.min(left.excess * scale, sizeOf(share, measure) - level);
          const removed = take(share, { measure, amount, maxRows: left.rows });
          if (removed === 0) break;
          note(removed);
        }
      }
    };
    cutEach((share, step) => this.#removeReports(share, 'plain', { rank: 0, incident: 0 }, step));
    cutEach((share, step) => this.#removeResolved(share, step));
    if (measure === 'bytes') {
      note(this.#removeMessages(left.rows, () => this.usedBytes() > limit));
    }
    for (const rank of RANKS_OF_FINDINGS) {
      cutEach((share, step) => {
        const removed = this.#removeReports(share, 'findings', { rank }, step);
        this.#removed.unresolved += removed;
        return removed;
      });
    }
    if (measure === 'bytes') cutEach((share, step) => this.#removeMembers(share, undefined, step));
  }

  /** Takes away of the agent's oldest incident that is resolved or gone: findings first, then the agent's part in it. */
  #removeResolved(share: Share, step: Step): number {
    const { agent } = share;
    for (const rank of RANKS_OF_FINDINGS) {
      const incident = this.#oldestResolved(
        'SELECT MIN(incident) AS value FROM reports WHERE agent = ? AND rank = ? AND incident > ?',
        [agent, rank],
      );
      if (incident !== undefined) return this.#removeReports(share, 'findings', { rank, incident }, step);
    }
    if (step.measure === 'rows') return 0;
    const incident = this.#oldestResolved(
      'SELECT MIN(incident) AS value FROM members WHERE agent = ? AND incident > ?',
      [agent],
    );
    if (incident === undefined) return 0;
    const removed = this.#removeMembers(share, incident, step);
    this.#removed.incidents += this.#queries.run(
      'DELETE FROM incidents WHERE number = ? AND NOT EXISTS (SELECT 1 FROM members WHERE incident = ?)',
      [incident, incident],
    );
    return removed;
  }

  /** The first of an agent's incidents that is resolved, or gone; one look at an index for each before it. */
  #oldestResolved(next: string, values: readonly (string | number)[]): number | undefined {
    let incident = -1;
    for (;;) {
      const found = this.#queries.all<{ value: number | null }>(next, [...values, incident])[0]?.value;
      if (found === undefined || found === null) return undefined;
      incident = found;
      const isUnresolved = "SELECT 1 AS value FROM incidents WHERE number = ? AND state <> 'resolved'";
      if (this.#queries.number(isUnresolved, [incident]) === 0) return incident;
    }
  }

  /** Removes the agent's oldest reports of a rank, of one incident or of all in the order of their numbers. */
  #removeReports(
    share: Share,
    part: 'plain' | 'findings',
    { rank, incident }: { readonly rank: number; readonly incident?: number | undefined },
    step: Step,
  ): number {
    if (share.parts[part].rows <= 0) return 0;
    const [condition, values] = incident === undefined ? ['', []] : ['AND incident = ?', [incident]];
    const found = this.#queries.all<Victim>(
      `SELECT id, bytes FROM reports WHERE agent = ? AND rank = ? ${condition} ORDER BY incident, id LIMIT ?`,
      [share.agent, rank, ...values, searchLimit(step)],
    );
    const ids = takeOf(share, part, found, step);
    if (ids.length > 0) removeReports(this.#queries, ids);
    this.#removed.reports += ids.length;
    this.#removed.unread += ids.filter((id) => id > this.#unreadAfter).length;
    return ids.length;
  }

  #removeMembers(share: Share, incident: number | undefined, step: Step): number {
    if (share.parts.members.rows <= 0) return 0;
    const [condition, values] = incident === undefined ? ['', []] : ['AND incident = ?', [incident]];
    const found = this.#queries.all<Victim>(
      `SELECT rowid AS id, length(CAST(latest AS BLOB)) AS bytes FROM members
       WHERE agent = ? ${condition} ORDER BY incident LIMIT ?`,
      [share.agent, ...values, searchLimit(step)],
    );
    const ids = takeOf(share, 'members', found, step);
    const removed = this.#queries.run('DELETE FROM members WHERE rowid IN (SELECT value FROM json_each(?))', [
      JSON.stringify(ids),
    ]);
    this.#removed.members += removed;
    return removed;
  }

  /**
   * Removes the oldest messages about incidents that are over, as long as there is too much; returns how many. What is
   * unresolved is told again, and must be known.
   */
  #removeMessages(maxRows: number, isTooMuch: () => boolean): number {
    let removed = 0;
    while (removed < maxRows && isTooMuch()) {
      const found = this.#queries.run(
        `DELETE FROM outbox WHERE number IN
           (SELECT oldest.number FROM (SELECT * FROM outbox ORDER BY number LIMIT ${SEARCHED_MESSAGES}) AS oldest
            LEFT JOIN incidents ON incidents.number = oldest.incident
            WHERE oldest.state <> 'pending' AND (incidents.number IS NULL OR incidents.state = 'resolved')
            ORDER BY oldest.number LIMIT ?)`,
        [Math.min(SEARCHED_ROWS, maxRows - removed)],
      );
      if (found === 0) break;
      removed += found;
    }
    this.#removed.notifications += removed;
    return removed;
  }

  #shares(): Share[] {
    const shares = new Map<string, Share>();
    const rows = this.#queries.all<{ agent: string; part: Part; row_count: number; bytes: number }>(
      "SELECT agent, part, row_count, bytes FROM shares WHERE row_count > 0 AND part <> 'messages'",
      [],
    );
    for (const { agent, part, row_count, bytes } of rows) {
      const share = shares.get(agent) ?? { agent, parts: noParts() };
      share.parts[part] = { rows: row_count, bytes };
      shares.set(agent, share);
    }
    return [...shares.values()];
  }
}

/** Removes reports, and remembers that they were here. */
export function removeReports(queries: Queries, ids: readonly number[]): void {
  const list = JSON.stringify(ids);
  queries.run(
    `UPDATE epochs SET removed_sequence = max(removed_sequence, gone.sequence)
     FROM (SELECT agent, epoch, MAX(sequence) AS sequence FROM reports
           WHERE id IN (SELECT value FROM json_each(?)) GROUP BY agent, epoch) AS gone
     WHERE epochs.agent = gone.agent AND epochs.epoch = gone.epoch`,
    [list],
  );
  queries.run('DELETE FROM reports WHERE id IN (SELECT value FROM json_each(?))', [list]);
}

function noParts(): Share['parts'] {
  return {
    plain: { rows: 0, bytes: 0 },
    findings: { rows: 0, bytes: 0 },
    members: { rows: 0, bytes: 0 },
  };
}

/** By number, only reports count; by bytes, all that is the agent's. */
function sizeOf({ parts: { plain, findings, members } }: Share, measure: Measure): number {
  const reports = plain[measure] + findings[measure];
  return measure === 'rows' ? reports : reports + members.bytes;
}

/** To which height all shares beyond it must be cut, so that they fit into the room together. */
function levelOf(sizes: readonly number[], room: number): number {
  let [rest, others] = [room, sizes.length];
  for (const size of sizes.toSorted((a, b) => a - b)) {
    if (size > rest / others) break;
    rest -= size;
    others--;
  }
  return others === 0 ? Infinity : rest / others;
}

/** How many rows are worth looking at in one step. */
function searchLimit({ measure, amount, maxRows }: Step): number {
  return Math.min(maxRows, measure === 'rows' ? Math.ceil(amount) : SEARCHED_ROWS);
}

/** The ids of the first of these whose sizes reach the amount, one at least; they are the share's no more. */
function takeOf(share: Share, part: Part, found: readonly Victim[], { measure, amount }: Step): number[] {
  const owned = share.parts[part];
  const ids: number[] = [];
  let sum = 0;
  for (const { id, bytes } of found) {
    if (sum >= amount) break;
    sum += measure === 'rows' ? 1 : bytes;
    owned.rows--;
    owned.bytes -= bytes;
    ids.push(id);
  }
  return ids;
}
