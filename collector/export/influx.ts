/**
 * Writes flows and anomalies to InfluxDB 1.x (and to 2.x and 3.x through their 1.x compatibility).
 *
 * A reader with a cursor over the stored reports: the cursor moves after the database took a batch, so every report
 * arrives at least once. It is no harm when one arrives twice: a point's time is the event's end in whole microseconds
 * plus the sequence modulo 1000 in nanoseconds, so the same report overwrites its own point, and two reports of one
 * microsecond keep apart.
 */
import { FieldType, InfluxDB, type IPoint } from 'influx';
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { plainText } from '../../common/plain-text.ts';
import { parseEventTime } from '../incident/event-time.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { retryDelayMs } from '../notify/retry.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store, StoredReport } from '../store/store.ts';

/** Name of the cursor in the store. */
export const INFLUX_CURSOR = 'influx';
export const FLOW_MEASUREMENT = 'plasmawatch_flow';
export const ANOMALY_MEASUREMENT = 'plasmawatch_anomaly';

const BATCH_REPORTS = 500;
/** How often it is looked whether there is something new; what arrived until then is written together. */
const GATHER_MS = 1000;
const REQUEST_TIMEOUT_MS = 15_000;
/** A request whose answer stops in the middle never ends by the client's own timeout. */
const WRITE_TIMEOUT_MS = 20_000;
/** After the store failed. */
const STORE_RETRY_MS = 10_000;
/** Tag values make series, and series cost memory for ever: what comes beyond so many values a tag is `other`. */
const MAX_TAG_VALUES = 2000;
const MAX_TAG_LENGTH = 128;

export interface InfluxTarget {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly database: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
}

export interface InfluxExporterOptions {
  readonly target: InfluxTarget;
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
  /** From 0 to 1, 1 excluded; for jitter. */
  readonly random: () => number;
}

export class InfluxExporter {
  readonly #options: InfluxExporterOptions;
  #client: InfluxDB;
  #password: string | undefined;
  readonly #tags = new TagValues();
  #isRunning = false;
  #timer: Timer | undefined;
  #run: Promise<void> = Promise.resolve();
  #failures = 0;
  #hasDatabase = false;

  constructor(options: InfluxExporterOptions) {
    this.#options = options;
    this.#client = createClient(options.target);
    this.#password = options.target.password;
  }

  /** Writes with another password from the next batch on. */
  replacePassword(password: string | undefined): void {
    if (password === this.#password) return;
    this.#password = password;
    this.#client = createClient({ ...this.#options.target, password });
  }

  start(): void {
    this.#isRunning = true;
    this.#schedule(0);
  }

  /** Resolves when no write is under way any more. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#timer?.cancel();
    await this.#run;
  }

  #schedule(delayMs: number): void {
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#run = this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    let waitMs: number | undefined = 0;
    while (waitMs === 0 && this.#isRunning) waitMs = await this.#writeBatch();
    if (this.#isRunning) this.#schedule(waitMs ?? GATHER_MS);
  }

  /** Returns how long to wait before the next batch; undefined when everything is written. */
  async #writeBatch(): Promise<number | undefined> {
    const { store, guard, metrics } = this.#options;
    let reports: StoredReport[] = [];
    const isRead = guard(() => {
      reports = store.reportsAfter(store.cursor(INFLUX_CURSOR), BATCH_REPORTS);
      metrics.exportWaiting.set(store.waitingFor(INFLUX_CURSOR));
    });
    if (!isRead) return STORE_RETRY_MS;
    const last = reports.at(-1);
    if (last === undefined) return undefined;
    const points = reports
      .map((report) => toPoint(report, this.#tags))
      .filter((point) => point !== undefined);
    const failure = points.length === 0 ? undefined : await this.#write(points);
    if (failure !== undefined && !failure.isFinal) return this.#backOff(failure.reason);
    if (failure === undefined) metrics.exportedPoints.inc(points.length);
    else this.#reject(points.length, failure.reason);
    this.#recover();
    return guard(() => store.saveCursor(INFLUX_CURSOR, last.id)) ? 0 : STORE_RETRY_MS;
  }

  async #write(points: IPoint[]): Promise<WriteFailure | undefined> {
    try {
      await this.#ensureDatabase();
      await this.#withTimeout(this.#client.writePoints(points, { precision: 'n' }));
      return undefined;
    } catch (error) {
      const status = statusOf(error);
      if (status === 404) this.#hasDatabase = false;
      // 400: some points clash with what is there (InfluxDB kept the others); they would for ever.
      return {
        isFinal: status === 400 && this.#hasDatabase,
        reason: status === undefined ? 'no answer' : `HTTP status ${status}`,
      };
    }
  }

  /** Only an administrator may make a database: where that is refused, it may be there all the same. */
  async #ensureDatabase(): Promise<void> {
    if (this.#hasDatabase) return;
    try {
      await this.#withTimeout(this.#client.createDatabase(this.#options.target.database));
    } catch (error) {
      if (statusOf(error) === undefined) throw error;
    }
    this.#hasDatabase = true;
  }

  async #withTimeout(work: Promise<void>): Promise<void> {
    let timer: Timer | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = this.#options.clock.after(WRITE_TIMEOUT_MS, () => reject(new Error('no answer in time')));
    });
    try {
      await Promise.race([work, timeout]);
    } finally {
      timer?.cancel();
    }
  }

  #backOff(reason: string): number {
    const { metrics, logger, target, random } = this.#options;
    metrics.exportFailures.inc();
    this.#failures++;
    if (this.#failures === 1) {
      logger.warn(
        { code: 'PW_INFLUX', host: target.host, reason },
        'InfluxDB does not take points; will try again',
      );
    }
    return retryDelayMs(this.#failures, random);
  }

  #reject(count: number, reason: string): void {
    const { metrics, logger } = this.#options;
    metrics.exportRejected.inc(count);
    logger.warn(
      { code: 'PW_INFLUX', count, reason },
      'InfluxDB refused a batch in part; it is not sent again',
    );
  }

  #recover(): void {
    if (this.#failures > 0) this.#options.logger.info('InfluxDB takes points again');
    this.#failures = 0;
  }
}

