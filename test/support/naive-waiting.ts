/**
 * Who is told of, by the words of the design: lists of what happened, looked through from the beginning for every
 * question. An oracle for the waiting of strangers for a fresh look.
 */
const GRACE_MS = 10_000;
const LINGER_MS = 30_000;
const SETTLE_MS = 250;

/** What happened, in its order. */
export type Entry =
  | { readonly type: 'packet'; readonly from: string; readonly atMs: number }
  | {
      readonly type: 'view';
      /** Node by address. */
      readonly owners: ReadonlyMap<string, string>;
      readonly asOfMs: number;
      readonly atMs: number;
    }
  | {
      readonly type: 'look';
      readonly begunMs: number;
      readonly result: 'answered' | 'failed';
      readonly atMs: number;
    }
  | { readonly type: 'tick'; readonly atMs: number };

type View = Extract<Entry, { type: 'view' }>;
type Verdict = 'allowed' | 'former-member' | 'unexpected-peer';

/** A story that is not told yet: the times of its packets. */
interface Held {
  readonly from: string;
  readonly packets: number[];
}

export class NaiveWaiting {
  readonly #views: View[] = [];
  readonly #told: string[] = [];
  #held: Held[] = [];

  /** The stories that are told, in order, as `kind address`. */
  tell(log: readonly Entry[]): string[] {
    for (const entry of log) {
      if (entry.type === 'view') this.#views.push(entry);
      else if (entry.type === 'packet') this.#take(entry.from, entry.atMs);
      else for (const held of this.#held) this.#decide(held, entry);
    }
    return this.#told;
  }

  #take(from: string, atMs: number): void {
    const verdict = this.#verdict(from, atMs);
    if (verdict === 'allowed' || this.#told.includes(`${verdict} ${from}`)) return;
    const held = this.#held.find((one) => one.from === from);
    if (verdict === 'former-member') this.#told.push(`${verdict} ${from}`);
    else if (held === undefined) this.#held.push({ from, packets: [atMs] });
    else held.packets.push(atMs);
  }

  #decide(held: Held, entry: Exclude<Entry, { type: 'view' | 'packet' }>): void {
    const { from, packets } = held;
    const [first = 0, ...others] = packets;
    const verdict = this.#verdict(from, first);
    const isDecisive =
      entry.type === 'look' && entry.result === 'answered' && entry.begunMs - first >= SETTLE_MS;
    if (verdict !== 'allowed' && !isDecisive && entry.atMs - first < GRACE_MS) return;
    this.#held = this.#held.filter((one) => one !== held);
    if (verdict === 'allowed') for (const atMs of others) this.#take(from, atMs);
    else if (!this.#told.includes(`${verdict} ${from}`)) this.#told.push(`${verdict} ${from}`);
  }

  /** On a packet from the address at that time, by all that has been seen of the source so far. */
  #verdict(from: string, atMs: number): Verdict {
    const times = this.#timesOf(from);
    if (times.some(({ since, until }) => atMs >= since - GRACE_MS && atMs <= until + LINGER_MS))
      return 'allowed';
    return times.some(({ until }) => until + LINGER_MS < atMs) ? 'former-member' : 'unexpected-peer';
  }

  /** From when to when a node had the address, each node by itself. */
  #timesOf(address: string): { node: string; since: number; until: number }[] {
    const times: { node: string; since: number; until: number }[] = [];
    for (const [index, { owners, asOfMs, atMs }] of this.#views.entries()) {
      const node = owners.get(address);
      for (const time of times) if (time.until === Infinity && time.node !== node) time.until = atMs;
      if (node === undefined || times.some((time) => time.until === Infinity)) continue;
      times.push({ node, since: index === 0 ? -Infinity : asOfMs, until: Infinity });
    }
    return times;
  }
}
