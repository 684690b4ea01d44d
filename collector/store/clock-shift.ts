/**
 * Moves the times that the collector decides by to where the wall clock is after it was set: deadlines stay as far away,
 * and what was noted stays as long ago, as they were. The times of audit entries and of received reports stay as noted,
 * and so do silences, whose ends people gave by the wall clock.
 */
import type { Queries } from './queries.ts';

/** The longest time that a setting may look back, in ms: a resolved incident opens again, an hour's messages are counted. */
const LOOK_BACK_MS = 31 * 86_400_000;
/** Of an incident, as JSON keeps them. */
const INCIDENT_TIMES = ['openedMs', 'reopenedMs', 'lastReportMs', 'acknowledgedMs', 'resolvedMs'];

/**
 * To be called within a transaction.
 * @param byMs what the clock was set forward by; below 0, back
 * @param beforeMs what it showed just before
 */
export function shiftTimes(queries: Queries, byMs: number, beforeMs: number): void {
  const sinceMs = beforeMs - LOOK_BACK_MS;
  const statements: readonly (readonly [sql: string, times: readonly string[], isRecent: boolean])[] = [
    ['UPDATE agents SET', ['last_seen_ms', 'stopped_ms'], false],
    ['UPDATE enrolments SET', ['expires_ms'], false],
    ['UPDATE tellings SET', ['due_ms'], false],
    ['UPDATE stories SET', ['began_ms'], true],
    ['UPDATE latest_stories SET', ['began_ms'], true],
    ['UPDATE outbox SET', ['created_ms', 'next_attempt_ms'], true],
  ];
  for (const [update, times, isRecent] of statements) {
    const [first = ''] = times;
    const where = isRecent ? ` WHERE ${first} > ?` : '';
    // A time that does not exist stays null.
    const sets = times.map((time) => `${time} = max(0, ${time} + ?)`).join(', ');
    queries.run(`${update} ${sets}${where}`, [...times.map(() => byMs), ...(isRecent ? [sinceMs] : [])]);
  }
  queries.run(
    "UPDATE tellings SET told = json_set(told, '$.atMs', told ->> '$.atMs' + ?) WHERE told IS NOT NULL",
    [byMs],
  );
  const moved = INCIDENT_TIMES.map((time) => `'$.${time}', incident ->> '$.${time}' + ?`).join(', ');
  queries.run(
    `UPDATE incidents SET last_report_ms = last_report_ms + ?, incident = json_set(incident, ${moved})
     WHERE state <> 'resolved' OR last_report_ms > ?`,
    [byMs, ...INCIDENT_TIMES.map(() => byMs), sinceMs],
  );
}
