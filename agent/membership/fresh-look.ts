/**
 * A fresh look at the sources of the membership while somebody unknown waits for it, at most one a second over all. A
 * source that answered before and fails now is asked again and again; who waits is told of when the grace time ends.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { LookResult } from './provider.ts';

/** From the beginning of one look to that of the next. */
const INTERVAL_MS = 1000;

interface FreshLookOptions {
  readonly clock: Clock;
  /** How long after the question a look begins at the earliest, in ms. */
  readonly settleMs: number;
  /** Looks at all sources; bounds its time. */
  readonly look: () => Promise<LookResult>;
  /** Takes the result, and returns whether somebody still waits. */
  readonly decide: (look: { readonly begunMs: number; readonly result: LookResult }) => boolean;
}

export class FreshLook {
  readonly #options: FreshLookOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #begunMs = -Infinity;
  #isStopped = false;

  constructor(options: FreshLookOptions) {
    this.#options = options;
  }

  /** Somebody waits from now on. */
  ask(): void {
    if (this.#isStopped || this.#timer !== undefined || this.#running !== undefined) return;
    const { clock, settleMs } = this.#options;
    const waitMs = Math.max(settleMs, this.#begunMs + INTERVAL_MS - clock.monotonic());
    this.#timer = clock.after(waitMs, () => {
      this.#timer = undefined;
      this.#running = this.#run();
    });
  }

  /** Resolves when no look runs any more; there will be none. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, look, decide } = this.#options;
    const begunMs = clock.monotonic();
    this.#begunMs = begunMs;
    const result = await look();
    this.#running = undefined;
    if (!this.#isStopped && decide({ begunMs, result })) this.ask();
  }
}
