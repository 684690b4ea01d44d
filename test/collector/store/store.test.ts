/** The cases that every store must pass; there is one engine by now. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../common/sqlite.ts';
import { Retention } from '../../../collector/store/retention.ts';
import { MIGRATIONS } from '../../../collector/store/sqlite-schema.ts';
import { openSqliteStore } from '../../../collector/store/sqlite.ts';
import type { Store } from '../../../collector/store/store.ts';
import { openParts, sampleIncident, sampleNotification, TEST_EPOCH } from '../../support/collector-parts.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';

const engines: [string, (path: string) => Promise<Store>][] = [['sqlite', openSqliteStore]];
const w1 = { name: 'w1', epoch: TEST_EPOCH, version: '0.1.0', capture: 'ring' };

function source(sequence: number, epoch = TEST_EPOCH) {
  return { agent: 'w1', epoch, sequence };
}

describe.each(engines)('the %s store', (_name, open) => {
  let folder: string;
  let store: Store;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-store-'));
    store = await open(join(folder, 'collector.db'));
  });
  afterEach(async () => {
    store.close();
    await rm(folder, { recursive: true });
  });

  async function reopen(): Promise<void> {
    store.close();
    store = await open(join(folder, 'collector.db'));
  }

  it('has after a restart what it had before', async () => {
    store.greetAgent(w1, 1000);
    store.saveHeartbeat('w1', { dropped: null, received: 7 }, 2000);
    store.transaction(() => store.insertReport(source(1), sampleAnomaly(1), 3000));
    const incident = store.insertIncident(sampleIncident());
    store.enqueue(sampleNotification({ incident }));
    store.saveCursor('influx', 1);
    await reopen();
    expect(store.fleet.agents({ limit: 10, after: '' })).toEqual([
      {
        ...w1,
        firstSeenMs: 1000,
        lastSeenMs: 3000,
        stoppedMs: null,
        retiredMs: null,
        lastSequence: 1,
        counters: { dropped: null, received: 7 },
        rules: null,
        isEnrolled: false,
      },
    ]);
    expect(store.reportsAfter(0, 10)).toEqual([
      { id: 1, agent: 'w1', sequence: 1, receivedMs: 3000, report: sampleAnomaly(1) },
    ]);
    expect(store.incident(incident.id)).toEqual(incident);
    expect(store.pending('ops', 1)[0]).toMatchObject({ incident, attempts: 0, state: 'pending' });
    expect(store.cursor('influx')).toBe(1);
    expect(store.greetAgent(w1, 4000)).toBe(1);
  });

  it('keeps nothing of a transaction that failed', () => {
    expect(() =>
      store.transaction(() => {
        store.insertReport(source(1), sampleAnomaly(1), 0);
        throw new Error('in the middle');
      }),
    ).toThrow('in the middle');
    expect(store.reportsAfter(0, 10)).toEqual([]);
    expect(store.lastSequence('w1', TEST_EPOCH)).toBe(0);
  });

  it('knows a report by agent, epoch and sequence', () => {
    const other = '6f1c2a52-5df2-4c0e-9d8e-2a4f1a7f0002';
    expect(store.insertReport(source(5), sampleAnomaly(1), 0)).toBe(true);
    expect(store.insertReport(source(5), sampleAnomaly(2), 0)).toBe(false);
    expect(store.insertReport(source(4), sampleAnomaly(3), 0)).toBe(true);
    expect(store.insertReport(source(5, other), sampleAnomaly(4), 0)).toBe(true);
    expect(store.insertReport({ ...source(5), agent: 'w2' }, sampleAnomaly(5), 0)).toBe(true);
    expect(store.lastSequence('w1', TEST_EPOCH)).toBe(5);
  });

  it('knows a report again after retention has removed it', () => {
    store.greetAgent(w1, 0);
    store.insertReport(source(0), sampleFlowReport(), 100);
    store.insertReport(source(1), sampleFlowReport(), 100);
    store.remove({ beforeMs: 200, maxReports: 100, maxRows: 100 });
    expect(store.reportsAfter(0, 10)).toEqual([]);
    store.greetAgent(w1, 300);
    expect(store.lastSequence('w1', TEST_EPOCH)).toBe(0);
    store.greetAgent(w1, 0);
    expect(store.insertReport(source(2), sampleFlowReport(), 400)).toBe(true);
  });

  it('remembers what was removed of an agent that is still there', () => {
    store.greetAgent(w1, 1000);
    for (let sequence = 1; sequence <= 10; sequence++)
      store.insertReport(source(sequence), sampleFlowReport(), 1000);
    expect(store.remove({ beforeMs: 0, maxReports: 4, maxRows: 100 }).reports).toBe(6);
    expect(store.insertReport(source(6), sampleFlowReport(), 1000)).toBe(false);
    expect(store.lastSequence('w1', TEST_EPOCH)).toBe(10);
    expect(store.reportsAfter(0, 100).map(({ sequence }) => sequence)).toEqual([7, 8, 9, 10]);
  });

  it('removes by age and by number, a portion at a time, and counts what an exporter lost', () => {
    store.greetAgent(w1, 5000);
    for (let sequence = 1; sequence <= 100; sequence++) {
      store.insertReport(source(sequence), sampleFlowReport(), sequence * 10);
    }
    store.saveCursor('influx', 20);
    const limits = { maxReports: 50, maxRows: 30, exporter: 'influx' };
    expect(store.remove({ ...limits, beforeMs: 0 })).toMatchObject({ reports: 30, unexported: 10 });
    expect(store.remove({ ...limits, beforeMs: 0 })).toMatchObject({ reports: 20, unexported: 20 });
    expect(store.remove({ ...limits, beforeMs: 0 })).toMatchObject({ reports: 0, unexported: 0 });
    expect(store.remove({ ...limits, beforeMs: 601 })).toMatchObject({ reports: 10 });
    expect(store.reportsAfter(0, 1)[0]?.sequence).toBe(61);
  });

  it('removes what is done and old, and keeps what is open or waits', () => {
    const old = { lastReportMs: 100 };
    const open = store.insertIncident(sampleIncident({ ...old, fingerprint: 'a' }));
    const resolved = store.insertIncident(sampleIncident({ ...old, fingerprint: 'b', state: 'resolved' }));
    store.saveMember({
      agent: 'w1',
      anomalyId: 'x',
      incidentId: resolved.id,
      latest: sampleAnomaly(1),
      baseCount: 0,
      baseBytes: 0,
      severity: 'critical',
      dataBytes: 4200,
    });
    store.enqueue(sampleNotification({ id: 'waits', incident: resolved, createdMs: 100 }));
    store.enqueue(sampleNotification({ id: 'done', incident: resolved, createdMs: 100 }));
    store.updateDelivery({ id: 'done', state: 'delivered', attempts: 1, nextAttemptMs: 0, reason: null });
    store.greetAgent({ ...w1, name: 'gone' }, 100);
    store.greetAgent(w1, 900);
    expect(store.remove({ beforeMs: 500, maxReports: 100, maxRows: 100 })).toMatchObject({
      incidents: 1,
      notifications: 1,
      agents: 1,
    });
    expect(store.incident(open.id)).toBeDefined();
    expect(store.incident(resolved.id)).toBeUndefined();
    expect(store.member('w1', 'x')).toBeUndefined();
    expect(store.pending('ops', 1)[0]?.id).toBe('waits');
    expect(store.fleet.agents({ limit: 10, after: '' }).map(({ name }) => name)).toEqual(['w1']);
  });

  it('has one unresolved incident of a story, and any number of resolved ones', () => {
    const first = store.insertIncident(sampleIncident());
    expect(() => store.insertIncident(sampleIncident())).toThrow(/UNIQUE/);
    store.updateIncident({ ...first, state: 'resolved' });
    const second = store.insertIncident(sampleIncident());
    expect(second.id).not.toBe(first.id);
    expect(store.unresolvedCount()).toBe(1);
  });

  it('knows which unresolved incidents a receiver was told of, page by page', () => {
    const told = (number: number, state: 'delivered' | 'failed' | 'pending', receiver = 'ops'): string => {
      const incident = store.insertIncident(sampleIncident({ fingerprint: `story ${number}` }));
      const id = `msg_${number}`;
      store.enqueue(sampleNotification({ id, receiver, incident }));
      store.updateDelivery({ id, state, attempts: 1, nextAttemptMs: 0, reason: null });
      return incident.id;
    };
    const [first, , , , second, third] = [
      told(1, 'delivered'),
      told(2, 'pending'),
      told(3, 'failed'),
      told(4, 'delivered', 'another'),
      told(5, 'delivered'),
      told(6, 'delivered'),
    ];
    const page = (limit: number, after?: string) =>
      store.toldUnresolved('ops', { limit, after }).map(({ id }) => id);
    expect(page(2)).toEqual([first, second]);
    expect(page(2, second)).toEqual([third]);
    expect(page(2, third)).toEqual([]);
    store.updateIncident({ ...sampleIncident({ fingerprint: 'story 1' }), id: first, state: 'resolved' });
    expect(page(9)).toEqual([second, third]);
  });

  it('knows what each receiver was told, and whom to look at when', () => {
    const incident = store.insertIncident(sampleIncident());
    const numbers = { breadth: 'story', peerCount: 1, nodeCount: 1, count: 3, bytes: 4200 } as const;
    const told = { type: 'opened', atMs: 1000, severity: 'critical', ...numbers } as const;
    const telling = { incidentId: incident.id, told, heldBack: 2, held: 'updated', dueMs: 5000 } as const;
    store.tellings.save({ ...telling, receiver: 'ops' });
    store.tellings.save({ ...telling, receiver: 'late', told: null, dueMs: 4000 });
    store.tellings.save({ ...telling, receiver: 'never', dueMs: 4000 });
    store.tellings.save({ ...telling, receiver: 'never', dueMs: null });
    expect(store.tellings.of(incident.id)).toHaveLength(3);
    expect(store.tellings.due(3999, 9)).toEqual([]);
    expect(store.tellings.due(5000, 9)).toEqual([
      { incident, telling: { ...telling, receiver: 'late', told: null, dueMs: 4000 } },
      { incident, telling: { ...telling, receiver: 'ops' } },
    ]);
    expect(store.tellings.due(5000, 1)).toHaveLength(1);
    store.tellings.keepOnly(['ops']);
    expect(store.tellings.of(incident.id)).toEqual([{ ...telling, receiver: 'ops' }]);
  });

  it('says that a file is no database, in one line with its path', async () => {
    const path = join(folder, 'text.db');
    await writeFile(path, 'no database '.repeat(1000));
    await expect(open(path)).rejects.toMatchObject({
      code: 'PW_STORE',
      message: expect.stringMatching(/^cannot use the database .*text\.db: [^\n]+$/),
    });
  });
});

describe('a store of an earlier version', () => {
  it('is brought up to date, and knows what was told', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-store-'));
    const path = join(folder, 'collector.db');
    const before = await openDatabase(path, MIGRATIONS.slice(0, 3));
    const { id: _id, resolvedBy: _by, mergedInto: _into, quietMs: _quiet, ...rest } = sampleIncident();
    const { breadth: _breadth, peerCount: _peers, serviceCount: _services, ...others } = rest;
    const { isAlone: _alone, reopenedMs: _reopened, reopenCount: _count, ...old } = others;
    before
      .prepare(
        "INSERT INTO incidents (fingerprint, state, last_report_ms, incident) VALUES (?, 'open', 0, ?)",
      )
      .run(old.fingerprint, JSON.stringify(old));
    const told = before.prepare(
      "INSERT INTO outbox (id, receiver, type, incident, snapshot, created_ms) VALUES (?, 'ops', ?, 1, ?, ?)",
    );
    told.run('msg_1', 'opened', JSON.stringify({ ...old, id: 'INC-1', count: 1 }), 1000);
    told.run('msg_2', 'escalated', JSON.stringify({ ...old, id: 'INC-1' }), 2000);
    before.close();
    const store = await openSqliteStore(path);
    const incident = sampleIncident({ quietMs: 900_000 });
    expect(store.incident('INC-1')).toEqual(incident);
    expect(store.stories.incidentOf(incident.fingerprint)).toEqual(incident);
    expect(store.pending('ops', 9)[1]).toMatchObject({ heldBack: 0, incident });
    expect(store.tellings.of('INC-1')).toMatchObject([
      {
        receiver: 'ops',
        told: { type: 'escalated', atMs: 2000, severity: 'critical', count: 3 },
        dueMs: null,
      },
    ]);
    store.close();
    await rm(folder, { recursive: true });
  });
});

describe('retention', () => {
  it('keeps the store within its limits while the collector runs', async () => {
    const parts = await openParts();
    const retention = new Retention({
      ...parts,
      keepMs: 86_400_000,
      maxReports: 1000,
      keepAuditMs: 172_800_000,
    });
    retention.start();
    parts.store.greetAgent(w1, parts.clock.now());
    for (let sequence = 1; sequence <= 1200; sequence++) {
      parts.store.insertReport(source(sequence), sampleFlowReport(), parts.clock.now());
    }
    parts.clock.advance(1000);
    expect(parts.store.reportsAfter(0, 5000)).toHaveLength(1000);
    parts.clock.advance(90_000_000);
    expect(parts.store.reportsAfter(0, 5000)).toEqual([]);
    const { values } = await parts.metrics.removed.get();
    expect(values.find(({ labels }) => labels['what'] === 'reports')?.value).toBe(1200);
    retention.stop();
    expect(parts.clock.pending).toBe(0);
  });
});
