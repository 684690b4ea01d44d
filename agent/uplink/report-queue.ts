/**
 * Reports on their way from the packet path to the spool: collected while a block of packets is handled, and written
 * in one transaction at its end. While the disk refuses, they wait here, within a bound.
 */
import { messageOf } from '../../common/errors.ts';
import type { Report } from '../../common/event.ts';
import type { Logger } from '../../common/log.ts';
import type { Spool } from './spool.ts';

/** Reports that wait for the disk; more are turned away and counted. */
const MAX_WAITING = 10_000;

interface ReportQueueOptions {
  readonly spool: Spool;
  readonly logger: Logger;
  /** Called after reports reached the disk. */
  readonly stored: (reports: readonly Report[]) => void;
}

export class ReportQueue {
  readonly #options: ReportQueueOptions;
  #waiting: Report[] = [];
  #isDiskFailing = false;
  /** Reports lost because the disk refused for too long. */
  lost = 0;

  constructor(options: ReportQueueOptions) {
    this.#options = options;
  }

  /** Takes a report; it is on disk after the next `flush`. */
  push(report: Report): void {
    if (this.#waiting.length >= MAX_WAITING) this.lost++;
    else this.#waiting.push(report);
  }

  /** Writes what was collected to the spool. Keeps it when the disk refuses. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const reports = this.#waiting;
    try {
      this.#options.spool.append(reports);
    } catch (error) {
      if (!this.#isDiskFailing)
        this.#options.logger.error({ reason: messageOf(error) }, 'the spool refuses reports');
      this.#isDiskFailing = true;
      return;
    }
    this.#waiting = [];
    if (this.#isDiskFailing)
      this.#options.logger.info({ reports: reports.length }, 'the spool takes reports again');
    this.#isDiskFailing = false;
    this.#options.stored(reports);
  }
}
