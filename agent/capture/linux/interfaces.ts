/** What the kernel says of its network interfaces, out of /sys/class/net. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../../common/clock.ts';

/** An index that nobody knows is looked up again after this time, not for every flow. */
const RETRY_MS = 1000;
/** net/if.h */
const IFF_UP = 1;

/** The interfaces of this network namespace as sysfs shows them; reads the folder when an unknown index is asked for. */
export class Interfaces {
  readonly #clock: Clock;
  readonly #folder: string;
  #names = new Map<number, string>();
  #readAt = Number.NEGATIVE_INFINITY;

  /** @param folder for tests: another folder than /sys/class/net */
  constructor(clock: Clock, folder = '/sys/class/net') {
    this.#clock = clock;
    this.#folder = folder;
  }

  /** The name of an interface, or undefined where there is none of that index. */
  nameOf(index: number): string | undefined {
    if (!this.#names.has(index)) this.#refresh();
    return this.#names.get(index);
  }

  /** Whether the interface exists and is switched on (IFF_UP of netdevice(7)). */
  isUp(name: string): boolean {
    return (readNumber(join(this.#folder, name, 'flags')) & IFF_UP) !== 0;
  }

  /** The kind of its link, an ARPHRD_ value of linux/if_arp.h; 0 where it is not known. */
  hardwareTypeOf(name: string): number {
    return readNumber(join(this.#folder, name, 'type'));
  }

  #refresh(): void {
    const now = this.#clock.monotonic();
    if (now - this.#readAt < RETRY_MS) return;
    this.#readAt = now;
    this.#names = new Map(
      listFolder(this.#folder).map((name) => [readNumber(join(this.#folder, name, 'ifindex')), name]),
    );
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // No sysfs in this container: interfaces stay without a name.
    return [];
  }
}

/** A number that sysfs shows in decimal or hexadecimal; 0 where it cannot be read. */
function readNumber(path: string): number {
  try {
    return Number(readFileSync(path, 'utf8').trim());
  } catch {
    return 0;
  }
}
