/** What is secret of a receiver, loaded once and kept apart from its settings. */
import { isLoopbackHost } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import { loadPem, loadSecret } from '../../common/secret.ts';
import type { ReceiverConfig } from './receivers.ts';

/** What the receiver's type asks for; certificates are here because they come from files too. */
export interface ReceiverSecrets {
  readonly url?: string | undefined;
  /** Of a webhook; one a line. */
  readonly signingSecret?: string | undefined;
  readonly routingKey?: string | undefined;
  readonly token?: string | undefined;
  readonly password?: string | undefined;
  /** PEM. */
  readonly ca?: string | undefined;
  /** PEM. */
  readonly identity?: { readonly cert: string; readonly key: string } | undefined;
}

/**
 * Loads what a receiver's settings name.
 * @throws PlasmawatchError PW_SECRET; messages name files and receivers, and quote nothing
 */
export async function loadReceiverSecrets(receiver: ReceiverConfig): Promise<ReceiverSecrets> {
  // The type of the entry and that of the receiver are one, which the compiler does not follow.
  const load = LOADERS[receiver.type] as Loader<ReceiverConfig>;
  return await load(receiver, (what) => `${what} of receiver ${receiver.name}`);
}

type Loader<Receiver extends ReceiverConfig> = (
  receiver: Receiver,
  nameOf: (what: string) => string,
) => Promise<ReceiverSecrets>;

const LOADERS: {
  readonly [Type in ReceiverConfig['type']]: Loader<Extract<ReceiverConfig, { type: Type }>>;
} = {
  slack: async (receiver, nameOf) => ({ url: await loadSecretUrl(nameOf('URL'), receiver) }),
  webhook: async (receiver, nameOf) => ({
    url: await loadUrl(nameOf('URL'), receiver),
    signingSecret: await loadSecret(nameOf('signing secret'), { file: receiver.secretFile }),
  }),
  alertmanager: async (receiver, nameOf) => {
    const load = receiver.tokenFile === undefined ? loadUrl : loadSecretUrl;
    return {
      url: await load(nameOf('URL'), receiver),
      token: await loadHeaderValue(nameOf('token'), receiver.tokenFile),
    };
  },
  pagerduty: async ({ url, routingKeyFile }, nameOf) => {
    checkConfidential(nameOf('URL'), checkUrl(nameOf('URL'), url));
    return { routingKey: await loadHeaderValue(nameOf('routing key'), routingKeyFile) };
  },
  teams: async (receiver, nameOf) => ({ url: await loadSecretUrl(nameOf('URL'), receiver) }),
  email: async ({ passwordFile, caFile }, nameOf) => ({
    password: await loadSecret(nameOf('password'), { file: passwordFile }),
    ca: await loadOptionalPem(nameOf('CA'), caFile),
  }),
  syslog: async (receiver, nameOf) => ({
    ca: await loadOptionalPem(nameOf('CA'), receiver.caFile),
    identity: await loadIdentity(nameOf('TLS'), receiver),
  }),
  file: async () => ({}),
  stdout: async () => ({}),
};

async function loadUrl(
  name: string,
  { url, urlFile }: { readonly url?: string | undefined; readonly urlFile?: string | undefined },
): Promise<string> {
  return checkUrl(name, await loadSecret(name, { value: url, file: urlFile }));
}

/**
 * A URL that is a secret, or to which one is sent.
 * @param name what it is for, for messages
 * @throws PlasmawatchError PW_SECRET, also where neither `url` nor `urlFile` is given
 */
export async function loadSecretUrl(name: string, source: Parameters<typeof loadUrl>[1]): Promise<string> {
  return checkConfidential(name, await loadUrl(name, source));
}

function checkConfidential(name: string, url: string): string {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || isLoopbackHost(hostname.replaceAll(/[[\]]/g, ''))) return url;
  throw new PlasmawatchError('PW_SECRET', `${name}: expected https, or a secret would travel in clear`);
}

function checkUrl(name: string, url: string | undefined): string {
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
  if (url === undefined || parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw new PlasmawatchError('PW_SECRET', `${name}: expected an http or https URL`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new PlasmawatchError('PW_SECRET', `${name}: user and password in a URL are not supported`);
  }
  return url;
}

async function loadHeaderValue(name: string, file: string | undefined): Promise<string | undefined> {
  const value = await loadSecret(name, { file });
  if (value !== undefined && !/^[\x21-\x7e]+$/.test(value)) {
    throw new PlasmawatchError('PW_SECRET', `${name}: expected printable ASCII without spaces`);
  }
  return value;
}

async function loadOptionalPem(name: string, file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : await loadPem(name, file);
}

async function loadIdentity(
  name: string,
  { certFile, keyFile }: { readonly certFile?: string | undefined; readonly keyFile?: string | undefined },
): Promise<ReceiverSecrets['identity']> {
  if (certFile === undefined || keyFile === undefined) return undefined;
  return {
    cert: await loadPem(`${name} certificate`, certFile),
    key: await loadPem(`${name} key`, keyFile),
  };
}
