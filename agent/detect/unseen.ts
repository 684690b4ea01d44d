/**
 * A capture that runs and shows nothing looks like a quiet network. What tells the two apart is the kernel's list of
 * the raylet's connections: one that was opened while its port was watched must have been captured.
 */
import { isLoopback, type Address } from '../../common/address.ts';
import { PortSet } from '../capture/source.ts';

/** The capture has so much time to show a connection; what the kernel counts comes up twice a second. */
const SETTLE_MS = 5000;
/** Connections that are remembered; a raylet with more of them is not looked at further. */
const MAX_CONNECTIONS = 10_000;

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

  constructor(options: UnseenOptions) {
    this.#options = options;
  }

  /** Takes the connections as they are now, about once a second. Those of the first look may be older than the capture. */
  look(connections: readonly OpenConnection[], nowMs: number): void {
    const before = this.#due;
    const due = new Map<string, number>();
    for (const connection of connections.slice(0, MAX_CONNECTIONS)) {
      const key = keyOf(connection);
      due.set(key, this.#check(connection, before === undefined ? Infinity : before.get(key), nowMs));
    }
    this.#due = due;
    this.#watchedBefore = this.#options.watchedPorts();
  }

  /** @returns when the connection is due from now on */
  #check(connection: OpenConnection, dueMs: number | undefined, nowMs: number): number {
    const { watchedPorts, isKnown } = this.#options;
    if (dueMs === undefined) {
      const { remote, remotePort } = connection;
      const isWatched = this.#watchedBefore.has(remotePort) && watchedPorts().has(remotePort);
      const isExpected = isWatched && !isLoopback(remote);
      return isExpected ? nowMs + SETTLE_MS : Infinity;
    }
    if (dueMs > nowMs) return dueMs;
    if (!isKnown(connection)) this.count++;
    return Infinity;
  }
}

function keyOf({ local, localPort, remote, remotePort }: OpenConnection): string {
  const words = [local.w0, local.w1, local.w2, local.w3, remote.w0, remote.w1, remote.w2, remote.w3];
  return `${localPort} ${remotePort} ${words.join(' ')}`;
}
