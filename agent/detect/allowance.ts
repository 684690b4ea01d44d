/** Something that may be done so often in a second, and so often at once: a token bucket that is filled by time. */
const DISORDER_MS = 10_000;

export class Allowance {
  readonly #perSecond: number;
  readonly #burst: number;
  #left: number;
  #atMs = -Infinity;

  constructor({ perSecond, burst }: { readonly perSecond: number; readonly burst: number }) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#left = burst;
  }

  /** How often it may be done now. Packets come a little out of order; a clock that was set back begins anew. */
  left(nowMs: number): number {
    if (nowMs < this.#atMs - DISORDER_MS) this.#atMs = nowMs;
    if (nowMs > this.#atMs) {
      const gained = ((nowMs - this.#atMs) / 1000) * this.#perSecond;
      this.#left = Math.min(this.#burst, this.#left + gained);
      this.#atMs = nowMs;
    }
    return Math.floor(this.#left);
  }

  /** Uses one up; false where none is left. */
  take(nowMs: number): boolean {
    if (this.left(nowMs) < 1) return false;
    this.#left--;
    return true;
  }
}
