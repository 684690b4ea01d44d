import { beforeEach, describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../../collector/store/sqlite.ts';
import type { AuditTable } from '../../../collector/store/audit-table.ts';

let audit: AuditTable;

beforeEach(async () => {
  ({ audit } = await openSqliteStore(':memory:'));
  for (let number = 1; number <= 5; number++) {
    audit.add({
      atMs: number * 1000,
      actor: number % 2 === 0 ? 'even' : 'odd',
      action: 'incident.acknowledge',
      subject: `INC-${number % 3}`,
      details: { number },
    });
  }
});

const numbers = (entries: readonly { details: Readonly<Record<string, unknown>> }[]) =>
  entries.map(({ details }) => details['number']);

describe('the audit log', () => {
  it('gives what was done newest first, page by page', () => {
    const first = audit.entries({ limit: 3 });
    expect(first.entries[0]).toEqual({
      atMs: 5000,
      actor: 'odd',
      action: 'incident.acknowledge',
      subject: 'INC-2',
      details: { number: 5 },
    });
    expect(numbers(first.entries)).toEqual([5, 4, 3]);
    const second = audit.entries({ limit: 3, before: first.next ?? 0 });
    expect(numbers(second.entries)).toEqual([2, 1]);
    expect(second.next).toBeNull();
  });

  it('can be asked for what somebody did, and for what was done to something', () => {
    expect(numbers(audit.entries({ limit: 9, actor: 'even' }).entries)).toEqual([4, 2]);
    expect(numbers(audit.entries({ limit: 9, subject: 'INC-1' }).entries)).toEqual([4, 1]);
    expect(numbers(audit.entries({ limit: 9, subject: 'INC-1', actor: 'odd' }).entries)).toEqual([1]);
  });

  it('forgets what is old, and the oldest of what is too much, a portion at a time', () => {
    const limits = { beforeMs: 0, maxEntries: 100, maxRows: 100 };
    expect(audit.remove(limits)).toBe(0);
    expect(audit.remove({ ...limits, beforeMs: 3000, maxRows: 1 })).toBe(1);
    expect(audit.remove({ ...limits, beforeMs: 3000 })).toBe(1);
    expect(numbers(audit.entries({ limit: 9 }).entries)).toEqual([5, 4, 3]);
    expect(audit.remove({ ...limits, maxEntries: 2 })).toBe(1);
    expect(numbers(audit.entries({ limit: 9 }).entries)).toEqual([5, 4]);
  });

  it('forgets nothing of others for one who does a thousand things', () => {
    for (let number = 6; number <= 1000; number++) {
      const entry = { action: 'silence.add', subject: `SIL-${number}`, details: { number } } as const;
      audit.add({ atMs: number * 1000, actor: 'busy', ...entry });
    }
    for (let round = 0; round < 20; round++) audit.remove({ beforeMs: 0, maxEntries: 30, maxRows: 100 });
    expect(numbers(audit.entries({ limit: 9, actor: 'odd' }).entries)).toEqual([5, 3, 1]);
    expect(numbers(audit.entries({ limit: 9, actor: 'even' }).entries)).toEqual([4, 2]);
    expect(numbers(audit.entries({ limit: 100, actor: 'busy' }).entries)).toHaveLength(25);
  });
});
