import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../../collector/store/sqlite.ts';
import { MIGRATIONS } from '../../../collector/store/sqlite-schema.ts';
import type { MemberPage } from '../../../collector/store/member-table.ts';
import type { Member, Store } from '../../../collector/store/store.ts';
import { openDatabase } from '../../../common/sqlite.ts';
import { sampleIncident } from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

let store: Store;
let incident: string;
beforeEach(async () => {
  store = await openSqliteStore(':memory:');
  incident = store.insertIncident(sampleIncident()).id;
});
afterEach(() => store.close());

function save(anomalyId: string, changes: Partial<Member> = {}, node = 'w1'): void {
  store.saveMember({
    agent: node,
    anomalyId,
    incidentId: incident,
    latest: { ...sampleAnomaly(1), id: anomalyId, node },
    baseCount: 0,
    baseBytes: 0,
    severity: 'critical',
    dataBytes: 0,
    ...changes,
  });
}

/** @param meanwhile what happens after each page */
function pages(limit: number, meanwhile: (page: number) => void = () => {}): string[] {
  const found: string[] = [];
  let after: MemberPage['next'] | undefined;
  for (let number = 0; after !== null; number++) {
    const page: MemberPage = store.memberTable.page(incident, { limit, after });
    found.push(...page.members.map(({ anomalyId }) => anomalyId));
    after = page.next;
    if (after !== null) meanwhile(number);
  }
  return found;
}

describe('the members of an incident', () => {
  it.each([1, 2, 3, 100])('come by severity, then bytes, then age, in pages of %i', (limit) => {
    save('a', { severity: 'warning', dataBytes: 900 });
    save('b', { dataBytes: 5 });
    save('c', { dataBytes: 7 });
    save('d', { dataBytes: 5 });
    save('e', { severity: 'info', dataBytes: Number.MAX_SAFE_INTEGER });
    save('f', { dataBytes: 5 });
    expect(pages(limit)).toEqual(['c', 'b', 'd', 'f', 'a', 'e']);
  });

  it.each([1, 2, 7, 50])(
    'are all found in pages of %i, also those that move up or come meanwhile',
    (limit) => {
      const ids = Array.from({ length: 60 }, (_, number) => `m${number}`);
      for (const [number, id] of ids.entries()) save(id, { dataBytes: 1000 + number });
      const found = pages(limit, (page) => {
        if (page >= 20) return;
        save(`m${page * 2}`, { dataBytes: 1_000_000 + page });
        save(`new-${page}`, { dataBytes: 2_000_000 });
      });
      const added = store.memberTable
        .page(incident, { limit: 500 })
        .members.map(({ anomalyId }) => anomalyId);
      expect(added.length).toBeGreaterThan(60);
      expect(new Set(found)).toEqual(new Set(added));
      expect(found.length).toBeLessThanOrEqual(60 + 2 * 20);
    },
  );

  it.each([3, 50])(
    'are all found in pages of %i, also those of another incident that joins meanwhile',
    (limit) => {
      const other = store.insertIncident(sampleIncident({ fingerprint: 'other' })).id;
      for (let number = 0; number < 10; number++) {
        save(`m${number}`, { dataBytes: number });
        save(`other-${number}`, { dataBytes: 1_000_000, incidentId: other });
      }
      const found = pages(limit, (page) => {
        if (page === 0) store.memberTable.move(other, incident);
      });
      expect(new Set(found).size).toBe(limit === 3 ? 20 : 10);
    },
  );

  it('are counted for each node, whatever becomes of them', () => {
    save('a');
    save('b');
    save('c', {}, 'w2');
    save('b', { dataBytes: 5 });
    const count = (node: string): number => store.memberTable.countOf(incident, node);
    expect([count('w1'), count('w2'), store.memberTable.nodeCount(incident)]).toEqual([2, 1, 2]);
    const other = store.insertIncident(sampleIncident({ fingerprint: 'other' })).id;
    save('c', { incidentId: other }, 'w2');
    save('d', { incidentId: other }, 'w2');
    store.memberTable.move(other, incident);
    expect([count('w2'), store.memberTable.nodeCount(other)]).toEqual([2, 0]);
    for (const id of ['a', 'b']) {
      const member = store.memberTable.of(incident, 'w1', id);
      if (member !== undefined) store.memberTable.remove(member);
    }
    expect([count('w1'), store.memberTable.nodeCount(incident)]).toEqual([0, 1]);
  });

  it('make room from the node that has the most of them, the least severe first', () => {
    save('a', { severity: 'info' }, 'w2');
    save('b', { dataBytes: 7 });
    save('c', { dataBytes: 5 });
    expect(store.memberTable.mostDispensable(incident)).toMatchObject({
      member: { anomalyId: 'c' },
      ofNode: 2,
    });
  });
});

describe('members of an earlier version', () => {
  it('are in the order of their severity, and counted', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-members-'));
    const path = join(folder, 'collector.db');
    const before = await openDatabase(path, MIGRATIONS.slice(0, 8));
    const { id: _id, highlights: _highlights, tier: _tier, ...old } = sampleIncident();
    before
      .prepare(
        "INSERT INTO incidents (fingerprint, state, last_report_ms, incident) VALUES ('a', 'open', 0, ?)",
      )
      .run(JSON.stringify(old));
    const insert = before.prepare(
      "INSERT INTO members (incident, agent, anomaly_id, node, base_count, base_bytes, latest) VALUES (1, 'w1', ?, 'w1', 0, 0, ?)",
    );
    for (const [id, severity, bytes] of [
      ['small', 'critical', 5],
      ['mild', 'warning', 900],
      ['large', 'critical', 70],
    ] as const) {
      insert.run(id, JSON.stringify({ ...sampleAnomaly(1), id, severity, bytes }));
    }
    before.close();
    const opened = await openSqliteStore(path);
    const { members } = opened.memberTable.page('INC-1', { limit: 9 });
    expect(members.map(({ anomalyId }) => anomalyId)).toEqual(['large', 'small', 'mild']);
    expect(opened.memberTable.countOf('INC-1', 'w1')).toBe(3);
    expect(opened.unresolvedOf('w1', 9)).toBe(1);
    opened.close();
    await rm(folder, { recursive: true });
  });
});
