/**
 * Who may hold a connection to the collector's port, judged before a byte is read.
 *
 * Every connection is a visitor's until an agent has said hello over it: the API's, a scraper's, and whoever knocks.
 * Visitors are few, in all and from one address. Where the room is full, the one that has shown nothing for longest
 * makes place: an agent on its way in needs milliseconds, so a crowd of idle connections keeps no agent out.
 */
import type { Server, Socket } from 'node:net';
import type { Clock } from '../../common/clock.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { RefusalReason, Refusals } from './refusals.ts';
import { sourceOf } from './source.ts';
import { TokenBuckets } from './token-bucket.ts';

/** Addresses whose rate of connections is remembered. */
const MAX_SOURCES = 10_000;
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
  readonly clock: Pick<Clock, 'now'>;
  readonly metrics: CollectorMetrics;
  readonly refusals: Refusals;
  readonly limits: ConnectionLimits;
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
  readonly #visitors: Room = new Map();
  readonly #bySource = new Map<string, Room>();
  readonly #openings: TokenBuckets;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
    const perSecond = options.limits.connectionsPerSecond;
    this.#openings = new TokenBuckets({ perSecond, burst: perSecond * BURST_SECONDS }, MAX_SOURCES);
    options.server.on('connection', (socket) => this.#admit(socket));
  }

  /** The visitor has shown who it is: others make place before it does. */
  renew(socket: Socket): void {
    const visitor = this.#visitors.get(keyOf(socket));
    if (visitor === undefined) return;
    this.#remove(visitor);
    this.#add(visitor);
  }

  /** An agent said hello: its session, which has limits of its own, has the connection from here. */
  handOver(socket: Socket): void {
    const visitor = this.#visitors.get(keyOf(socket));
    if (visitor !== undefined) this.#remove(visitor);
  }

  #admit(socket: Socket): void {
    const { clock, limits } = this.#options;
    const visitor = { key: keyOf(socket), source: sourceOf(socket.remoteAddress), socket };
    const openings = this.#openings.of(visitor.source, clock.now());
    if (openings.waitMs(1, clock.now()) > 0) {
      this.#cutOff(visitor, 'connecting-too-often');
      return;
    }
    openings.take(1, clock.now());
    this.#add(visitor);
    socket.once('close', () => this.#remove(visitor));
    this.#makePlace(this.#bySource.get(visitor.source), limits.maxVisitorsPerAddress);
    this.#makePlace(this.#visitors, limits.maxVisitors);
  }

  #makePlace(room: Room | undefined, size: number): void {
    const [longest] = room?.values() ?? [];
    if (room === undefined || longest === undefined || room.size <= size) return;
    this.#remove(longest);
    this.#cutOff(longest, 'crowded-out');
  }

  /** With a reset: a close of ours would keep each of a flood's connections in the kernel for a minute (TIME_WAIT). */
  #cutOff({ source, socket }: Visitor, reason: RefusalReason): void {
    this.#options.refusals.note(reason, source);
    socket.resetAndDestroy();
  }

  #add(visitor: Visitor): void {
    const ofSource: Room = this.#bySource.get(visitor.source) ?? new Map();
    this.#bySource.set(visitor.source, ofSource.set(visitor.key, visitor));
    this.#visitors.set(visitor.key, visitor);
    this.#options.metrics.visitors.set(this.#visitors.size);
  }

  #remove(visitor: Visitor): void {
    if (this.#visitors.get(visitor.key) !== visitor) return;
    this.#visitors.delete(visitor.key);
    const ofSource = this.#bySource.get(visitor.source);
    ofSource?.delete(visitor.key);
    if (ofSource?.size === 0) this.#bySource.delete(visitor.source);
    this.#options.metrics.visitors.set(this.#visitors.size);
  }
}

/** The same for a TCP socket and the TLS socket on top of it. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
