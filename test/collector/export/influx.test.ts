/** Against a real InfluxDB 1.x, which the test starts on free ports and ends by its process id. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InfluxDB } from 'influx';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ANOMALY_MEASUREMENT,
  FLOW_MEASUREMENT,
  INFLUX_CURSOR,
  InfluxExporter,
  TagValues,
  toPoint,
} from '../../../collector/export/influx.ts';
import { Retention } from '../../../collector/store/retention.ts';
import type { Report } from '../../../common/event.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';
import { InfluxProcess, missingForInflux } from '../../support/influx-process.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

async function openExporter(port: number, database: string, secrets: { password?: string } = {}) {
  const parts = await openParts();
  const target = { host: '127.0.0.1', port, tls: false, database, username: 'exporter', ...secrets };
  const exporter = new InfluxExporter({ ...parts, target, random: () => 0.5 });
  stops.push(() => exporter.stop());
  const record = (reports: Report[]): void => {
    const next = parts.store.lastSequence('w1', TEST_EPOCH) + 1;
    parts.recorder.record(
      'w1',
      TEST_EPOCH,
      reports.map((report, index) => ({ sequence: next + index, report })),
    );
  };
  /** Moves time on until everything is written. */
  const written = async (id: number): Promise<void> => {
    await vi.waitFor(
      () => {
        parts.clock.advance(500);
        expect(parts.store.cursor(INFLUX_CURSOR)).toBe(id);
      },
      { timeout: 15_000, interval: 20 },
    );
  };
  return { ...parts, exporter, record, written };
}

const missing = missingForInflux();

describe.skipIf(missing !== undefined)(`with InfluxDB (needs ${missing ?? 'nothing more'})`, () => {
  let influx: InfluxProcess;
  let folder = '';
  let port = 0;
  let reader: InfluxDB;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-influx-'));
    influx = await InfluxProcess.open(folder);
    ({ port, client: reader } = influx);
  });

  afterAll(async () => {
    await influx.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it('makes the database, and writes flows and anomalies that can be read back', async () => {
    const { exporter, record, written, metrics } = await openExporter(port, 'readback');
    record([sampleFlowReport(), sampleAnomaly(1, 'a "quoted"\nmessage, with = and \\')]);
    exporter.start();
    await written(2);
    const flows = await reader.query<Record<string, unknown>>(`select * from ${FLOW_MEASUREMENT}`, {
      database: 'readback',
    });
    expect(flows).toHaveLength(1);
    expect(flows[0]).toMatchObject({
      node: 'w1',
      service: 'object-manager',
      state: 'closed',
      allowed: 'true',
      source_ip: '10.77.9.66',
      source_bytes: 2400,
      destination_port: 43_800,
      rule: 'nodes',
    });
    expect(flows[0]?.['time']).toMatchObject({ _nanoISO: '2026-11-23T09:42:12.260000001Z' });
    const anomalies = await reader.query<Record<string, unknown>>(`select * from ${ANOMALY_MEASUREMENT}`, {
      database: 'readback',
    });
    expect(anomalies).toHaveLength(1);
    expect(anomalies[0]).toMatchObject({
      kind: 'unexpected-peer',
      severity: 'critical',
      count: 1,
      bytes: 4200,
      message: 'a "quoted" message, with = and \\',
    });
    expect((await metrics.exportedPoints.get()).values[0]?.value).toBe(2);
  });

  it('keeps reports of one moment apart, and writes no report twice when it goes over them again', async () => {
    const { exporter, record, written, store } = await openExporter(port, 'again');
    record(Array.from({ length: 700 }, () => sampleFlowReport()));
    exporter.start();
    await written(700);
    store.saveCursor(INFLUX_CURSOR, 0);
    await written(700);
    const rows = await reader.query<{ count: number }>(
      `select count(source_bytes) from ${FLOW_MEASUREMENT}`,
      {
        database: 'again',
      },
    );
    expect(rows[0]?.count).toBe(700);
  });

  it('makes the database again when somebody dropped it', async () => {
    const { exporter, record, written } = await openExporter(port, 'dropped');
    record([sampleFlowReport()]);
    exporter.start();
    await written(1);
    await reader.dropDatabase('dropped');
    record([sampleFlowReport()]);
    await written(2);
    const rows = await reader.query(`select * from ${FLOW_MEASUREMENT}`, { database: 'dropped' });
    expect(rows).toHaveLength(1);
  });

  it('goes on after a batch that the database refuses in part', async () => {
    const { exporter, record, written, metrics } = await openExporter(port, 'clash');
    await reader.createDatabase('clash');
    await reader.writePoints([{ measurement: FLOW_MEASUREMENT, fields: { source_bytes: 'text' } }], {
      database: 'clash',
    });
    record([sampleFlowReport()]);
    exporter.start();
    await written(1);
    expect((await metrics.exportRejected.get()).values[0]?.value).toBe(1);
  });
});

