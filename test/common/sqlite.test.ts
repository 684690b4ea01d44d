import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../common/sqlite.ts';

const folder = mkdtempSync(join(tmpdir(), 'plasmawatch-sqlite-'));
afterAll(() => rmSync(folder, { recursive: true }));

const STEPS = ['CREATE TABLE t (n INTEGER)', 'ALTER TABLE t ADD COLUMN m TEXT'];

describe('openDatabase', () => {
  it('makes folder and file for the owner only', async () => {
    const path = join(folder, 'a', 'b', 'c.db');
    (await openDatabase(path, STEPS)).close();
    expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('brings an older schema up to date and keeps what is in it', async () => {
    const path = join(folder, 'old.db');
    const old = await openDatabase(path, STEPS.slice(0, 1));
    old.exec('INSERT INTO t VALUES (7)');
    old.close();
    const now = await openDatabase(path, STEPS);
    expect(now.prepare('SELECT n, m FROM t').all()).toEqual([{ n: 7, m: null }]);
    now.close();
  });

  it('refuses a schema of a later version, and a file that is no database', async () => {
    const path = join(folder, 'new.db');
    (await openDatabase(path, STEPS)).close();
    await expect(openDatabase(path, STEPS.slice(0, 1))).rejects.toMatchObject({
      code: 'PW_STORE',
      message: `cannot use the database ${path}: its schema has version 2, this program knows 1`,
    });
    const text = join(folder, 'text.db');
    writeFileSync(
      text,
      'this is no database, but long enough to be taken for one by its size alone'.repeat(20),
    );
    await expect(openDatabase(text, STEPS)).rejects.toMatchObject({ code: 'PW_STORE' });
  });

  it('says in one line where it may not write', async () => {
    const path = join(folder, 'old.db', 'below-a-file.db');
    await expect(openDatabase(path, STEPS)).rejects.toMatchObject({
      code: 'PW_STORE',
      message: expect.stringMatching(
        /^cannot open the database .*below-a-file\.db: (ENOTDIR|EEXIST)/,
      ) as string,
    });
  });

  it.each([2 ** 60, -(2 ** 60), Number.MAX_SAFE_INTEGER + 3, Number.MAX_VALUE])(
    'keeps the nearest number that JavaScript has exactly for %d, so that it can be read again',
    async (number) => {
      const database = await openDatabase(':memory:', STEPS);
      database.prepare('INSERT INTO t (n) VALUES (?)').run(number);
      const nearest = Math.sign(number) * Number.MAX_SAFE_INTEGER;
      expect(database.prepare('SELECT n FROM t WHERE n = ?').all(number)).toEqual([{ n: nearest }]);
      database.close();
    },
  );

  it('does all of a transaction or nothing of it', async () => {
    const database = await openDatabase(':memory:', STEPS);
    const failing = (): void =>
      database.transaction(() => {
        database.exec('INSERT INTO t (n) VALUES (1)');
        throw new Error('on second thoughts');
      });
    expect(failing).toThrow('on second thoughts');
    expect(database.prepare('SELECT count(*) AS n FROM t').get()).toEqual({ n: 0 });
    expect(database.transaction(() => database.prepare('INSERT INTO t (n) VALUES (1)').run().changes)).toBe(
      1,
    );
    database.close();
  });

  it('has a committed transaction on the disk: write-ahead log, synchronized in full', async () => {
    const database = await openDatabase(join(folder, 'durable.db'), STEPS);
    expect(database.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
    expect(database.prepare('PRAGMA synchronous').get()).toEqual({ synchronous: 2 });
    database.close();
  });
});
