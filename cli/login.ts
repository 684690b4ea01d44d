/** `plasmawatch login`: checks a collector's URL with what it is shown, and keeps them as the profile. */
import { join, resolve } from 'node:path';
import type { ArgumentsCamelCase } from 'yargs';
import { z } from 'zod';
import { PlasmawatchError } from '../common/errors.ts';
import { CollectorClient, isNotTrusted } from './collector-client.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { loadProfile, profileFolder, writePrivateFile, writeProfile } from './connection/profile.ts';
import { isSameFingerprint, readServerCertificate } from './connection/server-certificate.ts';
import { writeLine, writeProblem } from './output.ts';
import { readSecret } from './secret-input.ts';

interface LoginOptions {
  readonly address: string;
  readonly 'token-stdin': boolean;
  readonly 'token-file': string | undefined;
  readonly 'ca-file': string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly fingerprint: string | undefined;
}

export const loginCommand: Command<LoginOptions> = {
  usage: 'login <address>',
  description: 'check the URL of a collector, and keep it as the profile of this user',
  options: (yargs) =>
    yargs
      .positional('address', {
        type: 'string',
        demandOption: true,
        description: 'such as https://collector.example.com:9440',
      })
      .option('token-stdin', {
        type: 'boolean',
        default: false,
        description: 'read the token of the API from standard input and keep it beside the profile',
      })
      .option('token-file', {
        type: 'string',
        requiresArg: true,
        description: 'or name a file that holds it and stays where it is',
      })
      .option('ca-file', {
        type: 'string',
        requiresArg: true,
        description: "authority of the collector's certificate (PEM)",
      })
      .option('cert', { type: 'string', requiresArg: true, description: 'client certificate (PEM)' })
      .option('key', { type: 'string', requiresArg: true, description: 'its key (PEM)' })
      .option('fingerprint', {
        type: 'string',
        requiresArg: true,
        description: "SHA-256 of the collector's certificate, to trust this one without its authority",
      }),
  run: login,
};

async function login(options: ArgumentsCamelCase<LoginOptions>, terminal: Terminal): Promise<ExitStatus> {
  const { tokenStdin, address } = options;
  if (tokenStdin && options.tokenFile !== undefined) {
    throw new PlasmawatchError('PW_USAGE', 'give either --token-stdin or --token-file');
  }
  const given = {
    collector: address,
    'ca-file': absolute(options.caFile),
    'token-file': absolute(options.tokenFile),
    cert: absolute(options.cert),
    key: absolute(options.key),
  };
  const token = tokenStdin ? await readSecret('API token', terminal.stdin) : undefined;
  const { env, stopSignal } = terminal;
  // Only flags and standard input count here: what is kept must work by itself.
  const surroundings = {
    stopSignal,
    env: { ...withoutSettings(env), ...(token === undefined ? {} : { PLASMAWATCH_API_TOKEN: token }) },
  };
  const pinned = await check(given, { fingerprint: options.fingerprint, surroundings, terminal });
  if (pinned === undefined) return 2;
  const before = await loadProfile(env).catch(() => undefined);
  const file = await writeProfile(env, {
    url: address,
    caFile: pinned['ca-file'],
    certFile: given.cert,
    keyFile: given.key,
    tokenFile:
      token === undefined
        ? given['token-file']
        : await writePrivateFile(join(profileFolder(env), 'token'), `${token}\n`),
  });
  const replaced = before === undefined || before.url === address ? '' : ` (in place of ${before.url})`;
  writeLine(terminal, `logged in to ${address}${replaced}; profile: ${file}`);
  writeLine(terminal, 'Next: plasmawatch incidents, plasmawatch agents');
  return 0;
}

type Flags = Readonly<Record<'collector' | 'ca-file' | 'token-file' | 'cert' | 'key', string | undefined>>;

/**
 * Asks the collector something that every token may ask.
 * @returns the flags it answered to; undefined where its certificate is not trusted: then its fingerprint was shown
 */
async function check(
  flags: Flags,
  {
    fingerprint,
    surroundings,
    terminal,
  }: {
    readonly fingerprint: string | undefined;
    readonly surroundings: Pick<Terminal, 'env' | 'stopSignal'>;
    readonly terminal: Terminal;
  },
): Promise<Flags | undefined> {
  try {
    await ask(flags, surroundings);
    return flags;
  } catch (error) {
    if (!isNotTrusted(error) || flags['ca-file'] !== undefined) throw error;
  }
  const url = new URL(flags.collector ?? '');
  const shown = await readServerCertificate(url, terminal.stopSignal);
  if (fingerprint === undefined || !isSameFingerprint(fingerprint, shown.fingerprint)) {
    writeProblem(
      terminal,
      fingerprint === undefined
        ? `plasmawatch: the certificate of ${url.host} is not trusted [PW_API]`
        : `plasmawatch: the certificate of ${url.host} has another fingerprint than --fingerprint [PW_API]`,
    );
    writeProblem(terminal, `  SHA-256 ${shown.fingerprint}`);
    writeProblem(
      terminal,
      "  Give its authority with --ca-file. Or compare this with the collector's own (openssl x509 -in CERT -noout -fingerprint -sha256) and give it with --fingerprint.",
    );
    return undefined;
  }
  const caFile = join(profileFolder(terminal.env), 'collector.pem');
  await writePrivateFile(caFile, shown.pem);
  const trusting = { ...flags, 'ca-file': caFile };
  await ask(trusting, surroundings);
  return trusting;
}

async function ask(flags: Flags, surroundings: Pick<Terminal, 'env' | 'stopSignal'>): Promise<void> {
  const client = await CollectorClient.create(flags, surroundings, async () => undefined);
  await client.get('/api/incidents?limit=1', z.looseObject({ incidents: z.array(z.unknown()) }));
}

/** The environment without any other answer to what `login` is told by flags. */
function withoutSettings(env: Terminal['env']): Terminal['env'] {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PLASMAWATCH_')));
}

function absolute(file: string | undefined): string | undefined {
  return file === undefined ? undefined : resolve(file);
}
