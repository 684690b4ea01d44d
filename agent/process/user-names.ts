/** Names of users, from passwd(5). Directories (LDAP) are not asked: they are on the network. */
import type { Clock } from '../../common/clock.ts';
import { onOneLine } from '../../common/plain-text.ts';
import { readStart } from './proc-files.ts';

const MAX_FILE_BYTES = 1024 * 1024;
const MAX_NAME_LENGTH = 64;
/** A user that is added is known after this time. */
const MAX_AGE_MS = 60_000;

export class UserNames {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #path: string;
  #names: Promise<ReadonlyMap<number, string>> = Promise.resolve(new Map());
  #readAtMs = -Infinity;

  /** @param path for tests: another file than /etc/passwd */
  constructor(clock: Pick<Clock, 'monotonic'>, path = '/etc/passwd') {
    this.#clock = clock;
    this.#path = path;
  }

  /** The name of a user by this machine's file; undefined where it has none. */
  async of(userId: number): Promise<string | undefined> {
    return (await this.#read()).get(userId);
  }

  /** The id of a user by this machine's file; undefined where it has none. */
  async idOf(name: string): Promise<number | undefined> {
    for (const [userId, known] of await this.#read()) if (known === name) return userId;
    return undefined;
  }

  #read(): Promise<ReadonlyMap<number, string>> {
    if (this.#clock.monotonic() - this.#readAtMs >= MAX_AGE_MS) {
      this.#readAtMs = this.#clock.monotonic();
      this.#names = readNames(this.#path);
    }
    return this.#names;
  }
}

async function readNames(path: string): Promise<ReadonlyMap<number, string>> {
  const names = new Map<number, string>();
  for (const line of (await readStart(path, MAX_FILE_BYTES))?.split('\n') ?? []) {
    const [name = '', , userId = ''] = line.split(':');
    // The first line of a user is the one that counts (getpwuid(3)).
    if (name === '' || !/^\d{1,10}$/.test(userId) || names.has(Number(userId))) continue;
    names.set(Number(userId), onOneLine(name).slice(0, MAX_NAME_LENGTH));
  }
  return names;
}
