/**
 * Reports on their way from the packet path to the spool: collected while a block of packets is handled, and written
 * in one transaction at its end. While the disk refuses, they wait here, within a bound, and are tried again once a
 * second: a full disk stops neither the capture nor the detectors.
 */
import type { Clock } from '../../common/clock.ts';
import type { Report } from '../../common/event.ts';
import type { Logger } from '../../common/log.ts';
import { isStoreError } from '../../common/sqlite.ts';
import { importanceOf, SHARES, type Importance } from './importance.ts';
import type { Spool } from './spool.ts';

/** Reports that wait in memory at a time; the fuller it is, the more important a report must be (importance.ts). */
export const MAX_WAITING_REPORTS = 10_000;
/** Evidence is taken while fewer reports wait: it has up to 64 KiB each. */
const MAX_WAITING_WITH_EVIDENCE = 1000;
/** Written at once: a try that fails costs no more than this. */
const PORTION_REPORTS = 500;
const RETRY_MS = 1000;
/**
 * Flow reports alone are written together after this time: each transaction waits for the disk and costs a millisecond of CPU
 * time. Whatever somebody may be notified of is written at once, and takes them along.
 */
const FLOW_REPORTS_DELAY_MS = 5000;

interface ReportQueueOptions {
  readonly spool: Spool;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after reports reached the disk. */
  readonly stored: (reports: readonly Report[]) => void;
}

export interface ReportQueueCounters {
  /** Reports that wait for the disk, now. */
  readonly waiting: number;
  /** Whether the disk refused the last write. */
  readonly isRefused: boolean;
  /** Reports lost because the disk refused for too long. */
  readonly lost: number;
}

/** A report on its way. */
interface Waiting {
  readonly report: Report;
  readonly importance: Importance;
}

export class ReportQueue {
  readonly #options: ReportQueueOptions;
  #waiting: Waiting[] = [];
  #isRefused = false;
  #notBeforeMs = 0;
  /** When the flow reports that wait were to be written; undefined where none waits. */
  #flowsDueMs: number | undefined;
  /** Whether something waits that is no flow report. */
  #isUrgent = false;
  #lost = 0;

  constructor(options: ReportQueueOptions) {
    this.#options = options;
  }

  counters(): ReportQueueCounters {
    return { waiting: this.#waiting.length, isRefused: this.#isRefused, lost: this.#lost };
  }

  /** Takes a report; it is on disk after the next `flush`, a flow report alone after one that is five seconds later. */
  push(report: Report, importance = importanceOf(report)): void {
    if (this.#waiting.length >= roomFor(importance)) {
      this.#lost++;
      return;
    }
    this.#waiting.push({ report, importance });
    if (report.type === 'flow-report')
      this.#flowsDueMs ??= this.#options.clock.monotonic() + FLOW_REPORTS_DELAY_MS;
    else this.#isUrgent = true;
  }

  /** Writes what was collected to the spool. Keeps it when the disk refuses. */
  flush(): void {
    const nowMs = this.#options.clock.monotonic();
    const isDue =
      this.#isUrgent || nowMs >= (this.#flowsDueMs ?? Infinity) || this.#waiting.length >= PORTION_REPORTS;
    if (isDue && nowMs >= this.#notBeforeMs) this.#writeAll();
  }

  /** The last `flush`, at once; what the disk refuses even now is lost. */
  end(): void {
    this.#writeAll();
    const reports = this.#waiting.length;
    if (reports === 0) return;
    this.#lost += reports;
    this.#waiting = [];
    this.#options.logger.error(
      { reports },
      `${reports} reports lost: the spool could not be written before shutdown`,
    );
  }

  #writeAll(): void {
    while (this.#waiting.length > 0) {
      const portion = this.#waiting.slice(0, PORTION_REPORTS);
      if (!this.#write(portion)) return;
      this.#waiting.splice(0, portion.length);
      this.#options.stored(portion.map(({ report }) => report));
    }
    this.#isUrgent = false;
    this.#flowsDueMs = undefined;
  }

  /** Whether the disk took them. Says when it begins to refuse, and when it takes reports again. */
  #write(portion: readonly Waiting[]): boolean {
    const { spool, clock, logger } = this.#options;
    try {
      spool.append(
        portion.map(({ report }) => report),
        portion.map(({ importance }) => importance),
      );
    } catch (error) {
      if (!isStoreError(error)) throw error;
      this.#notBeforeMs = clock.monotonic() + RETRY_MS;
      if (!this.#isRefused) {
        const consequence = 'the agent watches on, and reports wait in memory until it works';
        logger.error({ code: error.code }, `${error.message}: ${consequence}`);
      }
      this.#isRefused = true;
      return false;
    }
    if (this.#isRefused) {
      const counts = { waited: this.#waiting.length, lost: this.#lost };
      logger.info(counts, `the spool takes reports again: ${counts.waited} waited, ${counts.lost} are lost`);
    }
    this.#isRefused = false;
    return true;
  }
}

/** A report of that importance is taken while fewer reports wait. */
function roomFor(importance: Importance): number {
  return importance === 'evidence' ? MAX_WAITING_WITH_EVIDENCE : MAX_WAITING_REPORTS * SHARES[importance];
}
