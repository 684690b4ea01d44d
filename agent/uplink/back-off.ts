/** How long to wait before the next attempt. */

const FIRST_CEILING_MS = 500;
const LAST_CEILING_MS = 30_000;

/**
 * Exponential back-off with full jitter: each wait is drawn from zero up to a ceiling that doubles from 0.5 s to
 * 30 s, so that a thousand agents whose collector restarts do not come back in the same instant.
 */
export class BackOff {
  readonly #random: () => number;
  #ceilingMs = FIRST_CEILING_MS;

  /** @param random numbers from 0 up to 1, 1 excluded */
  constructor(random: () => number) {
    this.#random = random;
  }

  nextDelayMs(): number {
    const delayMs = this.#random() * this.#ceilingMs;
    this.#ceilingMs = Math.min(this.#ceilingMs * 2, LAST_CEILING_MS);
    return delayMs;
  }

  /** For faults that only a person can mend (a wrong token): 30 s to 60 s. */
  slowDelayMs(): number {
    return LAST_CEILING_MS + this.#random() * LAST_CEILING_MS;
  }

  reset(): void {
    this.#ceilingMs = FIRST_CEILING_MS;
  }
}
