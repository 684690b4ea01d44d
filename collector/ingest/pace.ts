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
import { TokenBucket, TokenBuckets } from '../edge/token-bucket.ts';

/** So many seconds' worth of the allowance may come at once. */
const BURST_SECONDS = 4;
/** A debt that takes longer to pay off is refused. */
const MAX_DEBT_MS = 10_000;
/** How much of the collector's time one agent may use. */
const WORK_SHARE = 0.25;
/** How much of it all of them together, so that those who have little to say need not wait. */
const WORK_SHARE_OF_ALL = 0.75;
/** Who has used no more than this part of its allowance has little to say. */
const LITTLE = 0.02;
/** Nobody waits longer for what others use: a peer that is not read for longer seems to be gone. */
const MAX_WAIT_FOR_OTHERS_MS = 10_000;
/** Agents whose use is remembered; more than a collector knows by default. */
const MAX_AGENTS = 20_000;
const BURST_WORK_MS = 1000 * WORK_SHARE * BURST_SECONDS;
/** No message counts for more, whatever a clock that is set says; and a slow disk is not the agent's fault. */
const MAX_WORK_MS = 2000;

export interface PaceLimits {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
}

/**
 * How much of the collector's time each agent has used, and all of them, in milliseconds. Of the agent and not of its session,
 * or whoever connects again would begin anew.
 */
export class WorkShares {
  readonly #ofAgents = new TokenBuckets({ perSecond: 1000 * WORK_SHARE, burst: BURST_WORK_MS }, MAX_AGENTS);
  readonly #ofAll: TokenBucket;

  constructor(nowMs: number) {
    const perSecond = 1000 * WORK_SHARE_OF_ALL;
    this.#ofAll = new TokenBucket({ perSecond, burst: perSecond * BURST_SECONDS }, nowMs);
  }

  take(agent: string, durationMs: number, nowMs: number): void {
    this.#ofAgents.of(agent, nowMs).take(durationMs, nowMs);
    this.#ofAll.take(durationMs, nowMs);
  }

  /** How long until the agent may go on. */
  waitMs(agent: string, nowMs: number): number {
    const own = this.#ofAgents.of(agent, nowMs);
    const hasLittle = own.waitMs((1 - LITTLE) * BURST_WORK_MS, nowMs) === 0;
    const forOthersMs = hasLittle ? 0 : Math.min(this.#ofAll.waitMs(0, nowMs), MAX_WAIT_FOR_OTHERS_MS);
    return Math.max(own.waitMs(0, nowMs), forOthersMs);
  }
}

export interface PaceOptions {
  readonly work: WorkShares;
  readonly socket: Pick<WebSocket, 'pause' | 'resume'>;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  readonly limits: PaceLimits;
}

export class Pace {
  readonly #options: PaceOptions;
  readonly #messages: TokenBucket;
  readonly #bytes: TokenBucket;
  /** Whose work it is; undefined before hello, which is little work. */
  #agent: string | undefined;
  #pause: Timer | undefined;

  constructor(options: PaceOptions) {
    this.#options = options;
    const { messagesPerSecond, bytesPerSecond } = options.limits;
    const bucket = (perSecond: number): TokenBucket =>
      new TokenBucket({ perSecond, burst: perSecond * BURST_SECONDS }, options.clock.monotonic());
    this.#messages = bucket(messagesPerSecond);
    this.#bytes = bucket(bytesPerSecond);
  }

  /** Notes a message, pings and pongs included; answers whether the peer can still be held back. */
  note(bytes: number): boolean {
    const nowMs = this.#options.clock.monotonic();
    this.#messages.take(1, nowMs);
    this.#bytes.take(bytes, nowMs);
    this.#payOff();
    return this.#trafficDebtMs(nowMs) <= MAX_DEBT_MS;
  }

  /** Notes how long a message took to be handled. */
  noteWork(durationMs: number): void {
    if (this.#agent === undefined) return;
    const { work, clock } = this.#options;
    work.take(this.#agent, Math.min(Math.max(durationMs, 0), MAX_WORK_MS), clock.monotonic());
    this.#payOff();
  }

  /** The peer said which agent it is. */
  belongTo(agent: string): void {
    this.#agent = agent;
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
    this.#pause = this.#options.clock.after(Math.ceil(debtMs), () => {
      this.#pause = undefined;
      const restMs = this.#debtMs();
      if (restMs > 0) this.#waitFor(restMs);
      else this.#options.socket.resume();
    });
  }

  #debtMs(): number {
    const nowMs = this.#options.clock.monotonic();
    const workDebtMs = this.#agent === undefined ? 0 : this.#options.work.waitMs(this.#agent, nowMs);
    return Math.max(this.#trafficDebtMs(nowMs), workDebtMs);
  }

  #trafficDebtMs(nowMs: number): number {
    return Math.max(this.#messages.waitMs(0, nowMs), this.#bytes.waitMs(0, nowMs));
  }
}
