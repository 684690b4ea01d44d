/** What the tables of the store share: statements that are compiled once, and failures that say what failed. */
import { PlasmawatchError, systemCodeOf } from '../../common/errors.ts';
import { storeError, type Database, type Statement } from '../../common/sqlite.ts';

type Values = readonly (string | number | Uint8Array | null)[];

/** Statements on one open database. All throw PlasmawatchError PW_STORE or PW_DISK_FULL where SQLite itself fails. */
export class Queries {
  readonly #path: string;
  readonly #database: Database;
  /** By their text: each is compiled once. */
  readonly #statements = new Map<string, Statement>();
  #isOpen = true;

  /** @param path of the database, for messages */
  constructor(path: string, database: Database) {
    this.#path = path;
    this.#database = database;
  }

  /** All of `work` is on the disk when this returns, or none of it. Not to be nested. */
  transaction<Result>(work: () => Result): Result {
    try {
      return this.#database.transaction(work);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** Runs a statement and returns how many rows it changed. */
  run(sql: string, values: Values): number {
    return Number(this.#query((statement) => statement.run(...values), sql).changes);
  }

  all<Row>(sql: string, values: Values): Row[] {
    return this.#query((statement) => statement.all(...values), sql) as Row[];
  }

  /** The column `value` of the first row; 0 where there is no row or no value. */
  number(sql: string, values: Values): number {
    return this.all<{ value: number | null }>(sql, values)[0]?.value ?? 0;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#database.close();
  }

  #query<Result>(use: (statement: Statement) => Result, sql: string): Result {
    try {
      let statement = this.#statements.get(sql);
      if (statement === undefined) {
        statement = this.#database.prepare(sql);
        this.#statements.set(sql, statement);
      }
      return use(statement);
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /** SQLite's own failures (a full disk, an unreadable page) are the world's fault; all else stays as it is. */
  #explain(error: unknown): unknown {
    if (error instanceof PlasmawatchError || !/^(ERR_)?SQLITE_/.test(systemCodeOf(error) ?? '')) return error;
    return storeError('use', 'the store', this.#path, error);
  }
}
