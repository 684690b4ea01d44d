/**
 * A capture that runs and shows nothing looks like a quiet network. What tells the two apart is the kernel's list of
 * the raylet's connections: one that was opened while its port was watched must have been captured.
 */
import { isLoopback, type Address } from '../../common/address.ts';
import { PortSet } from '../capture/source.ts';

/** Time for the capture to show a connection; what the kernel counts comes up twice a second. */
const SETTLE_MS = 5000;
/** Connections to watched ports that are remembered. Those beyond are not compared with the capture, and counted. */
export const MAX_CONNECTIONS = 65_536;

/** An established connection that the raylet opened. */
export interface OpenConnection {
  readonly local: Address;
  readonly localPort: number;
  readonly remote: Address;
  readonly remotePort: number;
}

interface UnseenOptions {
  /** The ports to which packets are captured now; a set that is not changed any more. */
  readonly watchedPorts: () => PortSet;
  /** Whether the capture has shown the connection. */
  readonly isKnown: (connection: OpenConnection) => boolean;
}

export class UnseenConnections {
  readonly #options: UnseenOptions;
  /** When each connection is due to be known; those that need not be are never due. */
  #due: ReadonlyMap<string, number> | undefined;
  /** The ports of the last look: a connection may be as old as that. */
  #watchedBefore = new PortSet();
  /** Connections that the capture should have shown and did not, since the start. */
  count = 0;
  /** Connections that were not compared with the capture because there were too many, in the worst refresh. */
  unchecked = 0;

  constructor(options: UnseenOptions) {
    this.#options = options;
  }

  /** Takes the connections as they are now, about once a second. Those of the first look may be older than the capture. */
  look(connections: readonly OpenConnection[], nowMs: number): void {
    const before = this.#due;
    const due = new Map<string, number>();
    const watched = this.#options.watchedPorts();
    // Where nothing is captured there is nothing to compare, whoever opens how many connections there.
    const comparable = connections.filter(
      ({ remote, remotePort }) => watched.has(remotePort) && !isLoopback(remote),
    );
    for (const connection of comparable.slice(0, MAX_CONNECTIONS)) {
      const key = keyOf(connection);
      due.set(key, this.#check(connection, before === undefined ? Infinity : before.get(key), nowMs));
    }
    this.unchecked = Math.max(this.unchecked, comparable.length - MAX_CONNECTIONS);
    this.#due = due;
    this.#watchedBefore = watched;
  }

  /** @returns when the connection is due from now on */
  #check(connection: OpenConnection, dueMs: number | undefined, nowMs: number): number {
    if (dueMs === undefined) {
      return this.#watchedBefore.has(connection.remotePort) ? nowMs + SETTLE_MS : Infinity;
    }
    if (dueMs > nowMs) return dueMs;
    if (!this.#options.isKnown(connection)) this.count++;
    return Infinity;
  }
}

function keyOf({ local, localPort, remote, remotePort }: OpenConnection): string {
  const words = [local.w0, local.w1, local.w2, local.w3, remote.w0, remote.w1, remote.w2, remote.w3];
  return `${localPort} ${remotePort} ${words.join(' ')}`;
}
