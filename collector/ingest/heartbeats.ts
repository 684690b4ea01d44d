/**
 * The latest heartbeat of each agent, written together now and then: nobody waits for one, so none is worth a
 * write to the disk of its own.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { Heartbeat } from '../../common/protocol.ts';
import type { StoreGuard } from '../store/guard.ts';
import type { Store } from '../store/store.ts';

/** So old may the counters be that the API shows. */
export const HEARTBEAT_WRITE_MS = 2000;

export interface HeartbeatsOptions {
  readonly store: Store;
  readonly guard: StoreGuard;
  readonly clock: Clock;
}

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #latest = new Map<string, { counters: Heartbeat['counters']; atMs: number }>();
  #timer: Timer | undefined;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  note(agent: string, counters: Heartbeat['counters']): void {
    const { clock } = this.#options;
    this.#latest.set(agent, { counters, atMs: clock.now() });
    this.#timer ??= clock.after(HEARTBEAT_WRITE_MS, () => this.write());
  }

  /** Writes what there is; what the store does not take is superseded by the next heartbeat. */
  write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#latest.size === 0) return;
    const { store, guard } = this.#options;
    guard(() => {
      store.transaction(() => {
        for (const [agent, { counters, atMs }] of this.#latest) store.saveHeartbeat(agent, counters, atMs);
      });
    });
    this.#latest.clear();
  }
}
