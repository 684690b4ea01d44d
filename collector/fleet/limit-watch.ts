/**
 * Tells people when a limit of the collector itself is reached, and something is turned away or lost for it: whoever fills
 * a table would otherwise do so in silence. It is one story of the collector, which lasts as long as that goes on.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { StoreGuard } from '../store/health.ts';
import { COLLECTOR } from '../incident/reporter.ts';
import type { OwnStories } from './own-stories.ts';

const LOOK_INTERVAL_MS = 5000;
/** Over when nothing was turned away for so long. */
const QUIET_MS = 300_000;

/** What is told of each limit. */
const MESSAGES = {
  agents:
    'agents with new names are turned away, and their nodes are not watched (limits.maxAgents): retire names that are not yours, enrol agents, and set fleet.enrolledOnly',
  connections:
    'connections of agents are turned away, and their nodes are not watched meanwhile (limits.maxConnections)',
  store:
    'the store is full, and evidence of incidents that are not resolved is removed (store.maxSize, store.maxReports)',
} as const;

export type OwnLimit = keyof typeof MESSAGES;

export interface LimitWatchOptions {
  readonly stories: OwnStories;
  readonly guard: StoreGuard;
  readonly clock: Clock;
}

export class LimitWatch {
  readonly #options: LimitWatchOptions;
  /** When each limit turned something away last. */
  readonly #reachedMs = new Map<OwnLimit, number>();
  #sinceMs = 0;
  #startedMs = 0;
  #timer: Timer | undefined;

  constructor(options: LimitWatchOptions) {
    this.#options = options;
  }

  /** Goes on with what an earlier run told; to be called after the stories were loaded. */
  start(): void {
    const { clock, guard } = this.#options;
    this.#startedMs = clock.monotonic();
    this.#timer = clock.every(LOOK_INTERVAL_MS, () => {
      guard(() => this.#look());
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Something was turned away, or is lost. Cheap, however often it happens. */
  note(limit: OwnLimit): void {
    const nowMs = this.#options.clock.monotonic();
    if (this.#reachedMs.size === 0) this.#sinceMs = nowMs;
    this.#reachedMs.set(limit, nowMs);
  }

  #look(): void {
    const { stories, clock } = this.#options;
    const nowMs = clock.monotonic();
    for (const [limit, reachedMs] of this.#reachedMs) {
      if (nowMs - reachedMs >= QUIET_MS) this.#reachedMs.delete(limit);
    }
    if (this.#reachedMs.size > 0) {
      const limits = [...this.#reachedMs.keys()].toSorted();
      const message = `The collector is at its limits: ${limits.map((limit) => MESSAGES[limit]).join('; ')}`;
      // Of the agents that take the most room only evidence is lost; a node that is turned away is not watched.
      const severity = limits.every((limit) => limit === 'store') ? 'warning' : 'critical';
      const sinceMs = clock.now() - (nowMs - this.#sinceMs);
      stories.tell([{ kind: 'blind', severity, node: COLLECTOR, sinceMs, message }]);
    } else if (nowMs - this.#startedMs >= QUIET_MS) {
      stories.end('blind', COLLECTOR, 'The collector turns nothing away any more');
    }
  }
}
