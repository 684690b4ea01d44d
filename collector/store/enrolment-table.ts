/** Agents that come in with a key of their own. Of tokens and keys only digests are here. */
import type { Queries } from './queries.ts';

export interface Enrolment {
  readonly agent: string;
  /** Until when the one-time token holds; null once it was taken back. */
  readonly expiresMs: number | null;
  /** The key that the token was exchanged for; null while it was not. */
  readonly exchangedFor: string | null;
}

interface EnrolmentRow {
  agent: string;
  expires_ms: number | null;
  exchanged_for: string | null;
}

export class EnrolmentTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** A new one-time token for a name; the key that the name has holds until the token is exchanged. */
  issue(
    agent: string,
    tokenDigest: string,
    times: { readonly nowMs: number; readonly expiresMs: number },
  ): void {
    this.#queries.run(
      `INSERT INTO enrolments (agent, token_digest, expires_ms, changed_ms) VALUES (?, ?, ?, ?)
       ON CONFLICT (agent) DO UPDATE SET token_digest = excluded.token_digest,
         expires_ms = excluded.expires_ms, changed_ms = excluded.changed_ms, exchanged_for = NULL`,
      [agent, tokenDigest, times.expiresMs, times.nowMs],
    );
  }

  byToken(digest: string): Enrolment | undefined {
    return this.#queries
      .all<EnrolmentRow>('SELECT * FROM enrolments WHERE token_digest = ?', [digest])
      .map((row) => ({ agent: row.agent, expiresMs: row.expires_ms, exchangedFor: row.exchanged_for }))[0];
  }

  /** One-time tokens that hold and that no agent has exchanged, by name. */
  pending(nowMs: number, limit: number): { readonly agent: string; readonly expiresMs: number }[] {
    return this.#queries
      .all<{ agent: string; expires_ms: number }>(
        `SELECT agent, expires_ms FROM enrolments
         WHERE token_digest IS NOT NULL AND exchanged_for IS NULL AND expires_ms > ? ORDER BY agent LIMIT ?`,
        [nowMs, limit],
      )
      .map((row) => ({ agent: row.agent, expiresMs: row.expires_ms }));
  }

  /** Takes a one-time token back, and leaves the key that the name has. Whether there was one that held. */
  revokeToken(agent: string, nowMs: number): boolean {
    const changed = this.#queries.run(
      `UPDATE enrolments SET token_digest = NULL, expires_ms = NULL, changed_ms = ?
       WHERE agent = ? AND token_digest IS NOT NULL AND exchanged_for IS NULL AND expires_ms > ?`,
      [nowMs, agent, nowMs],
    );
    return changed > 0;
  }

  /** The name to which a key is bound. */
  agentOfKey(digest: string): string | undefined {
    return this.#queries.all<{ agent: string }>('SELECT agent FROM enrolments WHERE key_digest = ?', [
      digest,
    ])[0]?.agent;
  }

  /** The name has this key from now on, and no other. */
  exchange(agent: string, keyDigest: string, nowMs: number): void {
    this.#queries.run(
      'UPDATE enrolments SET key_digest = ?, exchanged_for = ?, changed_ms = ?, is_bound = 1 WHERE agent = ?',
      [keyDigest, keyDigest, nowMs, agent],
    );
  }

  /** Takes token and key back. The name stays bound: only another enrolment opens it. */
  revoke(agent: string, nowMs: number): void {
    this.#queries.run(
      `UPDATE enrolments SET token_digest = NULL, expires_ms = NULL, key_digest = NULL, exchanged_for = NULL,
         changed_ms = ? WHERE agent = ?`,
      [nowMs, agent],
    );
  }

  /** Whether the name ever had a key. */
  isBound(agent: string): boolean {
    return this.#queries.number('SELECT is_bound AS value FROM enrolments WHERE agent = ?', [agent]) === 1;
  }

  /** Whether a token was ever made for the name. */
  has(agent: string): boolean {
    return this.#queries.number('SELECT COUNT(*) AS value FROM enrolments WHERE agent = ?', [agent]) > 0;
  }

  count(): number {
    return this.#queries.number('SELECT COUNT(*) AS value FROM enrolments', []);
  }

  /** Forgets names of which no agent is known any more, and nothing changed since. */
  remove(beforeMs: number, maxRows: number): void {
    this.#queries.run(
      `DELETE FROM enrolments WHERE agent IN
         (SELECT agent FROM enrolments WHERE changed_ms < ? AND agent NOT IN (SELECT name FROM agents) LIMIT ?)`,
      [beforeMs, maxRows],
    );
  }
}
