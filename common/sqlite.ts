/**
 * SQLite, for the agent's spool and the collector's store.
 *
 * Node's own `node:sqlite` where there is one (22.13 and later), else `better-sqlite3`. Both are synchronous and share
 * the shape below. Node's comes first because a native module can end the process: better-sqlite3 12.11, built with the
 * headers of Node 24, does so there. Every database is opened in WAL mode with `synchronous = FULL`: a transaction that
 * returned is on the disk, which is what "acknowledged after commit" stands on. It belongs to one process, which holds
 * the lock on the file: two agents on one spool would each send everything.
 */
import { mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf, PlasmawatchError, systemCodeOf } from './errors.ts';

const SQLITE_FULL = 13;

type SqlValue = string | number | bigint | Uint8Array | null;

export interface Statement {
  run(...values: SqlValue[]): { changes: number | bigint; lastInsertRowid: number | bigint };
  get(...values: SqlValue[]): unknown;
  all(...values: SqlValue[]): unknown[];
}

/** What both engines offer. */
interface Engine {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

type EngineConstructor = new (path: string) => Engine;

/** An open database; one owner, who closes it. */
export class Database {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  exec(sql: string): void {
    this.#engine.exec(sql);
  }

  /**
   * Compiles a statement once, for use many times. A whole number beyond those that JavaScript has exactly is stored as
   * the nearest that it has: `node:sqlite` would throw when such a number is read, wherever an agent invented it.
   */
  prepare(sql: string): Statement {
    const statement = this.#engine.prepare(sql);
    return {
      run: (...values) => statement.run(...withinSafeNumbers(values)),
      get: (...values) => statement.get(...withinSafeNumbers(values)),
      all: (...values) => statement.all(...withinSafeNumbers(values)),
    };
  }

  /** Runs `work` in one write transaction: all of it is on the disk when this returns, or none of it. */
  transaction<Result>(work: () => Result): Result {
    this.#engine.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#engine.exec('COMMIT');
      return result;
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  close(): void {
    this.#engine.close();
  }

  /** SQLite rolls back by itself on some errors (a full disk), so a failing ROLLBACK hides nothing. */
  #rollBack(): void {
    try {
      this.#engine.exec('ROLLBACK');
    } catch {
      // No transaction is open any more; the first error is the one to report.
    }
  }
}

/** The same values where none is beyond the safe numbers, which is nearly always. */
function withinSafeNumbers(values: readonly SqlValue[]): readonly SqlValue[] {
  return values.some(isUnsafe) ? values.map((value) => (isUnsafe(value) ? clamp(value) : value)) : values;
}

function isUnsafe(value: SqlValue): value is number {
  return typeof value === 'number' && Math.abs(value) > Number.MAX_SAFE_INTEGER && Number.isFinite(value);
}

function clamp(value: number): number {
  return Math.sign(value) * Number.MAX_SAFE_INTEGER;
}

/**
 * Opens (and makes) the database at `path`, `:memory:` included, and brings its schema up to date. A folder and a file
 * that are made are for the owner only (modes 0700 and 0600).
 * `migrations[n]` takes the schema from version n to n + 1; a step that has shipped is never changed.
 */
export async function openDatabase(path: string, migrations: readonly string[]): Promise<Database> {
  await makePrivateFile(path);
  const engine = await openEngine(path);
  const database = new Database(engine);
  try {
    database.exec('PRAGMA busy_timeout = 5000');
    // Before the first look at the file: then the index of the log is in memory (sqlite.org/wal.html, section 8), and a
    // database that exists can be opened on a full disk.
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    database.exec('PRAGMA journal_mode = WAL');
    database.exec('PRAGMA synchronous = FULL');
    database.exec('PRAGMA foreign_keys = ON');
    migrate(database, migrations);
    return database;
  } catch (error) {
    database.close();
    throw storeError('use', 'the database', path, error);
  }
}

/** SQLite gives its side files the mode of the database, so the database has to exist with the right one. */
async function makePrivateFile(path: string): Promise<void> {
  if (path === ':memory:') return;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(path, 'a', 0o600);
    await file.close();
  } catch (error) {
    throw storeError('open', 'the database', path, error);
  }
}

/**
 * One line of a failure of a database: PW_DISK_FULL where there is no room, else PW_STORE. Both may pass.
 * @param operation what was tried, to be read before `what`: `append to`
 * @param what the file is: `the spool`
 */
export function storeError(operation: string, what: string, path: string, cause: unknown): PlasmawatchError {
  const code = isNoRoom(cause) ? 'PW_DISK_FULL' : 'PW_STORE';
  return new PlasmawatchError(code, `cannot ${operation} ${what} ${path}: ${messageOf(cause)}`, {
    operation,
    subject: path,
    cause,
    retryable: true,
  });
}

/** Whether it says that a disk does not do what it should, full ones included. */
export function isStoreError(error: unknown): error is PlasmawatchError {
  return error instanceof PlasmawatchError && (error.code === 'PW_STORE' || error.code === 'PW_DISK_FULL');
}

/** better-sqlite3 names SQLite's code, `node:sqlite` has its number (sqlite.org/rescode.html); files have the errno. */
function isNoRoom(error: unknown): boolean {
  const code = systemCodeOf(error);
  if (code === 'SQLITE_FULL' || code === 'ENOSPC' || code === 'EDQUOT') return true;
  return typeof error === 'object' && error !== null && 'errcode' in error && error.errcode === SQLITE_FULL;
}

function migrate(database: Database, migrations: readonly string[]): void {
  const row = database.prepare('PRAGMA user_version').get() as { user_version: number };
  if (row.user_version > migrations.length) {
    throw new Error(`its schema has version ${row.user_version}, this program knows ${migrations.length}`);
  }
  for (const [index, step] of migrations.entries()) {
    if (index < row.user_version) continue;
    database.transaction(() => {
      database.exec(step);
      database.exec(`PRAGMA user_version = ${index + 1}`);
    });
  }
}

async function openEngine(path: string): Promise<Engine> {
  const failures: string[] = [];
  for (const load of [loadNodeSqlite, loadBetterSqlite3]) {
    let Engine: EngineConstructor;
    try {
      Engine = await load();
    } catch (error) {
      failures.push(messageOf(error));
      continue;
    }
    try {
      return new Engine(path);
    } catch (error) {
      throw storeError('open', 'the database', path, error);
    }
  }
  throw new PlasmawatchError(
    'PW_SQLITE_UNAVAILABLE',
    `no SQLite engine: install the package better-sqlite3 or use Node 22.13 or later (${failures.join('; ')})`,
  );
}

async function loadBetterSqlite3(): Promise<EngineConstructor> {
  const { default: BetterSqlite3 } = await import('better-sqlite3');
  // The native part is loaded by the first database, so a build for another Node version shows here.
  new BetterSqlite3(':memory:').close();
  return BetterSqlite3 satisfies EngineConstructor;
}

async function loadNodeSqlite(): Promise<EngineConstructor> {
  // Not in the type definitions of the oldest supported Node, hence the name in a variable.
  const moduleName = 'node:sqlite';
  const { DatabaseSync } = (await import(moduleName)) as { DatabaseSync: EngineConstructor };
  return DatabaseSync;
}
