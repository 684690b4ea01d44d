/**
 * Which collector a command asks, and with what. Each setting comes from the first of these that has it: the flag, the
 * environment variable, the profile. A profile belongs to one collector: nothing of it is used for another.
 */
import { isLoopbackHost } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { loadPem, loadSecret } from '../../common/secret.ts';
import { loadProfile, type Profile } from './profile.ts';

/** Where a collector listens that nobody configured. */
export const DEFAULT_COLLECTOR_URL = 'http://127.0.0.1:9440';

type Environment = Readonly<Record<string, string | undefined>>;

/** What `collectorOptions` gives a command. */
export interface CollectorCommandOptions {
  readonly collector?: string | undefined;
  readonly 'token-file'?: string | undefined;
  readonly 'ca-file'?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** The flags of every command that asks the collector, for yargs' `options`. */
export const collectorOptions = {
  collector: {
    alias: 'url',
    type: 'string',
    requiresArg: true,
    description: `URL of the collector; or PLASMAWATCH_URL, the profile, ${DEFAULT_COLLECTOR_URL}`,
  },
  'token-file': {
    type: 'string',
    requiresArg: true,
    description:
      'file with a token of the API; or PLASMAWATCH_TOKEN_FILE, PLASMAWATCH_API_TOKEN, the profile',
  },
  'ca-file': {
    type: 'string',
    requiresArg: true,
    description: "authority of the collector's certificate (PEM); or PLASMAWATCH_CA_FILE, the profile",
  },
  cert: {
    type: 'string',
    requiresArg: true,
    description: 'client certificate (PEM); or PLASMAWATCH_CERT, the profile',
  },
  key: {
    type: 'string',
    requiresArg: true,
    description: 'key of the client certificate (PEM); or PLASMAWATCH_KEY, the profile',
  },
} as const;

/** A value with where it comes from: `--cert`, `PLASMAWATCH_CERT`, or the file of the profile. */
interface Given {
  readonly value: string;
  readonly origin: string;
}

export interface Connection {
  readonly base: URL;
  /** Where the URL comes from, for messages. */
  readonly urlOrigin: string;
  readonly token: string | undefined;
  readonly tokenOrigin: string | undefined;
  /** PEM of the authority, instead of the system's. */
  readonly ca: string | undefined;
  readonly caOrigin: string | undefined;
  /** PEM of what this client proves itself by. */
  readonly certificate: { readonly cert: string; readonly key: string; readonly origin: string } | undefined;
}

/**
 * Settles where the collector is and what it is shown. Nothing is sent.
 * @param readProfile where the profile comes from; `login`, which makes a new one, has none
 * @throws PlasmawatchError PW_USAGE for a URL of the wrong form, one that would show the token to the network, or a
 *   certificate without its key; PW_SECRET for a file that cannot be used; PW_CONFIG for a wrong profile. Each names the
 *   flag, the variable or the file that the bad value comes from.
 */
export async function settleConnection(
  options: CollectorCommandOptions,
  env: Environment,
  readProfile: typeof loadProfile = loadProfile,
): Promise<Connection> {
  const profile = await readProfile(env);
  const url = firstOf(
    flag('--collector', options.collector),
    variable('PLASMAWATCH_URL', env),
    variable('PLASMAWATCH_COLLECTOR', env),
    inProfile(profile, 'url'),
  ) ?? { value: DEFAULT_COLLECTOR_URL, origin: 'the default' };
  const base = parseCollectorUrl(url);
  const own = profile !== undefined && isSamePlace(profile.url, base) ? profile : undefined;
  const token = await tokenOf(options, env, own);
  const isClear = base.protocol === 'http:';
  if (token !== undefined && isClear && !isLoopback(base)) {
    throw new PlasmawatchError(
      'PW_USAGE',
      `the token of ${token.origin} would cross the network in clear to ${base.host} (${url.origin}): use https://`,
    );
  }
  const caFile = firstOf(
    flag('--ca-file', options['ca-file']),
    variable('PLASMAWATCH_CA_FILE', env),
    inProfile(own, 'caFile'),
  );
  return {
    base,
    urlOrigin: url.origin,
    token: token?.value,
    tokenOrigin: token?.origin,
    ca: caFile === undefined ? undefined : await pemOf(caFile),
    caOrigin: caFile?.origin,
    certificate: await certificateOf(options, env, own),
  };
}

/** Whether somebody named a collector, and did not leave it to the default. */
export async function isCollectorNamed(options: CollectorCommandOptions, env: Environment): Promise<boolean> {
  return (
    options.collector !== undefined ||
    env['PLASMAWATCH_URL'] !== undefined ||
    env['PLASMAWATCH_COLLECTOR'] !== undefined ||
    (await loadProfile(env)) !== undefined
  );
}

/** Whether a URL is on this machine, where no network sees what is sent. */
export function isLoopback({ hostname }: URL): boolean {
  return isLoopbackHost(hostname.replaceAll(/^\[|\]$/g, ''));
}

function flag(origin: string, value: string | undefined): Given | undefined {
  return value === undefined ? undefined : { value, origin };
}

function variable(name: string, env: Environment): Given | undefined {
  return flag(name, env[name]);
}

function inProfile(profile: Profile | undefined, key: Exclude<keyof Profile, 'file'>): Given | undefined {
  return profile === undefined ? undefined : flag(`${key} in ${profile.file}`, profile[key]);
}

function firstOf(...given: readonly (Given | undefined)[]): Given | undefined {
  return given.find((each) => each !== undefined);
}

/** Names its origin only: a URL of the wrong form may hold a password. */
function parseCollectorUrl({ value, origin }: Given): URL {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  const isOurs =
    url !== undefined &&
    ['http:', 'https:'].includes(url.protocol) &&
    url.search === '' &&
    url.hash === '' &&
    url.username === '' &&
    url.password === '';
  if (isOurs) return url;
  throw new PlasmawatchError(
    'PW_USAGE',
    `${origin}: expected the URL of the collector, such as https://collector.example.com:9440`,
  );
}

/** A token goes where it was given for: the same scheme, host, port and path. */
function isSamePlace(text: string, base: URL): boolean {
  if (!URL.canParse(text)) return false;
  const { origin, pathname } = new URL(text);
  return origin === base.origin && withoutSlash(pathname) === withoutSlash(base.pathname);
}

function withoutSlash(path: string): string {
  return path.replace(/\/$/, '');
}

async function tokenOf(
  options: CollectorCommandOptions,
  env: Environment,
  profile: Profile | undefined,
): Promise<Given | undefined> {
  const inFlag = flag('--token-file', options['token-file']);
  const inFile = variable('PLASMAWATCH_TOKEN_FILE', env);
  const inValue = variable('PLASMAWATCH_API_TOKEN', env);
  if (inFlag === undefined && inFile !== undefined && inValue !== undefined) {
    throw new PlasmawatchError(
      'PW_USAGE',
      'PLASMAWATCH_TOKEN_FILE and PLASMAWATCH_API_TOKEN are both set: unset one',
    );
  }
  const isValue = inFlag === undefined && inValue !== undefined;
  const given = firstOf(inFlag, inFile, inValue, inProfile(profile, 'tokenFile'));
  if (given === undefined) return undefined;
  const { value, origin } = given;
  const token = await loadSecret(`API token (${origin})`, isValue ? { value } : { file: value });
  if (token !== undefined && /^[\x21-\x7e]+$/.test(token)) return { value: token, origin };
  throw new PlasmawatchError(
    'PW_SECRET',
    `API token: expected printable ASCII without spaces in ${isValue ? origin : `${value} (${origin})`}`,
  );
}

/** Both halves from the same place: a certificate of the profile does not go with a key of the environment. */
async function certificateOf(
  options: CollectorCommandOptions,
  env: Environment,
  profile: Profile | undefined,
): Promise<Connection['certificate']> {
  const pairs = [
    [flag('--cert', options.cert), flag('--key', options.key), ['--cert', '--key']],
    [
      variable('PLASMAWATCH_CERT', env),
      variable('PLASMAWATCH_KEY', env),
      ['PLASMAWATCH_CERT', 'PLASMAWATCH_KEY'],
    ],
    [
      inProfile(profile, 'certFile'),
      inProfile(profile, 'keyFile'),
      [`certFile in ${profile?.file ?? ''}`, `keyFile in ${profile?.file ?? ''}`],
    ],
  ] as const;
  const pair = pairs.find(([cert, key]) => cert !== undefined || key !== undefined);
  if (pair === undefined) return undefined;
  const [cert, key, [certName, keyName]] = pair;
  if (cert === undefined || key === undefined) {
    const [given, missing] = cert === undefined ? [keyName, certName] : [certName, keyName];
    throw new PlasmawatchError('PW_USAGE', `${given} is given without ${missing}: give both`);
  }
  return { cert: await pemOf(cert), key: await pemOf(key), origin: `${cert.origin} and ${key.origin}` };
}

function pemOf({ value, origin }: Given): Promise<string> {
  return loadPem(origin, value);
}
