import { describe, expect, it } from 'vitest';
import { OVERDUE, TimedReads } from '../../../agent/process/timed-reads.ts';

const LIMIT_MS = 20;

/** A read that ends when a test says so. */
function held(): { readonly read: () => Promise<string>; readonly end: () => void } {
  let end = (): void => {};
  const promise = new Promise<string>((resolve) => {
    end = () => resolve('late');
  });
  return { read: () => promise, end };
}

describe('TimedReads', () => {
  it('answers with what was read, or throws what it threw', async () => {
    const reads = new TimedReads(1, LIMIT_MS);
    expect(await reads.run(() => Promise.resolve('text'))).toBe('text');
    await expect(reads.run(() => Promise.reject(new Error('gone')))).rejects.toThrow('gone');
    expect(await reads.run(() => Promise.resolve('more'))).toBe('more');
    expect(reads.overdue).toBe(0);
  });

  it('gives a read up that does not end, and begins no further one while all threads are lost', async () => {
    const reads = new TimedReads(2, LIMIT_MS);
    const [first, second] = [held(), held()];
    let begun = 0;
    const count = (): Promise<string> => {
      begun++;
      return Promise.resolve('text');
    };
    expect(await Promise.all([reads.run(first.read), reads.run(second.read)])).toEqual([OVERDUE, OVERDUE]);
    expect(reads.lost).toBe(2);
    expect(await reads.run(count)).toBe(OVERDUE);
    expect(begun).toBe(0);
    first.end();
    await first.read();
    expect(await reads.run(count)).toBe('text');
    expect([reads.lost, reads.overdue]).toEqual([1, 3]);
  });

  it('does not keep those waiting that wait behind reads that are lost', async () => {
    const reads = new TimedReads(1, LIMIT_MS);
    const first = held();
    const waiting = Promise.all([reads.run(first.read), reads.run(() => Promise.resolve('text'))]);
    expect(await waiting).toEqual([OVERDUE, OVERDUE]);
  });

  it('runs no more than so many at a time', async () => {
    const reads = new TimedReads(2, 10_000);
    let running = 0;
    let most = 0;
    const one = async (): Promise<void> => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
    };
    await Promise.all(Array.from({ length: 50 }, () => reads.run(one)));
    expect(most).toBe(2);
  });
});
