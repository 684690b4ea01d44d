/**
 * Moves the times that the collector decides by to where the wall clock is after it was set: deadlines stay as far away,
 * and what was noted stays as long ago, as they were. The times of audit entries and of received reports stay as noted,
 * and so do the times of silences that people named. A silence that somebody asked for now, or for an hour, moves.
 */
import type { Queries } from './queries.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** How far back the settings may look: at a resolved incident that opens again, and at what burst with it. */
const INCIDENT_LOOK_BACK_MS = 31 * DAY_MS;
const STORY_LOOK_BACK_MS = 2 * DAY_MS;
/** The flood guard counts the messages of an hour. */
const MESSAGE_LOOK_BACK_MS = 2 * HOUR_MS;
/** Of an incident, as JSON keeps them. */
const INCIDENT_TIMES = ['openedMs', 'reopenedMs', 'lastReportMs', 'acknowledgedMs', 'resolvedMs'];

/**
 * To be called within a transaction.
 * @param byMs what the clock was set forward by; below 0, back
 * @param beforeMs what it showed just before
 */
export function shiftTimes(queries: Queries, byMs: number, beforeMs: number): void {
  const incidentTimes = INCIDENT_TIMES.map((time) => `'$.${time}', incident ->> '$.${time}' + :by`);
  // A time that does not exist stays null.
  const statements: readonly (readonly [sql: string, lookBackMs: number])[] = [
    [
      `UPDATE agents SET last_seen_ms = max(0, last_seen_ms + :by), stopped_ms = max(0, stopped_ms + :by)`,
      Infinity,
    ],
    ['UPDATE enrolments SET expires_ms = max(0, expires_ms + :by)', Infinity],
    [
      `UPDATE silences SET silence = json_set(silence, '$.startMs', silence ->> '$.startMs' + :by)
       WHERE silence ->> '$.isStartRelative'`,
      Infinity,
    ],
    [
      `UPDATE silences SET end_ms = end_ms + :by, silence = json_set(silence, '$.endMs', end_ms + :by)
       WHERE silence ->> '$.isEndRelative'`,
      Infinity,
    ],
    [
      `UPDATE tellings SET due_ms = max(0, due_ms + :by), told = json_set(told, '$.atMs', told ->> '$.atMs' + :by)`,
      Infinity,
    ],
    ['UPDATE stories SET began_ms = began_ms + :by WHERE began_ms > :since', STORY_LOOK_BACK_MS],
    ['UPDATE latest_stories SET began_ms = began_ms + :by WHERE began_ms > :since', STORY_LOOK_BACK_MS],
    [
      `UPDATE outbox SET created_ms = created_ms + :by, next_attempt_ms = max(0, next_attempt_ms + :by)
       WHERE state = 'pending' OR created_ms > :since`,
      MESSAGE_LOOK_BACK_MS,
    ],
    [
      `UPDATE incidents SET last_report_ms = last_report_ms + :by,
         incident = json_set(incident, ${incidentTimes.join(', ')})
       WHERE state <> 'resolved' OR last_report_ms > :since`,
      INCIDENT_LOOK_BACK_MS,
    ],
  ];
  for (const [sql, lookBackMs] of statements) {
    const values: number[] = [];
    const positional = sql.replaceAll(/:(by|since)\b/g, (_match, name) => {
      values.push(name === 'by' ? byMs : beforeMs - lookBackMs);
      return '?';
    });
    queries.run(positional, values);
  }
}