/**
 * A point of a report; none of evidence, which measures nothing. Addresses and numbers are fields: as tags they would
 * make a series each.
 */
export function toPoint({ sequence, receivedMs, report }: StoredReport, tags: TagValues): IPoint | undefined {
  if (report.type === 'evidence') return undefined;
  const node = tags.limit('node', report.node);
  const { flow } = report;
  const service = tags.limit('service', flow?.plasmawatch.service ?? 'none');
  if (report.type === 'anomaly') {
    return {
      measurement: ANOMALY_MEASUREMENT,
      tags: { node, service, kind: report.kind, severity: report.severity },
      fields: {
        id: plainText(report.id),
        source_ip: flow?.source.ip ?? '',
        destination_ip: flow?.destination.ip ?? '',
        count: report.count,
        bytes: report.bytes,
        message: plainText(report.message),
      },
      timestamp: pointTime(report.last, receivedMs, sequence),
    };
  }
  const { source, destination, network, plasmawatch, event } = report.flow;
  return {
    measurement: FLOW_MEASUREMENT,
    tags: { node, service, state: plasmawatch.state, allowed: String(report.verdict.allowed) },
    fields: {
      source_ip: source.ip,
      source_port: source.port,
      source_packets: source.packets,
      source_bytes: source.bytes,
      source_payload_bytes: plasmawatch.payload.source,
      destination_ip: destination.ip,
      destination_port: destination.port,
      destination_packets: destination.packets,
      destination_bytes: destination.bytes,
      destination_payload_bytes: plasmawatch.payload.destination,
      community_id: plainText(network.community_id),
      rule: plainText(report.verdict.rule ?? ''),
      reason: report.verdict.reason,
    },
    timestamp: pointTime(event.end, receivedMs, sequence),
  };
}

/** Tag values as they came, as long as they are few; and fit for InfluxDB's line protocol. */
export class TagValues {
  readonly #known = new Map<string, Set<string>>();

  limit(tag: string, value: string): string {
    const known = this.#known.get(tag) ?? new Set<string>();
    this.#known.set(tag, known);
    // A backslash before a separator would escape it, and an empty value is an error.
    const clean = plainText(value).replaceAll('\\', '/').slice(0, MAX_TAG_LENGTH).trim();
    if (clean === '') return 'none';
    if (known.has(clean)) return clean;
    if (known.size >= MAX_TAG_VALUES) return 'other';
    known.add(clean);
    return clean;
  }
}

interface WriteFailure {
  /** Whether the same points would be refused again. */
  readonly isFinal: boolean;
  /** Ours; what the database says may quote the request. */
  readonly reason: string;
}

/** Nanoseconds as text: more digits than a number holds. The last three are the sequence's. */
function pointTime(eventEnd: string, receivedMs: number, sequence: number): string {
  const time = parseEventTime(eventEnd) ?? BigInt(receivedMs) * 1_000_000n;
  return String(time - (time % 1000n) + BigInt(sequence % 1000));
}

function statusOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('res' in error)) return undefined;
  const { res } = error;
  if (typeof res !== 'object' || res === null || !('statusCode' in res)) return undefined;
  return typeof res.statusCode === 'number' ? res.statusCode : undefined;
}

/** The client tries once and keeps no state between requests: waiting and trying again is ours. */
function createClient({ host, port, tls, database, username, password }: InfluxTarget): InfluxDB {
  const always = { getDelay: () => 0, next: () => always, reset: () => always };
  return new InfluxDB({
    host: host.includes(':') ? `[${host}]` : host,
    port,
    protocol: tls ? 'https' : 'http',
    database,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    pool: { maxRetries: 0, requestTimeout: REQUEST_TIMEOUT_MS, backoff: always },
    schema: [
      {
        database,
        measurement: FLOW_MEASUREMENT,
        tags: ['node', 'service', 'state', 'allowed'],
        fields: {
          source_ip: FieldType.STRING,
          source_port: FieldType.INTEGER,
          source_packets: FieldType.INTEGER,
          source_bytes: FieldType.INTEGER,
          source_payload_bytes: FieldType.INTEGER,
          destination_ip: FieldType.STRING,
          destination_port: FieldType.INTEGER,
          destination_packets: FieldType.INTEGER,
          destination_bytes: FieldType.INTEGER,
          destination_payload_bytes: FieldType.INTEGER,
          community_id: FieldType.STRING,
          rule: FieldType.STRING,
          reason: FieldType.STRING,
        },
      },
      {
        database,
        measurement: ANOMALY_MEASUREMENT,
        tags: ['node', 'service', 'kind', 'severity'],
        fields: {
          id: FieldType.STRING,
          source_ip: FieldType.STRING,
          destination_ip: FieldType.STRING,
          count: FieldType.INTEGER,
          bytes: FieldType.INTEGER,
          message: FieldType.STRING,
        },
      },
    ],
  });
}
