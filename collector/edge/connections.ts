/**
 * Who may hold a connection to the collector's port, judged before a byte is read.
 *
 * Every connection is a visitor's until an agent has said hello over it: the API's, a scraper's, and whoever knocks.
 * Visitors are few, in all and from one address. Where the room is full, the one that has shown nothing for longest
 * makes place: an agent on its way in needs milliseconds, so a crowd of idle connections keeps no agent out.
 *
 * Whoever has many addresses can bring a crowd that is faster than that. So addresses from which somebody came in with a
 * credential are known for a while: their visitors make place last, and what they may open is counted apart. A crowd of
 * strangers evicts neither.
 */
import type { Server, Socket } from 'node:net';
import type { Clock } from '../../common/clock.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { RefusalReason, Refusals } from './refusals.ts';
import { sourceOf, type IsTrustedProxy } from './source.ts';
import { TokenBuckets } from './token-bucket.ts';

/** Addresses whose rate of connections is remembered. */
const MAX_SOURCES = 10_000;
/** Addresses that are known to have shown a credential, the last ones. Only who has one adds to them. */
const MAX_KNOWN_SOURCES = 20_000;
/** So many seconds' worth of connections may come at once. */
const BURST_SECONDS = 4;

export interface ConnectionLimits {
  readonly maxVisitors: number;
  readonly maxVisitorsPerAddress: number;
  /** New connections from one address. */
  readonly connectionsPerSecond: number;
}

export interface ConnectionsOptions {
  readonly server: Server;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly metrics: CollectorMetrics;
  readonly refusals: Refusals;
  readonly limits: ConnectionLimits;
  /** Whose connections are those of many others: limits of one address are not for them. */
  readonly isTrustedProxy?: IsTrustedProxy | undefined;
}

interface Visitor {
  readonly key: string;
  readonly source: string;
  readonly socket: Socket;
}

/** Visitors by key, the one that has shown nothing for longest first. */
type Room = Map<string, Visitor>;

export class Connections {
  readonly #options: ConnectionsOptions;
  readonly #strangers: Room = new Map();
  /** Those from addresses that have shown a credential before. */
  readonly #known: Room = new Map();
  readonly #bySource = new Map<string, Room>();
  readonly #knownSources = new Set<string>();
  readonly #openings: TokenBuckets;
  readonly #openingsOfKnown: TokenBuckets;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    const perSecond = options.limits.connectionsPerSecond;
    const allowance = { perSecond, burst: perSecond * BURST_SECONDS };
    this.#openings = new TokenBuckets(allowance, MAX_SOURCES);
    this.#openingsOfKnown = new TokenBuckets(allowance, MAX_KNOWN_SOURCES);
    options.server.on('connection', (socket) => this.#admit(socket));
  }

  /** The visitor has shown who it is: others make place before it does. */
  renew(socket: Socket): void {
    const visitor = this.#find(socket);
    if (visitor === undefined) return;
    this.#remove(visitor);
    this.#learn(visitor.source);
    this.#add(visitor);
  }

  /** An agent said hello: its session, which has limits of its own, has the connection from here. */
  handOver(socket: Socket): void {
    const visitor = this.#find(socket);
    if (visitor !== undefined) this.#remove(visitor);
    this.#learn(sourceOf(socket.remoteAddress));
  }

  #admit(socket: Socket): void {
    const { limits, isTrustedProxy } = this.#options;
    const visitor = { key: keyOf(socket), source: sourceOf(socket.remoteAddress), socket };
    const isProxy = isTrustedProxy?.(socket.remoteAddress) === true;
    if (!isProxy && this.#isTooOften(visitor.source)) {
      this.#cutOff(visitor, 'connecting-too-often');
      return;
    }
    this.#add(visitor);
    socket.once('close', () => this.#remove(visitor));
    const ofSource = this.#bySource.get(visitor.source);
    if (!isProxy && ofSource !== undefined && ofSource.size > limits.maxVisitorsPerAddress) {
      this.#crowdOut(ofSource);
    }
    if (this.#strangers.size + this.#known.size > limits.maxVisitors) {
      this.#crowdOut(this.#strangers.size > 0 ? this.#strangers : this.#known);
    }
  }

  #isTooOften(source: string): boolean {
    const nowMs = this.#options.clock.monotonic();
    const buckets = this.#knownSources.has(source) ? this.#openingsOfKnown : this.#openings;
    const bucket = buckets.of(source, nowMs);
    if (bucket.waitMs(1, nowMs) > 0) return true;
    bucket.take(1, nowMs);
    return false;
  }

  /** The longest silent one of a room makes place. */
  #crowdOut(room: Room): void {
    const [longest] = room.values();
    if (longest === undefined) return;
    this.#remove(longest);
    this.#cutOff(longest, 'crowded-out');
  }

  /** Somebody at this address has shown a credential. */
  #learn(source: string): void {
    this.#knownSources.delete(source);
    this.#knownSources.add(source);
    const [oldest] = this.#knownSources;
    if (this.#knownSources.size > MAX_KNOWN_SOURCES && oldest !== undefined)
      this.#knownSources.delete(oldest);
  }

  #find(socket: Socket): Visitor | undefined {
    const key = keyOf(socket);
    return this.#strangers.get(key) ?? this.#known.get(key);
  }

  /** With a reset: a close of ours would keep each of a flood's connections in the kernel for a minute (TIME_WAIT). */
  #cutOff({ source, socket }: Visitor, reason: RefusalReason): void {
    this.#options.refusals.note(reason, source);
    socket.resetAndDestroy();
  }

  #add(visitor: Visitor): void {
    const ofSource: Room = this.#bySource.get(visitor.source) ?? new Map();
    this.#bySource.set(visitor.source, ofSource.set(visitor.key, visitor));
    (this.#knownSources.has(visitor.source) ? this.#known : this.#strangers).set(visitor.key, visitor);
    this.#measure();
  }

  #remove(visitor: Visitor): void {
    const room = [this.#strangers, this.#known].find((room) => room.get(visitor.key) === visitor);
    if (room === undefined) return;
    room.delete(visitor.key);
    const ofSource = this.#bySource.get(visitor.source);
    ofSource?.delete(visitor.key);
    if (ofSource?.size === 0) this.#bySource.delete(visitor.source);
    this.#measure();
  }

  #measure(): void {
    this.#options.metrics.visitors.set(this.#strangers.size + this.#known.size);
  }
}

/** The same for a TCP socket and the TLS socket on top of it. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
