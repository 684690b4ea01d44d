/**
 * Tokens of a collector on loopback for which nobody configured any. Loopback is open to every user of the machine, so the
 * collector makes tokens of its own and keeps them in a folder of its user, mode 0600, where commands and agents of the
 * same user find them, and commands of root.
 *
 * The file of the API's token is named after address and port, and the token goes to that address only. It is a new one
 * at each start: whoever gets hold of the port while no collector runs is shown a token that opens nothing.
 */
import { randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { readSocketTable } from '../agent/process/socket-table.ts';
import { formatAddress, isLoopback, parseAddress } from '../common/address.ts';
import { PlasmawatchError, systemCodeOf } from '../common/errors.ts';
import { loadSecret } from '../common/secret.ts';
import { stateBelow, stateDirectory } from './system.ts';

const TOKEN_BYTES = 32;
/** Where the services of systemd keep their state (deploy/). */
const SERVICE_FOLDERS = ['/var/lib/plasmawatch/collector', '/var/lib/plasmawatch'];
/** One for all collectors and agents of a user: an agent may start before its collector. */
const AGENT_TOKEN_FILE = 'agent-token';
const WHAT = 'token of the collector on this machine';

type Environment = Readonly<Record<string, string | undefined>>;

/** A token that nobody can guess. */
export function makeToken(): string {
  return randomBytes(TOKEN_BYTES).toString('hex');
}

/**
 * Writes the token of an API where `findApiToken` finds it, in the first of the folders that takes it.
 * @param url where the collector listens, on loopback
 * @returns the file
 * @throws PlasmawatchError PW_SECRET when no folder takes it
 */
export async function publishApiToken(
  token: string,
  { url, folders }: { readonly url: string; readonly folders: readonly string[] },
): Promise<string> {
  const name = apiTokenFile(new URL(url)) ?? 'api-token';
  return await inFirst(folders, async (folder) => {
    const file = join(folder, name);
    await writeDraft(file, token, (draft) => rename(draft, file));
    return file;
  });
}

/** Takes the token of an API away, unless another collector has put its own there. */
export async function withdrawApiToken(file: string, token: string): Promise<void> {
  const kept = await readFile(file, 'utf8').catch(() => '');
  if (kept.trimEnd() === token) await rm(file, { force: true });
}

/**
 * The token of the API at a loopback URL, where this user may read it.
 * @throws PlasmawatchError PW_SECRET for a file that others may write
 */
export async function findApiToken(
  url: URL,
  env: Environment,
): Promise<{ readonly token: string; readonly file: string } | undefined> {
  const name = apiTokenFile(url);
  if (name === undefined) return undefined;
  for (const folder of await foldersToSearch(url, env)) {
    const file = join(folder, name);
    const token = await readToken(file);
    if (token !== undefined) return { token, file };
  }
  return undefined;
}

/**
 * The token that agents of this user present to a collector of this user; made by whoever is first.
 * @throws PlasmawatchError PW_SECRET when no folder takes it, or others may write its file
 */
export async function sharedAgentToken(folders: readonly string[]): Promise<string> {
  for (const folder of folders) {
    const token = await readToken(join(folder, AGENT_TOKEN_FILE));
    if (token !== undefined) return token;
  }
  return await inFirst(folders, async (folder) => {
    const file = join(folder, AGENT_TOKEN_FILE);
    const token = makeToken();
    try {
      // Unlike a rename, a link leaves the token of whoever was faster.
      await writeDraft(file, token, (draft) => link(draft, file));
      return token;
    } catch (error) {
      if (systemCodeOf(error) !== 'EEXIST') throw error;
      return (await readToken(file)) ?? token;
    }
  });
}

/** The name of a token's file; undefined for a URL that is not on loopback, or a name that might lead anywhere. */
function apiTokenFile(url: URL): string | undefined {
  const address = parseAddress(url.hostname.replaceAll(/^\[|\]$/g, ''));
  if (address === undefined || !isLoopback(address)) return undefined;
  const usual = url.protocol === 'https:' ? '443' : '80';
  return `api-token-${formatAddress(address)}-${url.port === '' ? usual : url.port}`;
}

/** Root looks with the user who listens there, too. */
async function foldersToSearch(url: URL, env: Environment): Promise<string[]> {
  const folders = [stateDirectory(env), ...SERVICE_FOLDERS];
  const home = process.geteuid?.() === 0 ? await homeOfListener(url) : undefined;
  return home === undefined ? folders : [...folders, stateBelow(home)];
}

async function homeOfListener(url: URL): Promise<string | undefined> {
  const [listener] = await readSocketTable('/proc', 'self', ({ state, local, localPort }) => {
    return state === 'listen' && localPort === Number(url.port) && isLoopback(local);
  });
  if (listener === undefined) return undefined;
  const users = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const fields = users.split('\n').map((line) => line.split(':'));
  return fields.find(([, , userId]) => userId === String(listener.userId))?.[5];
}

/** The token in a file; undefined where there is none that this user may read. */
async function readToken(file: string): Promise<string | undefined> {
  try {
    return await loadSecret(WHAT, { file });
  } catch (error) {
    const code = error instanceof PlasmawatchError ? systemCodeOf(error.cause) : undefined;
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

async function inFirst<Result>(
  folders: readonly string[],
  write: (folder: string) => Promise<Result>,
): Promise<Result> {
  let fault: unknown;
  for (const folder of folders) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return await write(folder);
    } catch (error) {
      if (error instanceof PlasmawatchError) throw error;
      fault = error;
    }
  }
  throw new PlasmawatchError(
    'PW_SECRET',
    `cannot keep a token in ${folders.join(' or ')} (${systemCodeOf(fault) ?? 'error'}): give apiTokenFile and agentTokenFile in the settings`,
    { operation: 'write', cause: fault },
  );
}

/** A file beside the one that is meant, whole and with its mode before it gets the name. */
async function writeDraft(
  file: string,
  token: string,
  place: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = `${file}.${randomBytes(8).toString('hex')}`;
  const handle = await open(draft, 'wx', 0o600);
  try {
    await handle.writeFile(`${token}\n`);
    await handle.sync();
    await handle.close();
    await place(draft);
  } finally {
    await handle.close().catch(() => {});
    await rm(draft, { force: true });
  }
}
