/**
 * Who opened a connection that one of this node's sockets is part of. Packets can be forged; whether a socket listens at
 * this node's end, the kernel knows.
 */
import type { Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { Allowance } from '../detect/allowance.ts';
import { addressKey } from '../membership/address-history.ts';
import type { SockDiag, SocketEnds } from './sock-diag.ts';

/**
 * - `server`: a socket of this node listens at its end, so that the other end opened the connection. Linux gives an
 *   outgoing connection no port that somebody listens at (inet_hash_connect, net/ipv4/inet_hashtables.c)
 * - `client`: the connection is there, and nobody listens at this node's end of it
 */
export type SocketRole = 'server' | 'client';

interface SocketRolesDependencies {
  readonly isLocal: (address: Address) => boolean;
  /** Undefined where the kernel does not offer it: then nothing is known. */
  readonly sockDiag: Pick<SockDiag, 'find' | 'listensAt'> | undefined;
  readonly clock: Pick<Clock, 'monotonic'>;
}

/** Ends that are looked up, some microseconds each: anybody can send segments of connections that are not there. */
const LOOKS = { perSecond: 1000, burst: 2000 };
/** A listener is asked for again after this time, beside the above: who only sends packets makes no listeners. */
const LISTENER_MS = 1000;
/** Listeners that are remembered; with more of them the oldest are looked up like everything else. */
const MAX_LISTENERS = 4096;

export class SocketRoles {
  readonly #dependencies: SocketRolesDependencies;
  readonly #looks = new Allowance(LOOKS);
  /** When each end was last found to be listened at, by address and port. */
  readonly #listeners = new Map<string, number>();

  constructor(dependencies: SocketRolesDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * The role of the end that is called local. Undefined where it is none of this node, where its socket cannot be found,
   * in another network namespace or behind an address translation, and where too many are asked for.
   */
  of(ends: SocketEnds): SocketRole | undefined {
    const { isLocal, sockDiag } = this.#dependencies;
    if (sockDiag === undefined || !isLocal(ends.local)) return undefined;
    try {
      return this.#lookUp(sockDiag, ends);
    } catch {
      // No memory for the answer: nothing is known.
      return undefined;
    }
  }

  #lookUp(sockDiag: Pick<SockDiag, 'find' | 'listensAt'>, ends: SocketEnds): SocketRole | undefined {
    const nowMs = this.#dependencies.clock.monotonic();
    const end = `${addressKey(ends.local)} ${ends.localPort}`;
    const foundAtMs = this.#listeners.get(end);
    if (foundAtMs !== undefined && Math.abs(nowMs - foundAtMs) < LISTENER_MS) return 'server';
    if (foundAtMs === undefined && !this.#looks.take(nowMs)) return undefined;
    this.#listeners.delete(end);
    if (!sockDiag.listensAt(ends.local, ends.localPort)) {
      return sockDiag.find(ends) === undefined ? undefined : 'client';
    }
    const [oldest] = this.#listeners.keys();
    if (oldest !== undefined && this.#listeners.size >= MAX_LISTENERS) this.#listeners.delete(oldest);
    this.#listeners.set(end, nowMs);
    return 'server';
  }
}
