/**
 * The latest heartbeat of each agent, written together now and then: nobody waits for one, so none is worth a
 * write to the disk of its own.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Heartbeat } from '../../common/protocol.ts';
import { portOf } from '../fleet/agent-port.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Store } from '../store/store.ts';

/** So old may the counters be that the API shows. */
export const HEARTBEAT_WRITE_MS = 2000;

export interface HeartbeatsOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: Pick<CollectorMetrics, 'portsGuessed'>;
}

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #latest = new Map<string, { heartbeat: Heartbeat; atMs: number }>();
  /** Connected agents whose port is a guess. */
  readonly #guessing = new Set<string>();
  #timer: Timer | undefined;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  note(agent: string, heartbeat: Heartbeat): void {
    const { clock } = this.#options;
    this.#latest.set(agent, { heartbeat, atMs: clock.now() });
    this.#timer ??= clock.after(HEARTBEAT_WRITE_MS, () => this.write());
    if (portOf(heartbeat.counters)?.source === 'guess') this.#guessing.add(agent);
    else this.#guessing.delete(agent);
    this.#options.metrics.portsGuessed.set(this.#guessing.size);
  }

  /** An agent is connected no more. */
  disconnected(agent: string): void {
    this.#guessing.delete(agent);
    this.#options.metrics.portsGuessed.set(this.#guessing.size);
  }

  /** Writes what there is; what the store does not take is superseded by the next heartbeat. */
  write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#latest.size === 0) return;
    const { store, guard } = this.#options;
    guard(() => {
      store.transaction(() => {
        for (const [agent, { heartbeat, atMs }] of this.#latest) {
          store.saveHeartbeat(agent, heartbeat.counters, atMs);
          if (heartbeat.rules !== undefined) store.fleet.saveRules(agent, heartbeat.rules);
        }
      });
    });
    this.#latest.clear();
  }
}
