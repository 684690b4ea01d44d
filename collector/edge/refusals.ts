/** Peers that were turned away: each is counted by reason, and a log line a minute and reason says how many. */
import type { Clock } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import type { CollectorMetrics } from '../metrics.ts';

const LOG_INTERVAL_MS = 60_000;

/** Each with a row in docs/troubleshooting.md. */
export const REFUSAL_REASONS = [
  'connecting-too-often',
  'crowded-out',
  'bad-handshake',
  'bad-request',
  'slow',
  'too-many-requests',
  'wrong-host',
  'wrong-api-token',
  'wrong-role',
  'wrong-token',
  'store-failed',
  'no-certificate',
  'wrong-certificate',
  'wrong-path',
  'from-a-browser',
  'bad-upgrade',
  'too-many-connections',
  'too-many-agents',
  'no-hello',
  'wrong-version',
  'bad-message',
  'wrong-name',
  'too-long',
  'too-fast',
  'silent',
  'does-not-read',
  'replaced',
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

export interface RefusalsOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: CollectorMetrics;
}

export class Refusals {
  readonly #options: RefusalsOptions;
  readonly #unlogged = new Map<RefusalReason, { count: number; loggedMs: number }>();

  constructor(options: RefusalsOptions) {
    this.#options = options;
  }

  /**
   * @param from the peer's address, or an agent's name that passed its check
   * @param problem a short line of ours that quotes nothing of what the peer sent
   */
  note(reason: RefusalReason, from: string, problem?: string): void {
    const { clock, logger, metrics } = this.#options;
    metrics.peersRefused.inc({ reason });
    const nowMs = clock.monotonic();
    const entry = this.#unlogged.get(reason) ?? { count: 0, loggedMs: -Infinity };
    entry.count++;
    this.#unlogged.set(reason, entry);
    if (nowMs - entry.loggedMs < LOG_INTERVAL_MS) return;
    logger.warn({ reason, from, count: entry.count, problem }, 'a peer was turned away');
    entry.count = 0;
    entry.loggedMs = nowMs;
  }
}
