import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FairRemoval } from '../../../collector/store/fair-removal.ts';
import { Queries } from '../../../collector/store/queries.ts';
import { Retention } from '../../../collector/store/retention.ts';
import { MIGRATIONS } from '../../../collector/store/sqlite-schema.ts';
import { openSqliteStore } from '../../../collector/store/sqlite.ts';
import type { Store } from '../../../collector/store/store.ts';
import type { Anomaly, Report } from '../../../common/event.ts';
import { openDatabase } from '../../../common/sqlite.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { sampleAnomaly, sampleEvidence, sampleFlowReport } from '../../support/sample-report.ts';
import { seededRandom } from '../../support/seeded-random.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

/** Agents that report to the recorder, each with its own numbers. */
function reporters({ recorder }: Parts) {
  const sequences = new Map<string, number>();
  return (agent: string, ...reports: readonly Report[]) => {
    const first = sequences.get(agent) ?? 1;
    sequences.set(agent, first + reports.length);
    const numbered = reports.map((report, index) => ({
      sequence: first + index,
      report: { ...report, node: agent },
    }));
    for (let from = 0; from < numbered.length; from += 500) {
      recorder.record(agent, TEST_EPOCH, numbered.slice(from, from + 500));
    }
  };
}

/** An anomaly of a peer of its own. */
function anomalyOf(id: string, peer: string, changes: Partial<Anomaly> = {}): Anomaly {
  const sample = sampleAnomaly(1);
  const flow = sample.flow === null ? null : { ...sample.flow, source: { ...sample.flow.source, ip: peer } };
  return { ...sample, id, flow, ...changes };
}

