/**
 * A provider's looks at its source: one after the other, at intervals, and at once when somebody unknown talks. Two
 * never run at a time, and a look that is asked for always begins after the question.
 */
import type { Clock, Timer } from '../../common/clock.ts';
import type { LookResult } from './provider.ts';

interface LookLoopOptions {
  readonly clock: Clock;
  /** How long to wait after a look, in ms; asked after each. */
  readonly intervalMs: () => number;
  /**
   * One look. Does not throw, and bounds its time.
   * @param isUrgent whether somebody waits for it: caches are to be passed by
   */
  readonly look: (isUrgent: boolean) => Promise<LookResult>;
}

export class LookLoop {
  readonly #options: LookLoopOptions;
  #timer: Timer | undefined;
  #running: Promise<LookResult> = Promise.resolve('answered');
  #isStopped = false;

  constructor(options: LookLoopOptions) {
    this.#options = options;
  }

  /** Begins, and resolves after the first look. */
  async start(): Promise<void> {
    await this.#next(false);
  }

  /** Looks now, or as soon as the look that runs has ended. */
  lookNow(): Promise<LookResult> {
    return this.#next(true);
  }

  /** Resolves when no look runs any more; there will be none. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #next(isUrgent: boolean): Promise<LookResult> {
    this.#timer?.cancel();
    this.#running = this.#running.then(() => this.#run(isUrgent));
    return this.#running;
  }

  async #run(isUrgent: boolean): Promise<LookResult> {
    if (this.#isStopped) return 'answered';
    const result = await this.#options.look(isUrgent);
    this.#timer?.cancel();
    if (!this.#isStopped) {
      this.#timer = this.#options.clock.after(this.#options.intervalMs(), () => void this.#next(false));
    }
    return result;
  }
}
