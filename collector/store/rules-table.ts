/** Which rules were handed out to agents, and how they are numbered. */
import type { Queries } from './queries.ts';

/** So many versions are remembered. */
const MAX_VERSIONS = 1000;

export interface RulesVersion {
  /** Rises with each change. */
  readonly version: number;
  /** SHA-256 of the content, hex. */
  readonly fingerprint: string;
}

export class RulesTable {
  readonly #queries: Queries;

  constructor(queries: Queries) {
    this.#queries = queries;
  }

  /** The newest version; undefined before the first. */
  latest(): RulesVersion | undefined {
    return this.#queries.all<{ version: number; fingerprint: string }>(
      'SELECT version, fingerprint FROM rules_versions ORDER BY version DESC LIMIT 1',
      [],
    )[0];
  }

  add({ version, fingerprint }: RulesVersion, nowMs: number): void {
    this.#queries.run('INSERT INTO rules_versions (version, fingerprint, since_ms) VALUES (?, ?, ?)', [
      version,
      fingerprint,
      nowMs,
    ]);
    this.#queries.run(
      `DELETE FROM rules_versions WHERE version NOT IN
         (SELECT version FROM rules_versions ORDER BY version DESC LIMIT ?)`,
      [MAX_VERSIONS],
    );
  }
}
