/**
 * The profile: which collector a person's commands ask, and with what, kept in one file so that nobody has to repeat it.
 * `plasmawatch login` writes it. It names the files of secrets and holds none itself.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { loadYamlFile } from '../../common/config-file.ts';
import { PlasmawatchError, systemCodeOf } from '../../common/errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

const path = z.string().min(1).max(4096).optional();

/** Paths are relative to the profile's folder. */
const profileSchema = z.strictObject({
  url: z.string().min(1).max(2048),
  caFile: path,
  tokenFile: path,
  certFile: path,
  keyFile: path,
});

export type ProfileSettings = z.output<typeof profileSchema>;

export interface Profile extends ProfileSettings {
  /** Where it was read, for messages. */
  readonly file: string;
}

/** The folder of the profile and of what `login` keeps beside it (XDG Base Directory Specification). */
export function profileFolder(env: Environment): string {
  const base = [env['XDG_CONFIG_HOME'], below(env['HOME']), below(homedir())].find(
    (folder) => folder !== undefined && isAbsolute(folder),
  );
  return join(base ?? '/', 'plasmawatch');
}

function below(home: string | undefined): string | undefined {
  return home === undefined ? undefined : join(home, '.config');
}

/** The file of the profile. */
export function profileFile(env: Environment): string {
  return join(profileFolder(env), 'config.yaml');
}

/**
 * The profile of this user; undefined where there is none.
 * @throws PlasmawatchError PW_CONFIG for one that is wrong, or that everybody may write: it says where tokens go
 */
export async function loadProfile(env: Environment): Promise<Profile | undefined> {
  const file = profileFile(env);
  try {
    await stat(file);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCodeOf(error) ?? '')) return undefined;
    throw error;
  }
  const { value, diagnostics } = await loadYamlFile(profileSchema, file);
  if (value !== undefined) return { ...withAbsolutePaths(value, dirname(file)), file };
  const first = diagnostics.find(({ severity }) => severity === 'error');
  const place = first === undefined || first.line === 0 ? file : `${file}:${first.line}:${first.column}`;
  throw new PlasmawatchError(
    'PW_CONFIG',
    `profile ${place}: ${first?.message ?? 'invalid'}; mend it, or write it anew: plasmawatch login URL`,
    { operation: 'read', subject: file },
  );
}

function withAbsolutePaths(settings: ProfileSettings, folder: string): ProfileSettings {
  const absolute = (file: string | undefined) => (file === undefined ? undefined : resolve(folder, file));
  const { url, caFile, tokenFile, certFile, keyFile } = settings;
  return {
    url,
    caFile: absolute(caFile),
    tokenFile: absolute(tokenFile),
    certFile: absolute(certFile),
    keyFile: absolute(keyFile),
  };
}

/**
 * Writes the profile, in place of the one that was there.
 * @returns the file
 * @throws PlasmawatchError PW_CONFIG when it cannot be written
 */
export async function writeProfile(env: Environment, settings: ProfileSettings): Promise<string> {
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  return await writePrivateFile(profileFile(env), stringify(given));
}

/**
 * Puts a file of mode 0600 in place of the one that was there: whole, or not at all. Makes its folder, mode 0700.
 * @returns the file
 * @throws PlasmawatchError PW_CONFIG
 */
export async function writePrivateFile(file: string, text: string): Promise<string> {
  const draft = `${file}.${randomBytes(8).toString('hex')}`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, file);
    return file;
  } catch (error) {
    await rm(draft, { force: true });
    throw new PlasmawatchError('PW_CONFIG', `cannot write ${file}: ${systemCodeOf(error) ?? 'error'}`, {
      operation: 'write',
      subject: file,
      cause: error,
    });
  }
}
