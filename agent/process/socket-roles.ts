/**
 * Who opened a connection that one of this node's sockets is part of. Packets can be forged; whether a socket listens at
 * this node's end, the kernel knows.
 */
import type { Address } from '../../common/address.ts';
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
}

export class SocketRoles {
  readonly #dependencies: SocketRolesDependencies;

  constructor(dependencies: SocketRolesDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * The role of the end that is called local. Undefined where it is none of this node, or where its socket cannot be
   * found: in another network namespace, or behind an address translation.
   */
  of(ends: SocketEnds): SocketRole | undefined {
    const { isLocal, sockDiag } = this.#dependencies;
    if (sockDiag === undefined || !isLocal(ends.local)) return undefined;
    try {
      if (sockDiag.listensAt(ends.local, ends.localPort)) return 'server';
      return sockDiag.find(ends) === undefined ? undefined : 'client';
    } catch {
      // No memory for the answer: nothing is known.
      return undefined;
    }
  }
}