const peerOf = (number: number): string => `10.9.${Math.floor(number / 250)}.${(number % 250) + 1}`;
const times = <Item>(count: number, make: (index: number) => Item): Item[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** What is stored of an agent: `flow-report`, `anomaly w1-1`, `evidence w1-1`. */
function storedOf(store: Store, agent: string): string[] {
  return store
    .reportsAfter(0, 1_000_000)
    .filter((stored) => stored.agent === agent)
    .map(({ report }) => {
      if (report.type === 'flow-report') return report.type;
      return `${report.type} ${report.type === 'anomaly' ? report.id : report.anomaly}`;
    });
}

function removeAll(store: Store, limits: { maxReports: number; maxBytes?: number }): void {
  for (let round = 0; round < 1000 && store.isFull(limits); round++) {
    store.removeExcess({ ...limits, maxRows: 500 });
  }
}

const ALL = 1_000_000;

describe('a store with too many reports', () => {
  const floods: [string, (index: number) => Report][] = [
    ['flow reports', () => sampleFlowReport()],
    ['anomalies of peers that it invents', (index) => anomalyOf(`x-${index}`, peerOf(index))],
    ['one anomaly, again and again', () => anomalyOf('x', '10.9.9.9')],
    [
      'evidence for each of its anomalies',
      (index) =>
        index % 2 === 0 ? anomalyOf(`x-${index}`, peerOf(index)) : sampleEvidence(`x-${index - 1}`),
    ],
  ];

  it.each(floods)('takes from the agent that floods it, and from no other: %s', async (_name, make) => {
    const parts = await openParts();
    const report = reporters(parts);
    const honest = [
      sampleFlowReport(),
      anomalyOf('w1-1', '10.8.8.8'),
      sampleEvidence('w1-1'),
      anomalyOf('w1-1', '10.8.8.8', { count: 2 }),
      sampleFlowReport(),
    ];
    report('w1', ...honest);
    report('w2', ...times(600, make));
    report('w3', ...honest);
    removeAll(parts.store, { maxReports: 200 });
    const kept = ['flow-report', 'anomaly w1-1', 'evidence w1-1', 'anomaly w1-1', 'flow-report'];
    expect(storedOf(parts.store, 'w1')).toEqual(kept);
    expect(storedOf(parts.store, 'w3')).toEqual(kept);
    expect(storedOf(parts.store, 'w2')).toHaveLength(190);
    parts.store.close();
  });

  it('cuts the largest shares to one level, to the last report', async () => {
    const parts = await openParts();
    const report = reporters(parts);
    const before = { w1: 900, w2: 700, w3: 200, w4: 500 };
    for (const [agent, count] of Object.entries(before)) {
      report(agent, ...times(count, () => sampleFlowReport()));
    }
    const sizesAt = (maxReports: number): number[] => {
      removeAll(parts.store, { maxReports });
      return Object.keys(before).map((agent) => storedOf(parts.store, agent).length);
    };
    expect(sizesAt(2100)).toEqual([700, 700, 200, 500]);
    expect(sizesAt(1400)).toEqual([400, 400, 200, 400]);
    expect(sizesAt(400)).toEqual([100, 100, 100, 100]);
    parts.store.close();
  });

  it('gives no room to names that are only made up', async () => {
    const parts = await openParts();
    const report = reporters(parts);
    report('w1', ...times(300, () => sampleFlowReport()));
    for (let index = 0; index < 300; index++) report(`name-${index}`, sampleFlowReport());
    report('w2', ...times(2000, () => sampleFlowReport()));
    removeAll(parts.store, { maxReports: 1000 });
    expect(storedOf(parts.store, 'w1')).toHaveLength(300);
    expect(storedOf(parts.store, 'w2')).toHaveLength(400);
    parts.store.close();
  });

  it('lets go of what people need last at last', async () => {
    const parts = await openParts();
    const { store } = parts;
    const report = reporters(parts);
    report(
      'w1',
      anomalyOf('open', '10.8.8.1'),
      sampleEvidence('open'),
      anomalyOf('over', '10.8.8.2', { kind: 'unexpected-destination' }),
      sampleEvidence('over'),
      anomalyOf('minor', '10.8.8.3', { kind: 'volume', severity: 'warning' }),
      sampleEvidence('minor'),
      anomalyOf('open', '10.8.8.1', { count: 2 }),
      sampleFlowReport(),
    );
    const over = store.member('w1', 'over')?.incidentId ?? '';
    parts.recorder.resolve(over, 'ann');
    const order: string[] = [];
    for (let maxReports = 7; maxReports >= 0; maxReports--) {
      const before = storedOf(store, 'w1');
      store.removeExcess({ maxReports, maxRows: 100 });
      const after = storedOf(store, 'w1');
      order.push(before.find((name, index) => name !== after[index]) ?? '');
    }
    expect(order).toEqual([
      'anomaly open',
      'flow-report',
      'anomaly over',
      'evidence over',
      'anomaly minor',
      'evidence minor',
      'evidence open',
      'anomaly open',
    ]);
    // By number only reports go; what the incidents say of the anomalies stays.
    expect(['open', 'over', 'minor'].map((id) => store.member('w1', id)?.anomalyId)).toEqual([
      'open',
      'over',
      'minor',
    ]);
    store.close();
  });
});

describe('a store that is too large', () => {
  const MIB = 1024 * 1024;

  it('shrinks to its size, keeps what others reported, and goes on to tell', async () => {
    const parts = await openParts();
    const { store, clock } = parts;
    const report = reporters(parts);
    const maxBytes = 8 * MIB;
    const retention = new Retention({ ...parts, keepMs: 1e12, maxReports: ALL, maxBytes, keepAuditMs: 1e12 });
    retention.start();
    report('w1', anomalyOf('w1-1', '10.8.8.8'), sampleEvidence('w1-1'), sampleFlowReport());
    const packets = 'A'.repeat(100_000);
    for (let round = 0; round < 10; round++) {
      for (let index = 0; index < 20; index++) {
        const id = `w2-${round}-${index}`;
        report('w2', anomalyOf(id, peerOf(round * 20 + index)), { ...sampleEvidence(id), pcapng: packets });
      }
      clock.advance(3000);
      expect(store.usedBytes()).toBeLessThanOrEqual(maxBytes);
    }
    expect(storedOf(store, 'w1')).toEqual(['anomaly w1-1', 'evidence w1-1', 'flow-report']);
    report('w3', anomalyOf('w3-1', '10.7.7.7', { kind: 'unexpected-destination' }), sampleEvidence('w3-1'));
    const opened = store.pending('ops', 1000).at(-1);
    expect(opened).toMatchObject({ type: 'opened', incident: { nodes: ['w3'] } });
    clock.advance(3000);
    expect(store.evidence('w3', 'w3-1')).toBeDefined();
    const { values } = await parts.metrics.storeBytes.get();
    expect(values[0]?.value).toBe(store.usedBytes());
    retention.stop();
    store.close();
  });

  it('forgets the incidents that are resolved with the last that was stored of them, not those of others', async () => {
    const parts = await openParts();
    const { store } = parts;
    const report = reporters(parts);
    report('w1', anomalyOf('w1-1', '10.8.8.8', { kind: 'volume' }));
    report('w2', ...times(1500, (index) => anomalyOf(`w2-${index}`, peerOf(index))));
    for (const id of ['INC-1', 'INC-2', 'INC-3']) parts.recorder.resolve(id, 'ann');
    report('w2', anomalyOf('w2-now', '10.6.6.6', { kind: 'unexpected-destination' }));
    const kept = store.member('w2', 'w2-now')?.incidentId ?? '';
    removeAll(store, { maxReports: ALL, maxBytes: MIB });
    expect(store.incident('INC-1')?.state).toBe('resolved');
    expect(store.member('w1', 'w1-1')).toBeDefined();
    expect(store.incident(kept)?.state).toBe('open');
    const ofFlood = times(1500, (index) => store.member('w2', `w2-${index}`)).filter(Boolean);
    expect(ofFlood.length).toBeLessThan(1000);
    store.close();
  });

  it('removes what receivers were sent of incidents that are over, where reports are not what fills it', async () => {
    const parts = await openParts({ messagesPerHour: 100_000 });
    const { store } = parts;
    const report = reporters(parts);
    report('w1', anomalyOf('w1-1', '10.8.8.8'));
    const notification = store.pending('ops', 1)[0];
    if (notification === undefined) throw new Error('expected a notification');
    const incident = { ...notification.incident, id: 'INC-99', message: 'x'.repeat(1000) };
    store.transaction(() => {
      for (let index = 0; index < 2000; index++) {
        store.enqueue({ ...notification, id: `old-${index}`, incident });
        store.updateDelivery({
          id: `old-${index}`,
          state: 'delivered',
          attempts: 1,
          nextAttemptMs: 0,
          reason: null,
        });
      }
    });
    removeAll(store, { maxReports: ALL, maxBytes: MIB });
    expect(store.usedBytes()).toBeLessThanOrEqual(MIB);
    expect(store.pending('ops', 10).map(({ id }) => id)).toEqual([notification.id]);
    expect(storedOf(store, 'w1')).toEqual(['anomaly w1-1']);
    store.close();
  });
});

describe('the shares of agents', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-shares-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** The shares as they are kept, and as they are when everything is counted; of a store that is closed. */
  async function sharesOf(path: string): Promise<{ kept: unknown; counted: unknown }> {
    const database = await openDatabase(path, MIGRATIONS);
    const kept = database
      .prepare('SELECT agent, part, row_count, bytes FROM shares WHERE row_count > 0 ORDER BY agent, part')
      .all();
    const counted = database
      .prepare(
        `SELECT agent, iif(rank = 0, 'plain', 'findings') AS part, COUNT(*) AS row_count,
           SUM(length(CAST(report AS BLOB))) AS bytes FROM reports GROUP BY 1, 2
         UNION ALL SELECT agent, 'members', COUNT(*), SUM(length(CAST(latest AS BLOB))) FROM members GROUP BY 1
         UNION ALL SELECT '', 'messages', COUNT(*), SUM(length(CAST(snapshot AS BLOB))) FROM outbox HAVING COUNT(*) > 0
         ORDER BY agent, part`,
      )
      .all();
    database.close();
    return { kept, counted };
  }

  it('are those of the rows, whatever happened to these, and after a transaction that failed', async () => {
    const path = join(folder, 'collector.db');
    const parts = await openParts({ store: await openSqliteStore(path) });
    const { store, recorder } = parts;
    const report = reporters(parts);
    const random = seededRandom(20_261_128);
    const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;
    for (let round = 0; round < 400; round++) {
      const agent = pick(['w1', 'w2', 'w3']);
      const id = `${agent}-${Math.floor(random() * 40)}`;
      const kind = pick(['unexpected-peer', 'unexpected-destination', 'scan', 'volume'] as const);
      report(
        agent,
        sampleFlowReport(),
        anomalyOf(id, peerOf(Math.floor(random() * 30)), {
          kind,
          severity: pick(['warning', 'critical']),
          count: round,
          message: 'ü'.repeat(round % 50),
        }),
        sampleEvidence(id),
      );
      const action = Math.floor(random() * 8);
      if (action === 0) recorder.resolve(`INC-${1 + Math.floor(random() * 20)}`, 'ann');
      if (action === 1) store.removeExcess({ maxReports: 300, maxRows: 50 });
      if (action === 2) store.removeExcess({ maxReports: ALL, maxBytes: 300_000, maxRows: 50 });
      if (action === 3 && round % 100 === 0) {
        store.remove({ beforeMs: parts.clock.now(), maxReports: ALL, maxRows: 20 });
      }
    }
    const failing = (): void =>
      store.transaction(() => {
        store.insertReport({ agent: 'w1', epoch: TEST_EPOCH, sequence: 1e6 }, sampleFlowReport(), 0);
        throw new Error('in the middle');
      });
    expect(failing).toThrow('in the middle');
    store.close();
    const { kept, counted } = await sharesOf(path);
    expect(kept).toEqual(counted);
    expect(kept).toHaveLength(8);
  });

  it('are counted once for a store of an earlier version, which then removes in the right order', async () => {
    const path = join(folder, 'old.db');
    const before = await openDatabase(path, MIGRATIONS.slice(0, 8));
    const insert = before.prepare(
      'INSERT INTO reports (agent, epoch, sequence, received_ms, report) VALUES (?, ?, ?, 0, ?)',
    );
    const reports: Report[] = [
      sampleAnomaly(1),
      sampleEvidence('w1-1'),
      { ...sampleAnomaly(1), count: 2 },
      sampleEvidence('w1-1'),
      sampleFlowReport(),
    ];
    for (const [index, report] of reports.entries()) {
      insert.run('w1', TEST_EPOCH, index + 1, JSON.stringify(report));
    }
    before.close();
    const store = await openSqliteStore(path);
    expect(store.evidence('w1', 'w1-1')).toEqual(reports[1]);
    store.removeExcess({ maxReports: 2, maxRows: 100 });
    expect(storedOf(store, 'w1')).toEqual(['evidence w1-1', 'anomaly w1-1']);
    expect(store.reportsAfter(0, 9)[1]?.report).toEqual(reports[2]);
    store.close();
    const { kept, counted } = await sharesOf(path);
    expect(kept).toEqual(counted);
  });
});

