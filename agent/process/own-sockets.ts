/**
 * Whether a connection is this program's own, asked of the kernel while it is open: a question of the agent to the dashboard is no
 * anomaly. Nobody else can have one of these sockets, and a name or a port proves nothing.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../common/clock.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import type { SockDiag, SocketEnds } from './sock-diag.ts';

/** Looks in a second: this program opens a few connections a minute. What a flood has more is not looked at, and is nobody's. */
const MAX_LOOKS_A_SECOND = 20;
/** Descriptors that are looked at; this program has some fifty. */
const MAX_DESCRIPTORS = 4096;

interface OwnSocketsOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Undefined where the kernel does not offer it: then no connection is known to be this program's. */
  readonly sockDiag: Pick<SockDiag, 'find'> | undefined;
  /** For tests: another root than /proc. */
  readonly proc?: string;
}

export class OwnSockets {
  readonly #options: OwnSocketsOptions;
  #second = 0;
  #looksInSecond = 0;

  constructor(options: OwnSocketsOptions) {
    this.#options = options;
  }

  /** False as well where that cannot be told. */
  has(ends: SocketEnds): boolean {
    const { sockDiag, proc = '/proc' } = this.#options;
    if (sockDiag === undefined || !this.#hasRoom()) return false;
    try {
      const inode = sockDiag.find(ends)?.inode ?? 0;
      return inode !== 0 && isOpenHere(join(proc, 'self/fd'), `socket:[${inode}]`);
    } catch (error) {
      if (error instanceof PlasmawatchError) return false;
      throw error;
    }
  }

  #hasRoom(): boolean {
    const second = Math.floor(this.#options.clock.monotonic() / 1000);
    if (second !== this.#second) this.#looksInSecond = 0;
    this.#second = second;
    return this.#looksInSecond++ < MAX_LOOKS_A_SECOND;
  }
}

function isOpenHere(folder: string, target: string): boolean {
  for (const name of readdirSync(folder).slice(0, MAX_DESCRIPTORS)) {
    try {
      if (readlinkSync(join(folder, name)) === target) return true;
    } catch {
      // The descriptor of the folder itself is closed by now.
    }
  }
  return false;
}
