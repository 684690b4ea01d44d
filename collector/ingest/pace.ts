/**
 * How fast one session is read. An agent that sends more than its allowance is not read for as long as it takes to be
 * within it again: TCP then holds the agent back, and its reports wait in its spool. What has arrived already cannot be
 * held back, so a peer whose messages in one go are worth a long wait is no agent.
 *
 * The time that its messages take to be handled counts, too, whatever makes them expensive: all agents share one
 * thread, and one that keeps it busy would keep the others waiting for their acknowledgements.
 */
import type { WebSocket } from 'ws';
import type { Clock, Timer } from '../../common/clock.ts';
import type { CollectorMetrics } from '../metrics.ts';
import { TokenBucket } from '../edge/token-bucket.ts';

/** So many seconds' worth of the allowance may come at once. */
const BURST_SECONDS = 4;
/** A debt that takes longer to pay off is refused. */
const MAX_DEBT_MS = 10_000;
/** How much of the collector's time one agent may use. */
const WORK_SHARE = 0.25;
/** No message counts for more, whatever a clock that is set says; and a slow disk is not the agent's fault. */
const MAX_WORK_MS = 2000;

export interface PaceLimits {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

export interface PaceOptions {
  readonly socket: Pick<WebSocket, 'pause' | 'resume'>;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  readonly limits: PaceLimits;
}

export class Pace {
  readonly #options: PaceOptions;
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  /** Milliseconds of work. */
  readonly #work: TokenBucket;
  #pause: Timer | undefined;

  constructor(options: PaceOptions) {
    this.#options = options;
    const { messagesPerSecond, bytesPerSecond } = options.limits;
    const bucket = (perSecond: number): TokenBucket =>
      new TokenBucket({ perSecond, burst: perSecond * BURST_SECONDS }, options.clock.now());
    this.#messages = bucket(messagesPerSecond);
    this.#bytes = bucket(bytesPerSecond);
    this.#work = bucket(1000 * WORK_SHARE);
  }

  /** Notes a message, pings and pongs included; answers whether the peer can still be held back. */
  note(bytes: number): boolean {
    const nowMs = this.#options.clock.now();
    this.#messages.take(1, nowMs);
    this.#bytes.take(bytes, nowMs);
    this.#payOff();
    return this.#trafficDebtMs(nowMs) <= MAX_DEBT_MS;
  }

  /** Notes how long a message took to be handled. */
  noteWork(durationMs: number): void {
    const nowMs = this.#options.clock.now();
    this.#work.take(Math.min(Math.max(durationMs, 0), MAX_WORK_MS), nowMs);
    this.#payOff();
  }

  /** The session is over. */
  end(): void {
    this.#pause?.cancel();
  }

  #payOff(): void {
    const debtMs = this.#debtMs();
    if (debtMs <= 0 || this.#pause !== undefined) return;
    this.#options.metrics.sessionsSlowed.inc();
    this.#options.socket.pause();
    this.#waitFor(debtMs);
  }

  #waitFor(debtMs: number): void {
    this.#pause = this.#options.clock.after(debtMs, () => {
      this.#pause = undefined;
      const restMs = this.#debtMs();
      if (restMs > 0) this.#waitFor(restMs);
      else this.#options.socket.resume();
    });
  }

  #debtMs(): number {
    const nowMs = this.#options.clock.now();
    return Math.max(this.#trafficDebtMs(nowMs), this.#work.waitMs(0, nowMs));
  }

  #trafficDebtMs(nowMs: number): number {
    return Math.max(this.#messages.waitMs(0, nowMs), this.#bytes.waitMs(0, nowMs));
  }
}
