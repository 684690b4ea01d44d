/** How many requests the API answers: to one address, and to one caller wherever it is. */
import type { Clock } from '../../common/clock.ts';
import { sourceOf } from './source.ts';
import { TokenBuckets } from './token-bucket.ts';

/** Addresses and callers that are remembered. */
const MAX_KEYS = 10_000;
/** So many seconds' worth of requests may come at once. */
const BURST_SECONDS = 4;
/** Who presents a wrong token pays for so many requests more. */
export const FAILED_LOGIN_COST = 19;

export interface RequestLimitsOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly requestsPerSecond: number;
}

export class RequestLimits {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #addresses: TokenBuckets;
  readonly #callers: TokenBuckets;

  constructor({ clock, requestsPerSecond: perSecond }: RequestLimitsOptions) {
    const allowance = { perSecond, burst: Math.max(1, perSecond * BURST_SECONDS) };
    this.#clock = clock;
    this.#addresses = new TokenBuckets(allowance, MAX_KEYS);
    this.#callers = new TokenBuckets(allowance, MAX_KEYS);
  }

  /** Notes a request of an address; answers how long it has to wait first, in ms, 0 when it has not. */
  takeOfAddress(remoteAddress: string | undefined): number {
    return this.#take(this.#addresses, sourceOf(remoteAddress));
  }

  /** The same for a caller that has shown its token. */
  takeOfCaller(name: string): number {
    return this.#take(this.#callers, name);
  }

  /** An address presented a wrong token. */
  noteFailedLogin(remoteAddress: string | undefined): void {
    const nowMs = this.#clock.monotonic();
    this.#addresses.of(sourceOf(remoteAddress), nowMs).take(FAILED_LOGIN_COST, nowMs);
  }

  /** A request that has to wait costs nothing, so that waiting as long as was said is enough. */
  #take(buckets: TokenBuckets, key: string): number {
    const nowMs = this.#clock.monotonic();
    const bucket = buckets.of(key, nowMs);
    const waitMs = bucket.waitMs(1, nowMs);
    if (waitMs === 0) bucket.take(1, nowMs);
    return waitMs;
  }
}
