/**
 * The dead-man's switch: an agent that was there and is not heard any more is a story, and so is one that is heard
 * but does not capture, or cannot report what it sees. Both end by themselves, at once, when the agent is heard or captures again.
 *
 * An agent that said goodbye was stopped by somebody: its absence is a note first and an alarm after a longer time,
 * for whoever wants a node unwatched stops its agent. One that a person retired is no story.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Heartbeat } from '../../common/protocol.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';
import type { SilentAgent } from '../store/fleet-table.ts';
import type { OwnStories, OwnStory } from './own-stories.ts';

/** How often the fleet is looked at; an agent is missed at most this much later than the settings say. */
export const LOOK_INTERVAL_MS = 5000;

export interface FleetWatchOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly stories: OwnStories;
  readonly clock: Clock;
  /** An agent is missing after so long a silence. */
  readonly missingAfterMs: number;
  /** An agent that said goodbye is an alarm after so long. */
  readonly stoppedAfterMs: number;
}

export class FleetWatch {
  readonly #options: FleetWatchOptions;
  /** When each agent was last heard, in this run; by the monotonic clock, as all times here. */
  readonly #heardMs = new Map<string, number>();
  /** Since when agents are listened to. */
  #listeningSinceMs = 0;
  #timer: Timer | undefined;

  constructor(options: FleetWatchOptions) {
    this.#options = options;
  }

  /** Begins to miss agents. Time in which the collector did not run does not count as silence. */
  start(): void {
    const { clock, guard, stories } = this.#options;
    this.resume();
    guard(() => stories.load());
    this.#timer = clock.every(LOOK_INTERVAL_MS, () => this.look());
  }

  /** Begins anew after a pause of the process: an agent is missed after a whole interval to be heard in. */
  resume(): void {
    this.#listeningSinceMs = this.#options.clock.monotonic();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** An agent said something, whatever it was. */
  heard(agent: string): void {
    this.#heardMs.set(agent, this.#options.clock.monotonic());
    this.#endMissing(agent, `The agent on ${agent} is heard again`);
  }

  /** When this run heard an agent last, by the wall clock as it is now; undefined where it has not, or misses it. */
  heardMs(agent: string): number | undefined {
    const heardMs = this.#heardMs.get(agent);
    const { clock } = this.#options;
    return heardMs === undefined ? undefined : clock.now() - Math.round(clock.monotonic() - heardMs);
  }

  /** Whether an agent is missing, or runs and captures nothing. */
  hasStory(kind: 'missing' | 'blind', agent: string): boolean {
    return this.#options.stories.has(kind, agent);
  }

  /** An agent told its counters. */
  noteCounters(agent: string, counters: Heartbeat['counters']): void {
    const { guard, stories, clock } = this.#options;
    const message = blindnessOf(agent, counters);
    if (message !== undefined) {
      const story = {
        kind: 'blind',
        severity: 'warning',
        node: agent,
        sinceMs: clock.now(),
        message,
      } as const;
      guard(() => stories.tell([story]));
    } else if (stories.has('blind', agent)) {
      guard(() => stories.end('blind', agent, `The agent on ${agent} captures and reports again`));
    }
  }

  /** An agent said goodbye. */
  stopped(agent: string): void {
    const { store, guard, stories, clock } = this.#options;
    guard(() => {
      store.fleet.markStopped(agent, clock.now());
      stories.end('blind', agent, `The agent on ${agent} was stopped`);
    });
  }

  /**
   * A person declared an agent gone for good; false where there is none.
   * @param actor who said so
   * @throws PlasmawatchError PW_STORE
   */
  retire(agent: string, actor: string): boolean {
    const { store, stories, clock } = this.#options;
    const nowMs = clock.now();
    const isKnown = store.transaction(() => {
      if (!store.fleet.retire(agent, nowMs)) return false;
      store.enrolments.revoke(agent, nowMs);
      store.audit.add({ atMs: nowMs, actor, action: 'agent.retire', subject: agent, details: {} });
      return true;
    });
    if (!isKnown) return false;
    for (const kind of ['missing', 'blind'] as const) {
      stories.end(kind, agent, `The agent on ${agent} was retired`);
    }
    return true;
  }

  /** Looks for agents that are silent, and tells of those that still are. */
  look(): void {
    const { store, guard, stories, clock, missingAfterMs } = this.#options;
    const nowMs = clock.now();
    const runningMs = clock.monotonic();
    guard(() => {
      const missing = store.fleet
        .silentAgents({ sinceMs: nowMs - missingAfterMs, nowMs })
        .filter(({ name }) => {
          const heardMs = Math.max(this.#heardMs.get(name) ?? 0, this.#listeningSinceMs);
          return runningMs - heardMs >= missingAfterMs;
        });
      for (const { name } of missing) {
        this.#heardMs.delete(name);
        // What it was blind for is part of its absence now.
        stories.end('blind', name, `Nothing is heard of the agent on ${name}`);
      }
      stories.tell(missing.map((agent) => this.#absence(agent, nowMs)));
      for (const name of stories.nodes('missing')) {
        if (!store.hasAgent(name)) stories.end('missing', name, `The agent on ${name} was forgotten`);
      }
    });
  }

  #absence({ name, lastSeenMs, stoppedMs }: SilentAgent, nowMs: number): OwnStory {
    const story = { kind: 'missing', node: name, sinceMs: lastSeenMs } as const;
    if (stoppedMs === null) {
      const message = `Nothing is heard of the agent on ${name}, which said no goodbye: the node is not watched`;
      return { ...story, severity: 'critical', message };
    }
    if (nowMs - stoppedMs < this.#options.stoppedAfterMs) {
      const message = `The agent on ${name} was stopped: the node is not watched`;
      return { ...story, severity: 'info', message };
    }
    const message = `The agent on ${name} was stopped, and neither started again nor retired: the node is not watched`;
    return { ...story, severity: 'warning', message };
  }

  #endMissing(agent: string, message: string): void {
    const { guard, stories } = this.#options;
    if (stories.has('missing', agent)) guard(() => stories.end('missing', agent, message));
  }
}

/** What keeps an agent that is heard from telling what happens on its node; undefined where nothing does. */
function blindnessOf(agent: string, counters: Heartbeat['counters']): string | undefined {
  if (counters['capture_running'] === 0) return `The agent on ${agent} runs but captures nothing`;
  if (counters['spool_refused'] !== 1) return undefined;
  return `The disk of the agent on ${agent} is full or broken: what the agent sees is not told until it works`;
}
