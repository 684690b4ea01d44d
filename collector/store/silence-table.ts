/** The silences: what is told to nobody from when to when, who said so, and why. */
import type { Matchers } from '../incident/matchers.ts';
import type { Queries } from './queries.ts';

export interface Silence {
  /** `SIL-` and a number that rises. */
  readonly id: string;
  readonly matchers: Matchers;
  readonly author: string;
  readonly reason: string;
  readonly createdMs: number;
  readonly startMs: number;
  /** The first moment that is not silent any more. */
  readonly endMs: number;
  /** Who ended it before its time; null where nobody did. */
  readonly endedBy: string | null;
  /** Set where it began when it was asked for, and at no named time: the start moves with the clock. */
  readonly isStartRelative?: true;
  /** Set where it ends after a named duration, or was ended by a person, and at no named time: the end moves with the clock. */
  readonly isEndRelative?: true;
}

interface SilenceRow {
  number: number;
  silence: string;
}

export class SilenceTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  insert(silence: Omit<Silence, 'id'>): Silence {
    this.#queries.run('INSERT INTO silences (end_ms, silence) VALUES (?, ?)', [
      silence.endMs,
      JSON.stringify(silence),
    ]);
    const number = this.#queries.number('SELECT last_insert_rowid() AS value', []);
    return { ...silence, id: silenceId(number) };
  }

  update({ id, ...silence }: Silence): void {
    this.#queries.run('UPDATE silences SET end_ms = ?, silence = ? WHERE number = ?', [
      silence.endMs,
      JSON.stringify(silence),
      silenceNumber(id),
    ]);
  }

  silence(id: string): Silence | undefined {
    return this.#queries
      .all<SilenceRow>('SELECT number, silence FROM silences WHERE number = ?', [silenceNumber(id)])
      .map(toSilence)[0];
  }

  /** Those that have not ended, the oldest first; some of them may not have begun. */
  current(nowMs: number): Silence[] {
    return this.#queries
      .all<SilenceRow>('SELECT number, silence FROM silences WHERE end_ms > ? ORDER BY number', [nowMs])
      .map(toSilence);
  }

  /** How many have not ended. */
  currentCount(nowMs: number): number {
    return this.#queries.number('SELECT COUNT(*) AS value FROM silences WHERE end_ms > ?', [nowMs]);
  }

  /** Those that have ended, the last added first. */
  ended(nowMs: number, limit: number): Silence[] {
    return this.#queries
      .all<SilenceRow>(
        'SELECT number, silence FROM silences WHERE end_ms <= ? ORDER BY number DESC LIMIT ?',
        [nowMs, limit],
      )
      .map(toSilence);
  }

  /** Removes those that ended before a time; returns how many. */
  remove(beforeMs: number, maxRows: number): number {
    return this.#queries.run(
      'DELETE FROM silences WHERE number IN (SELECT number FROM silences WHERE end_ms < ? LIMIT ?)',
      [beforeMs, maxRows],
    );
  }
}

function silenceId(number: number): string {
  return `SIL-${number}`;
}

/** 0, which no silence has, for a text that is no id. */
function silenceNumber(id: string): number {
  const digits = /^SIL-([1-9]\d{0,14})$/.exec(id)?.[1];
  return digits === undefined ? 0 : Number(digits);
}

function toSilence({ number, silence }: SilenceRow): Silence {
  return { ...(JSON.parse(silence) as Omit<Silence, 'id'>), id: silenceId(number) };
}
