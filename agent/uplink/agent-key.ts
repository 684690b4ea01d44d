/**
 * The agent's own key to the collector: made here, kept in one file that nobody else may read, and known to the
 * collector by its digest only. It counts once the collector has exchanged the one-time token for it.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf, PlasmawatchError, systemCodeOf } from '../../common/errors.ts';
import { digestOf } from '../../common/secret.ts';

const KEY_BYTES = 32;
const KEY_FILE = 'agent.key';
const KEY_FORM = /^[A-Za-z0-9_-]{43}$/;

/** Whether an agent with this state folder has exchanged a one-time token already. */
export function hasAgentKey(folder: string): boolean {
  return existsSync(join(folder, KEY_FILE));
}

export class AgentKey {
  readonly #key: string;
  readonly #file: string;
  #token: string | undefined;

  private constructor(key: string, file: string, token: string | undefined) {
    this.#key = key;
    this.#file = file;
    this.#token = token;
  }

  /**
   * The key of an earlier run, or a new one where there is a token to exchange for it; undefined where there is neither.
   * @throws PlasmawatchError PW_SECRET when the key's file cannot be read or written
   */
  static async open(folder: string, token: string | undefined): Promise<AgentKey | undefined> {
    const file = join(folder, KEY_FILE);
    const key = await readKey(file);
    if (key !== undefined) return new AgentKey(key, file, undefined);
    if (token === undefined) return undefined;
    // That of an attempt before, because the collector may have taken it: its answer was lost.
    const pending = await readKey(`${file}.new`);
    return new AgentKey(pending ?? (await makeKey(folder, `${file}.new`)), file, token);
  }

  /** What the agent presents. */
  get bearer(): string {
    return this.#token ?? this.#key;
  }

  /** What the agent says with its hello as long as the key is not the collector's yet: SHA-256 in hex. */
  get newDigest(): string | undefined {
    return this.#token === undefined ? undefined : digestOf(this.#key);
  }

  /**
   * The collector has taken the key.
   * @throws PlasmawatchError PW_SECRET
   */
  confirm(): void {
    if (this.#token === undefined) return;
    try {
      renameSync(`${this.#file}.new`, this.#file);
    } catch (error) {
      throw keyFault('keep', this.#file, error);
    }
    this.#token = undefined;
  }
}

async function readKey(file: string): Promise<string | undefined> {
  let key: string;
  try {
    key = (await readFile(file, 'utf8')).trimEnd();
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw keyFault('read', file, error);
  }
  if (KEY_FORM.test(key)) return key;
  throw new PlasmawatchError(
    'PW_SECRET',
    `the agent's key ${file} is damaged: remove it, and enrol the agent anew (plasmawatch agents enrol)`,
  );
}

async function makeKey(folder: string, file: string): Promise<string> {
  const key = randomBytes(KEY_BYTES).toString('base64url');
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(file, `${key}\n`, { mode: 0o600, flush: true });
  } catch (error) {
    throw keyFault('write', file, error);
  }
  return key;
}

function keyFault(verb: string, file: string, error: unknown): PlasmawatchError {
  return new PlasmawatchError('PW_SECRET', `cannot ${verb} the agent's key ${file}: ${messageOf(error)}`, {
    operation: verb,
    subject: file,
    cause: error,
  });
}
