/**
 * Host names and their addresses, as the system resolves them: hosts file, search list and all (getaddrinfo(3)). A name is
 * asked for again at intervals, so that it is followed when it changes. While the resolver is away, or says that there is no
 * such name, the last answer stays, and its age is known.
 */
import { parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { addressKey } from './address-history.ts';

/** The system's resolver tells no time to live. */
const REFRESH_MS = 30_000;
/** A name that has never resolved is asked for more often: somebody waits for it. */
const RETRY_MS = 5000;
/** Names that are asked for at a time: each takes a thread of the few that also read files. */
const MAX_LOOKUPS = 2;
/** Addresses of one name that count, in the order of the answer. */
const MAX_ADDRESSES = 64;

/** All addresses of a host name, as text. Rejects where it has none, or nobody answers. */
export type ResolveHost = (name: string) => Promise<readonly string[]>;

/** What is known of a name. */
export interface ResolvedName {
  /** The last good answer; none where there was never one. */
  readonly addresses: readonly Address[];
  /** When that was asked for; undefined where there was none. */
  readonly asOfMs: number | undefined;
  /** Why the newest question had no answer; undefined where it had. */
  readonly failure: string | undefined;
}

interface ResolvedNamesOptions {
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'warn' | 'info'>;
  readonly resolve: ResolveHost;
  /** Names that are followed; of more the first ones. */
  readonly maxNames: number;
  /** Addresses of one name that count; 64 when left out. */
  readonly maxAddresses?: number;
  /** The log line of a name that does not resolve; the names of a list that anybody can write are logged as a number. */
  readonly text: string;
}

interface Entry extends ResolvedName {
  /** Undefined before the first question ended. */
  readonly triedAtMs: number | undefined;
}

const UNKNOWN: Entry = {
  addresses: [],
  asOfMs: undefined,
  failure: 'not asked for yet',
  triedAtMs: undefined,
};

export class ResolvedNames {
  readonly #options: ResolvedNamesOptions;
  #entries = new Map<string, Entry>();
  /** By name: the question that runs. */
  readonly #running = new Map<string, Promise<void>>();

  constructor(options: ResolvedNamesOptions) {
    this.#options = options;
  }

  /** What is known of a name; of a name that is not followed nothing is. */
  of(name: string): ResolvedName {
    return this.#entries.get(name) ?? UNKNOWN;
  }

  /** The names that do not resolve at the moment. */
  get failing(): string[] {
    return [...this.#entries].filter(([, { failure }]) => failure !== undefined).map(([name]) => name);
  }

  /**
   * Follows these names and forgets all others; asks for those whose answer is old, and resolves when these questions have
   * ended or the time is over. Questions that take longer go on, and are not asked twice.
   * @param isUrgent whether every name is asked for, however new its answer is
   * @param limitMs how long to wait; without it, until all have ended
   */
  async follow(names: Iterable<string>, isUrgent: boolean, limitMs?: number): Promise<void> {
    const wanted = [...new Set(names)].slice(0, this.#options.maxNames);
    this.#entries = new Map(wanted.map((name) => [name, this.#entries.get(name) ?? UNKNOWN]));
    const due = wanted.filter((name) => isUrgent || this.#isDue(name));
    if (due.length === 0) return;
    const asked = this.#askAll(due);
    if (limitMs === undefined) return await asked;
    const { clock } = this.#options;
    await new Promise<void>((resolve) => {
      const timer = clock.after(limitMs, resolve);
      void asked.finally(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #isDue(name: string): boolean {
    const { triedAtMs, asOfMs } = this.#entries.get(name) ?? UNKNOWN;
    if (triedAtMs === undefined) return true;
    const elapsedMs = Math.abs(this.#options.clock.monotonic() - triedAtMs);
    return elapsedMs >= (asOfMs === undefined ? RETRY_MS : REFRESH_MS);
  }

  /** In order, a few at a time. */
  async #askAll(names: readonly string[]): Promise<void> {
    const waiting = names.values();
    const askOneAfterTheOther = async (): Promise<void> => {
      for (const name of waiting) await this.#ask(name);
    };
    await Promise.all(Array.from({ length: MAX_LOOKUPS }, askOneAfterTheOther));
  }

  #ask(name: string): Promise<void> {
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    const asking = this.#resolve(name).finally(() => this.#running.delete(name));
    this.#running.set(name, asking);
    return asking;
  }

  async #resolve(name: string): Promise<void> {
    const { clock, resolve, maxAddresses = MAX_ADDRESSES } = this.#options;
    const askedAtMs = clock.monotonic();
    try {
      const addresses = distinct(await resolve(name)).slice(0, maxAddresses);
      if (addresses.length === 0) throw new Error('no address');
      this.#note(name, { addresses, asOfMs: askedAtMs, failure: undefined, triedAtMs: clock.monotonic() });
    } catch (error) {
      const { addresses, asOfMs } = this.of(name);
      this.#note(name, { addresses, asOfMs, failure: messageOf(error), triedAtMs: clock.monotonic() });
    }
  }

  #note(name: string, entry: Entry): void {
    const before = this.#entries.get(name);
    // It may have been forgotten meanwhile.
    if (before === undefined) return;
    this.#entries.set(name, entry);
    const { logger, text } = this.#options;
    const hasFailedBefore = before.triedAtMs !== undefined && before.failure !== undefined;
    if (entry.failure !== undefined && !hasFailedBefore) {
      const last = entry.asOfMs === undefined ? 'never' : new Date(entry.asOfMs).toISOString();
      logger.warn({ host: name, reason: entry.failure, lastAnswer: last }, text);
    }
    if (entry.failure === undefined && hasFailedBefore)
      logger.info({ host: name }, 'host name resolves again');
  }
}

/** In the order of their texts: resolvers turn their answers round. Two answers of the same are alike. */
function distinct(texts: readonly string[]): Address[] {
  const byKey = new Map<string, Address>();
  for (const text of texts.toSorted()) {
    const address = parseAddress(text);
    if (address !== undefined) byKey.set(addressKey(address), address);
  }
  return [...byKey.values()];
}
