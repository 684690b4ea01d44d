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

/** How the wall clock was set. */
export interface ClockShift {
  /** What it was set forward by, in ms; below 0, back. */
  readonly byMs: number;
  /** What it showed just before. */
  readonly beforeMs: number;
  /** Earlier times were noted by earlier runs of the collector, whose clock may have been right when this run's was not. */
  readonly runStartMs: number;
  /** What those are moved forward by. */
  readonly earlierByMs: number;
}

/** To be called within a transaction. */
export function shiftTimes(queries: Queries, { byMs, beforeMs, runStartMs, earlierByMs }: ClockShift): void {
  const incidentTimes = INCIDENT_TIMES.map((time) => `'$.${time}', ${moved(`(incident ->> '$.${time}')`)}`);
  const statements: readonly (readonly [sql: string, lookBackMs: number])[] = [
    [
      `UPDATE agents SET last_seen_ms = max(0, ${moved('last_seen_ms')}), stopped_ms = max(0, ${moved('stopped_ms')})`,
      Infinity,
    ],
    [`UPDATE enrolments SET expires_ms = max(0, ${moved('expires_ms')})`, Infinity],
    [
      `UPDATE silences SET silence = json_set(silence, '$.startMs', ${moved("(silence ->> '$.startMs')")})
       WHERE silence ->> '$.isStartRelative'`,
      Infinity,
    ],
    [
      `UPDATE silences SET end_ms = ${moved('end_ms')}, silence = json_set(silence, '$.endMs', ${moved('end_ms')})
       WHERE silence ->> '$.isEndRelative'`,
      Infinity,
    ],
    [
      `UPDATE tellings SET due_ms = max(0, ${moved('due_ms')}),
         told = json_set(told, '$.atMs', ${moved("(told ->> '$.atMs')")})`,
      Infinity,
    ],
    [`UPDATE stories SET began_ms = ${moved('began_ms')} WHERE began_ms > :since`, STORY_LOOK_BACK_MS],
    [`UPDATE latest_stories SET began_ms = ${moved('began_ms')} WHERE began_ms > :since`, STORY_LOOK_BACK_MS],
    [
      `UPDATE outbox SET created_ms = ${moved('created_ms')}, next_attempt_ms = max(0, ${moved('next_attempt_ms')})
       WHERE state = 'pending' OR created_ms > :since`,
      MESSAGE_LOOK_BACK_MS,
    ],
    [
      `UPDATE incidents SET last_report_ms = ${moved('last_report_ms')},
         incident = json_set(incident, ${incidentTimes.join(', ')})
       WHERE state <> 'resolved' OR last_report_ms > :since`,
      INCIDENT_LOOK_BACK_MS,
    ],
  ];
  for (const [sql, lookBackMs] of statements) {
    const parameters = { by: byMs, earlier: earlierByMs, start: runStartMs, since: beforeMs - lookBackMs };
    const values: number[] = [];
    const positional = sql.replaceAll(
      /:(by|earlier|start|since)\b/g,
      (_match, name: keyof typeof parameters) => {
        values.push(parameters[name]);
        return '?';
      },
    );
    queries.run(positional, values);
  }
}

/** A time as it is afterwards, in SQL. One that does not exist stays null. */
function moved(time: string): string {
  return `(${time} + CASE WHEN ${time} < :start THEN :earlier ELSE :by END)`;
}