describe('while the database is away', () => {
  it('keeps its place, tries again, and says no secret', async () => {
    const lines: string[] = [];
    const { exporter, record, store, clock, metrics, logger } = await openExporter(1, 'away', {
      password: 'PasswordOfInflux',
    });
    vi.spyOn(logger, 'warn').mockImplementation(
      (...values: unknown[]) => void lines.push(JSON.stringify(values)),
    );
    record([sampleFlowReport()]);
    exporter.start();
    await vi.waitFor(
      async () => {
        clock.advance(10_000);
        expect((await metrics.exportFailures.get()).values[0]?.value).toBeGreaterThanOrEqual(3);
      },
      { timeout: 10_000 },
    );
    expect(store.cursor(INFLUX_CURSOR)).toBe(0);
    expect((await metrics.exportWaiting.get()).values[0]?.value).toBe(1);
    expect(lines).toHaveLength(1);
    expect(lines.join()).not.toContain('PasswordOfInflux');
    vi.restoreAllMocks();
  });

  it('writes to a database that it may not make', async () => {
    const receiver = await HttpReceiver.open();
    stops.push(() => receiver.close());
    receiver.answers = [{ status: 403, body: '{"error":"not an administrator"}' }, { status: 204 }];
    const { exporter, record, clock, metrics } = await openExporter(
      Number(new URL(receiver.url('/')).port),
      'x',
    );
    record([sampleFlowReport()]);
    exporter.start();
    clock.advance(0);
    await vi.waitFor(async () => expect((await metrics.exportedPoints.get()).values[0]?.value).toBe(1));
    expect(receiver.requests.map(({ path }) => path.split('?')[0])).toEqual(['/query', '/write']);
  });

  it('takes the way that InfluxDB 2 and 3 kept from 1: credentials in a header, never in the address', async () => {
    const receiver = await HttpReceiver.open();
    stops.push(() => receiver.close());
    // What InfluxDB 3 says of CREATE DATABASE, then a token that is not valid yet, then success.
    receiver.answers = [{ status: 400, body: '{"error":"not supported"}' }, { status: 401 }, { status: 204 }];
    const { exporter, record, clock, metrics } = await openExporter(
      Number(new URL(receiver.url('/')).port),
      'bucket',
      { password: 'TokenOfInflux' },
    );
    record([sampleFlowReport()]);
    exporter.start();
    clock.advance(0);
    await vi.waitFor(async () => expect((await metrics.exportFailures.get()).values[0]?.value).toBe(1));
    await vi.waitFor(() => expect(clock.pending).toBeGreaterThan(0));
    clock.advance(10_000);
    await vi.waitFor(async () => expect((await metrics.exportedPoints.get()).values[0]?.value).toBe(1));
    const basic = `Basic ${Buffer.from('exporter:TokenOfInflux').toString('base64')}`;
    expect(receiver.requests.map(({ headers }) => headers.authorization)).toEqual([basic, basic, basic]);
    expect(receiver.requests.map(({ path }) => path).join()).not.toContain('TokenOfInflux');
    expect(receiver.requests.at(-1)?.path).toMatch(/^\/write\?.*db=bucket/);
  });

  it('counts what retention took before it was written: the room for what waits is bounded', async () => {
    const { record, store, clock, guard, metrics } = await openExporter(1, 'away');
    const retention = new Retention({
      store,
      guard,
      clock,
      metrics,
      ownLimits: { note: () => {} },
      keepMs: 86_400_000,
      maxReports: 100,
      keepAuditMs: 86_400_000,
      exporter: INFLUX_CURSOR,
    });
    record(Array.from({ length: 250 }, () => sampleFlowReport()));
    store.saveCursor(INFLUX_CURSOR, 30);
    retention.start();
    clock.advance(3_600_000);
    retention.stop();
    expect(store.reportsAfter(0, 1000)).toHaveLength(100);
    expect((await metrics.exportLost.get()).values[0]?.value).toBe(120);
    expect(store.waitingFor(INFLUX_CURSOR)).toBe(100);
  });

  it('ends a write whose answer never comes', async () => {
    const receiver = await HttpReceiver.open();
    stops.push(() => receiver.close());
    receiver.answers = ['silence'];
    const { exporter, record, clock, metrics } = await openExporter(
      Number(new URL(receiver.url('/')).port),
      'x',
    );
    record([sampleFlowReport()]);
    exporter.start();
    clock.advance(0);
    await vi.waitFor(() => expect(receiver.requests).toHaveLength(1));
    clock.advance(20_000);
    await vi.waitFor(async () => expect((await metrics.exportFailures.get()).values[0]?.value).toBe(1));
  });
});

describe('toPoint', () => {
  const stored = { id: 1, agent: 'w1', receivedMs: Date.UTC(2026, 0, 1), sequence: 12_345 };

  it('takes the time of the event in microseconds, and the sequence for what is below', () => {
    const point = toPoint({ ...stored, report: sampleFlowReport() }, new TagValues());
    expect(point?.timestamp).toBe(`${Date.UTC(2026, 10, 23, 9, 42, 12, 260)}000345`);
  });

  it('takes the time of arrival for an event whose time is no day', () => {
    const report = { ...sampleAnomaly(1), last: '2026-13-41T09:42:12Z' };
    const point = toPoint({ ...stored, report }, new TagValues());
    expect(point?.timestamp).toBe(`${Date.UTC(2026, 0, 1)}000345`);
  });
});

describe('TagValues', () => {
  it('cleans what would break a line, and knows only so many values', () => {
    const tags = new TagValues();
    expect(tags.limit('node', 'a\nb\\')).toBe('a b/');
    expect(tags.limit('node', ' \u0000 ')).toBe('none');
    for (let index = 0; index < 3000; index++) tags.limit('node', `n${index}`);
    expect(tags.limit('node', 'one-more')).toBe('other');
    expect(tags.limit('node', 'n0')).toBe('n0');
    expect(tags.limit('service', 'one-more')).toBe('one-more');
  });
});
