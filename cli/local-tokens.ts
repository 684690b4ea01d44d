/**
 * Tokens of a collector on loopback for which nobody configured any. Loopback is open to every user of the machine, so the
 * collector makes tokens of its own and keeps them in a folder of its user, mode 0600, where commands and agents of the
 * same user find them, and commands of root.
 *
 * The file of the API's token is named after address and port, and the token goes to that address only. It is a new one
 * at each start: whoever gets hold of the port while no collector runs is shown a token that opens nothing.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, mkdir, open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { readSocketTable } from '../agent/process/socket-table.ts';
import { formatAddress, isLoopback, parseAddress, sameAddress, type Address } from '../common/address.ts';
import { PlasmawatchError, systemCodeOf } from '../common/errors.ts';
import { judgeFile } from '../common/file-trust.ts';
import { PATHS } from '../common/paths.ts';
import { stateBelow, stateDirectory } from './system.ts';

const TOKEN_BYTES = 32;
/** What `makeToken` makes, and nothing else. */
const TOKEN = new RegExp(`^[0-9a-f]{${TOKEN_BYTES * 2}}$`);
const MAX_TOKEN_BYTES = TOKEN_BYTES * 4;
const OTHERS = 0o077;
/** No link is followed, and no pipe is waited for. */
const AS_IT_IS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
/** Where the services of systemd keep their state (deploy/). */
const SERVICE_FOLDERS = [PATHS.collectorState, '/var/lib/plasmawatch'];
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
 * @param users for tests: another text than that of /etc/passwd
 * @throws PlasmawatchError PW_SECRET for a file that is no token, or not only its user's
 */
export async function findApiToken(
  url: URL,
  env: Environment,
  users?: string,
): Promise<{ readonly token: string; readonly file: string } | undefined> {
  const name = apiTokenFile(url);
  if (name === undefined) return undefined;
  const own = join(stateDirectory(env), name);
  const token = await readToken(own);
  if (token !== undefined) return { token, file: own };
  for (const folder of await foldersOfOthers(url, users)) {
    const file = join(folder, name);
    const owner = await stat(folder).catch(() => undefined);
    const token = owner === undefined ? undefined : await readToken(file, owner.uid);
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
  const address = addressOf(url);
  if (address === undefined || !isLoopback(address)) return undefined;
  const usual = url.protocol === 'https:' ? '443' : '80';
  return `api-token-${formatAddress(address)}-${url.port === '' ? usual : url.port}`;
}

/** Root looks with the user who listens there, too. */
async function foldersOfOthers(url: URL, users?: string): Promise<string[]> {
  const home = process.geteuid?.() === 0 ? await homeOfListener(url, users) : undefined;
  return home === undefined ? [...SERVICE_FOLDERS] : [...SERVICE_FOLDERS, stateBelow(home)];
}

/** At this very address: at another one of loopback anybody may listen at the same port. */
async function homeOfListener(url: URL, text?: string): Promise<string | undefined> {
  const asked = addressOf(url);
  const [listener] = await readSocketTable('/proc', 'self', ({ state, local, localPort }) => {
    return (
      state === 'listen' && localPort === Number(url.port) && asked !== undefined && sameAddress(local, asked)
    );
  });
  if (listener === undefined) return undefined;
  const users = text ?? (await readFile('/etc/passwd', 'utf8').catch(() => ''));
  const fields = users.split('\n').map((line) => line.split(':'));
  return fields.find(([, , userId]) => userId === String(listener.userId))?.[5];
}

function addressOf(url: URL): Address | undefined {
  return parseAddress(url.hostname.replaceAll(/^\[|\]$/g, ''));
}

/**
 * The token in a file that `writeDraft` made; undefined where there is none that this user may read.
 *
 * Root looks into folders of others, and what it reads there goes to whom they run: a link there could name a secret of root,
 * and a pipe would let it wait for ever. So anything but a plain file of theirs is refused.
 * @param owner whose file it must be, in a folder of somebody else
 */
async function readToken(file: string, owner?: number): Promise<string | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(file, AS_IT_IS);
  } catch (error) {
    const code = systemCodeOf(error) ?? 'error';
    if (code === 'ENOENT' || code === 'EACCES' || code === 'ENOTDIR') return undefined;
    throw notAToken(file, code === 'ELOOP' ? 'it is a link' : code, error);
  }
  try {
    const facts = await handle.stat();
    if (!facts.isFile()) throw notAToken(file, 'it is no plain file');
    if (owner !== undefined && facts.uid !== owner) throw notAToken(file, `it belongs to user ${facts.uid}`);
    if ((facts.mode & OTHERS) !== 0) throw notAToken(file, `others may use it: chmod 600 ${file}`);
    const { problem } = await judgeFile(file);
    if (problem !== undefined) throw notAToken(file, problem);
    const bytes = Buffer.alloc(MAX_TOKEN_BYTES);
    const { bytesRead } = await handle.read(bytes, 0, MAX_TOKEN_BYTES, 0);
    const token = bytes.toString('latin1', 0, bytesRead).trimEnd();
    if (!TOKEN.test(token)) throw notAToken(file, 'it holds no token of a collector');
    return token;
  } finally {
    await handle.close();
  }
}

function notAToken(file: string, reason: string, cause?: unknown): PlasmawatchError {
  return new PlasmawatchError('PW_SECRET', `${WHAT}: ${file} is refused: ${reason}`, {
    operation: 'read',
    subject: file,
    cause,
  });
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
