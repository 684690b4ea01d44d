/**
 * Token buckets: an allowance that refills at a steady rate, up to a burst. Who takes more than there is runs into debt,
 * which the same refill pays off; what he may do meanwhile is for the caller to say.
 */

export interface Allowance {
  readonly perSecond: number;
  /** What can be taken at once after a rest. */
  readonly burst: number;
}

export class TokenBucket {
  readonly #allowance: Allowance;
  #level: number;
  #asOfMs: number;

  constructor(allowance: Allowance, nowMs: number) {
    this.#allowance = allowance;
    this.#level = allowance.burst;
    this.#asOfMs = nowMs;
  }

  take(cost: number, nowMs: number): void {
    this.#refill(nowMs);
    this.#level -= cost;
  }

  /** How long until so much can be taken without a debt, in ms; of 0: until the debt is paid off. */
  waitMs(cost: number, nowMs: number): number {
    this.#refill(nowMs);
    return (Math.max(0, cost - this.#level) / this.#allowance.perSecond) * 1000;
  }

  #refill(nowMs: number): void {
    const { perSecond, burst } = this.#allowance;
    // A clock that was set back refills nothing and takes nothing.
    const elapsedMs = Math.max(0, nowMs - this.#asOfMs);
    this.#level = Math.min(burst, this.#level + (elapsedMs / 1000) * perSecond);
    this.#asOfMs = nowMs;
  }
}

/** One bucket for each key (an address, a caller), of which the most recently used are kept: `maxKeys` bounds the memory. */
export class TokenBuckets {
  readonly #allowance: Allowance;
  readonly #maxKeys: number;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(allowance: Allowance, maxKeys: number) {
    this.#allowance = allowance;
    this.#maxKeys = maxKeys;
  }

  of(key: string, nowMs: number): TokenBucket {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#allowance, nowMs);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size > this.#maxKeys && oldest !== undefined) this.#buckets.delete(oldest);
    return bucket;
  }
}
