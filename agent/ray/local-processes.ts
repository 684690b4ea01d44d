/** The processes behind this node's ends of connections, and whether they are its raylets. */
import type { Address } from '../../common/address.ts';
import { parseAddress } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { FoundProcess, ProcessFinder } from '../detect/attribution.ts';
import { addressKey } from '../membership/address-history.ts';
import type { OwnSockets } from '../process/own-sockets.ts';
import type { SocketEnds } from '../process/sock-diag.ts';
import type { Owner, SocketOwners } from '../process/socket-owners.ts';
import type { Raylet } from './raylet.ts';

/** An address that is added is known after this time. */
const MAX_AGE_MS = 5000;

interface LocalProcessesOptions {
  /** The connections of this program; left out, none is known. */
  readonly ownSockets?: Pick<OwnSockets, 'has'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly owners: Pick<SocketOwners, 'find'>;
  /** Every address of this machine. */
  readonly localAddresses: () => readonly string[];
  /** The raylet that a process is; undefined where it is none. */
  readonly rayletAt: (pid: number) => Promise<Raylet | undefined>;
  /** The raylets of this node. */
  readonly raylets: () => Promise<readonly Raylet[]>;
  /** Whether a process is part of the Ray of these raylets; left out, none is. */
  readonly isOfRay?: (pid: number, raylets: readonly Raylet[]) => Promise<boolean>;
  /** The raylet among the parents of a process; left out, only those of `raylets` are known. */
  readonly rayletAbove?: (pid: number) => Promise<Raylet | undefined>;
}

export class LocalProcesses implements ProcessFinder {
  readonly #options: LocalProcessesOptions;
  #addresses: ReadonlySet<string> = new Set();
  #readAtMs = -Infinity;

  constructor(options: LocalProcessesOptions) {
    this.#options = options;
  }

  isLocal(address: Address): boolean {
    const { clock, localAddresses } = this.#options;
    if (clock.monotonic() - this.#readAtMs >= MAX_AGE_MS) {
      this.#readAtMs = clock.monotonic();
      const addresses = localAddresses()
        .map(parseAddress)
        .filter((parsed) => parsed !== undefined);
      this.#addresses = new Set(addresses.map(addressKey));
    }
    return this.#addresses.has(addressKey(address));
  }

  isOwn(ends: SocketEnds): boolean {
    return this.#options.ownSockets?.has(ends) ?? false;
  }

  async find(ends: SocketEnds): Promise<FoundProcess | undefined> {
    const owner = await this.#options.owners.find(ends);
    if (owner === undefined) return undefined;
    const isRaylet = await this.#isRaylet(owner);
    const isOfRay = isRaylet === false && (await this.#isOfRay(owner));
    return { description: owner.description, isRaylet, ...(isOfRay ? { isOfRay: true } : {}) };
  }

  async #isOfRay({ process }: Owner): Promise<boolean> {
    const { isOfRay, rayletAbove, raylets } = this.#options;
    if (process === undefined || isOfRay === undefined) return false;
    if (await isOfRay(process.pid, await raylets())) return true;
    // Ray may have been started since the raylets were listed.
    const raylet = await rayletAbove?.(process.pid);
    return raylet !== undefined && isOfRay(process.pid, [raylet]);
  }

  async #isRaylet({ process, userId }: Owner): Promise<boolean | undefined> {
    const { rayletAt, raylets } = this.#options;
    if (process !== undefined) return (await rayletAt(process.pid))?.isProven === true;
    // Only the user is known: who runs no proven raylet is none.
    const isRayletUser = (await raylets()).some((raylet) => raylet.isProven && raylet.userId === userId);
    return isRayletUser ? undefined : false;
  }
}
