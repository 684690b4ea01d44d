/**
 * Every address of this machine, whatever its groups say: a second interface, IPv6 beside IPv4, and loopback are the same
 * node. None in a replay, where the machine is not the one that was recorded.
 */
import { isLoopback, parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { addressKey } from './address-history.ts';

/** An address that is added is known after this time. */
const MAX_AGE_MS = 5000;
/** Addresses that are read; a node with more has the first ones. A machine with containers has some dozens. */
const MAX_ADDRESSES = 1024;

export class OwnAddresses {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #read: (() => readonly string[]) | undefined;
  #addresses: readonly Address[] = [];
  #keys: ReadonlySet<string> = new Set();
  #readAtMs: number | undefined;

  /** @param read every address of this machine, as text; undefined where they are never known */
  constructor(clock: Pick<Clock, 'monotonic'>, read: (() => readonly string[]) | undefined) {
    this.#clock = clock;
    this.#read = read;
  }

  /** Whether the addresses of this machine are known: not in a replay. */
  get areKnown(): boolean {
    this.#refresh();
    return this.#addresses.length > 0;
  }

  /** Every address, loopback included. */
  all(): readonly Address[] {
    this.#refresh();
    return this.#addresses;
  }

  /** Whether packets from and to the address never leave this machine: all of 127.0.0.0/8 is its own (RFC 1122, section 3.2.1.3). */
  has(address: Address): boolean {
    this.#refresh();
    return this.#keys.has(addressKey(address)) || (this.#addresses.length > 0 && isLoopback(address));
  }

  #refresh(): void {
    if (this.#read === undefined) return;
    const nowMs = this.#clock.monotonic();
    if (this.#readAtMs !== undefined && Math.abs(nowMs - this.#readAtMs) < MAX_AGE_MS) return;
    this.#readAtMs = nowMs;
    this.#addresses = this.#read()
      .slice(0, MAX_ADDRESSES)
      .map(parseAddress)
      .filter((address) => address !== undefined);
    this.#keys = new Set(this.#addresses.map(addressKey));
  }
}
