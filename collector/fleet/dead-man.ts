/**
 * The dead-man's switch of the collector itself: a service elsewhere is asked for its URL every interval, and tells
 * people when that stops. It is asked only while the collector can do its work: its store takes writes, and no
 * receiver's queue hangs.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { connectionFault } from '../notify/fault.ts';
import type { Fetch } from '../notify/post.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';

/** A service that has not answered by then was not reached. Shorter than the shortest interval. */
export const PING_TIMEOUT_MS = 8000;
/** Where the store keeps the time of the last look: what cannot be written is no proof. */
const CURSOR = 'dead-man';

export interface DeadManOptions {
  /** A secret: whoever has it can pretend that the collector lives. */
  readonly url: string;
  readonly intervalMs: number;
  readonly store: Store;
  readonly guard: StoreGuard;
  /** Whether people are told of what happens. */
  readonly isDispatching: () => boolean;
  readonly clock: Clock;
  readonly fetch: Fetch;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
}

export class DeadMan {
  readonly #options: DeadManOptions;
  #url: string;
  #timer: Timer | undefined;
  #asking: AbortController | undefined;
  #ping: Promise<void> = Promise.resolve();
  /** What was last logged; empty while all is well. */
  #problem = '';

  constructor(options: DeadManOptions) {
    this.#options = options;
    this.#url = options.url;
  }

  /** Asks for another URL from the next time on. */
  replaceUrl(url: string): void {
    this.#url = url;
  }

  /** Asks at once, and then every interval. */
  start(): void {
    const { clock, intervalMs } = this.#options;
    const ping = (): void => {
      this.#ping = this.#pingOnce();
    };
    this.#timer = clock.every(intervalMs, ping);
    ping();
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#asking?.abort();
    await this.#ping;
  }

  async #pingOnce(): Promise<void> {
    const { metrics } = this.#options;
    const fault = this.#ownFault();
    if (fault !== undefined) {
      metrics.deadManPings.inc({ result: 'withheld' });
      this.#note(`the dead-man URL is not asked: ${fault}`);
      return;
    }
    const failure = await this.#ask();
    metrics.deadManPings.inc({ result: failure === undefined ? 'delivered' : 'failed' });
    this.#note(failure === undefined ? '' : `the dead-man URL cannot be asked: ${failure}`);
  }

  /** Why this collector is no help now, if it is not. */
  #ownFault(): string | undefined {
    const { store, guard, clock, isDispatching } = this.#options;
    if (!guard(() => store.saveCursor(CURSOR, Math.floor(clock.now())))) return 'the store takes no writes';
    return isDispatching() ? undefined : 'a receiver hangs, and nobody is told';
  }

  /** Why the service was not reached, if it was not; without its URL. */
  async #ask(): Promise<string | undefined> {
    const { fetch, clock } = this.#options;
    const asking = new AbortController();
    this.#asking = asking;
    const timeout = clock.after(PING_TIMEOUT_MS, () => asking.abort());
    try {
      // GET, because every such service takes it.
      const response = await fetch(this.#url, { signal: asking.signal, redirect: 'manual' });
      await response.body?.cancel();
      return response.ok ? undefined : `HTTP status ${response.status}`;
    } catch (error) {
      if (asking.signal.aborted) return 'no answer in time';
      return connectionFault(error instanceof Error ? error.cause : undefined);
    } finally {
      timeout.cancel();
    }
  }

  /** One line when a problem begins or becomes another, and one when it is over. */
  #note(problem: string): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    if (problem === '') this.#options.logger.info('the dead-man URL is asked again');
    else this.#options.logger.warn(problem);
  }
}