describe('what keeps the shares', () => {
  it('finds the reports of an anomaly by its name, and does not search all of the agent', async () => {
    const database = await openDatabase(':memory:', MIGRATIONS);
    const triggers = database.prepare("SELECT sql FROM sqlite_master WHERE type = 'trigger'").all();
    const updates = triggers.flatMap(
      (row) => (row as { sql: string }).sql.match(/UPDATE reports[^;]*/g) ?? [],
    );
    expect(updates).toHaveLength(4);
    for (const update of updates) {
      const sql = `EXPLAIN QUERY PLAN ${update.replaceAll(/(?:NEW|OLD)\.\w+/g, '1')}`;
      const plan = (database.prepare(sql).all() as { detail: string }[]).map(({ detail }) => detail);
      expect(plan).toEqual([
        'SEARCH reports USING INDEX reports_findings (agent=? AND anomaly=? AND type=?)',
      ]);
    }
    database.close();
  });
});

describe('a round of removal', () => {
  /** A removal on a database of its own; `statements` are those that it runs, `plans` what SQLite makes of each. */
  async function openRemoval() {
    const database = await openDatabase(':memory:', MIGRATIONS);
    const plans: string[] = [];
    const statements: string[] = [];
    const watched = {
      prepare: (sql: string) => {
        const values = times(sql.split('?').length - 1, () => 1);
        const rows = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values);
        plans.push(...rows.map((row) => (row as { detail: string }).detail));
        const statement = database.prepare(sql);
        const noted =
          <Result>(run: (...values: never[]) => Result) =>
          (...values: never[]): Result => {
            statements.push(sql);
            return run(...values);
          };
        return {
          run: noted((...values) => statement.run(...values)),
          all: noted((...values) => statement.all(...values)),
        };
      },
    };
    const insert = database.prepare(
      "INSERT INTO reports (agent, epoch, sequence, received_ms, report, rank, bytes) VALUES (?, 'e', ?, 0, '{}', ?, 2)",
    );
    const removal = new FairRemoval(new Queries(':memory:', watched as never));
    return { database, insert, removal, plans, statements };
  }

  it('costs what it removes, not what is stored: no table is scanned', async () => {
    const { database, insert, removal, plans } = await openRemoval();
    for (const rank of [0, 1, 2]) insert.run('w1', rank, rank);
    database.transaction(() => removal.remove({ maxReports: 0, maxBytes: 1 }, 100));
    const scans = plans.filter((plan) => /^SCAN (reports|members|incidents)/.test(plan));
    expect(scans).toEqual([]);
    expect(plans.some((plan) => plan.includes('reports_by_worth'))).toBe(true);
    database.close();
  });

  it('looks at each agent once in each step, however many are a little beyond the level', async () => {
    const { database, insert, removal, statements } = await openRemoval();
    const agents = 500;
    database.transaction(() => {
      for (let number = 0; number < 10 * agents; number++) insert.run(`w${number % agents}`, number, 2);
    });
    const removed = database.transaction(() => removal.remove({ maxReports: 9 * agents }, 10_000));
    expect(removed.reports).toBe(agents);
    // Searches for two ranks of incidents that are resolved, for what is to go, and the removal itself.
    expect(statements.length).toBeLessThan(10 * agents);
    expect(statements.filter((sql) => sql.includes('SUM(row_count)'))).toHaveLength(1);
    database.close();
  });
});
