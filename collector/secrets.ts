/** Everything of the collector that is secret, loaded once and kept apart from its settings. */
import type { KeyObject } from 'node:crypto';
import { PlasmawatchError } from '../common/errors.ts';
import { parseSigningKey } from '../common/handed-rules.ts';
import { loadPem, loadSecret } from '../common/secret.ts';
import type { ApiToken } from './api/access.ts';
import type { ServerTls } from './api/server.ts';
import type { CollectorConfig } from './config.ts';
import { loadReceiverSecrets, loadSecretUrl, type ReceiverSecrets } from './notify/receiver-secrets.ts';

/** Shorter ones could be guessed. */
const MIN_TOKEN_LENGTH = 16;
/** Who presents the token of `apiTokenFile`. */
const ADMIN_NAME = 'admin';

export interface CollectorSecrets {
  readonly agentToken?: string | undefined;
  /** Of users of the API, each with its name and role. */
  readonly apiTokens?: readonly ApiToken[] | undefined;
  /** PEM. */
  readonly tls?: ServerTls | undefined;
  /** By name of the receiver; one for each that is configured. */
  readonly receivers: ReadonlyMap<string, ReceiverSecrets>;
  readonly influxPassword?: string | undefined;
  readonly deadManUrl?: string | undefined;
  /** Signs the rules that are handed out; there when `rules` is configured. */
  readonly rulesKey?: KeyObject | undefined;
}

/** The variables that are looked at. */
export interface SecretEnvironment {
  readonly PLASMAWATCH_AGENT_TOKEN?: string | undefined;
  readonly PLASMAWATCH_API_TOKEN?: string | undefined;
  readonly PLASMAWATCH_DEAD_MAN_URL?: string | undefined;
}

/**
 * Loads what the settings name.
 * @throws PlasmawatchError PW_SECRET; messages name files and receivers, and quote nothing
 */
export async function loadCollectorSecrets(
  config: CollectorConfig,
  environment: SecretEnvironment,
): Promise<CollectorSecrets> {
  const receivers = new Map<string, ReceiverSecrets>();
  for (const receiver of config.receivers) receivers.set(receiver.name, await loadReceiverSecrets(receiver));
  return {
    agentToken: await loadToken('agent token', environment.PLASMAWATCH_AGENT_TOKEN, config.agentTokenFile),
    apiTokens: await loadApiTokens(config, environment),
    tls: config.tls === undefined ? undefined : await loadTls(config.tls),
    receivers,
    influxPassword: await loadSecret('InfluxDB password', { file: config.influx?.passwordFile }),
    deadManUrl: await loadDeadManUrl(config, environment),
    rulesKey: config.rules && parseSigningKey(await loadPem('key of the rules', config.rules.keyFile)),
  };
}

async function loadDeadManUrl(
  { deadMan }: CollectorConfig,
  { PLASMAWATCH_DEAD_MAN_URL: url }: SecretEnvironment,
): Promise<string | undefined> {
  const source = { url, urlFile: deadMan.urlFile };
  return Object.values(source).every((given) => given === undefined)
    ? undefined
    : await loadSecretUrl('dead-man URL', source);
}

/** The one token of `apiTokenFile` may do everything; those of `apiTokens` have roles. */
async function loadApiTokens(
  { apiTokenFile, apiTokens }: CollectorConfig,
  { PLASMAWATCH_API_TOKEN }: SecretEnvironment,
): Promise<ApiToken[]> {
  const loaded: ApiToken[] = [];
  const admin = await loadToken('API token', PLASMAWATCH_API_TOKEN, apiTokenFile);
  if (admin !== undefined) loaded.push({ name: ADMIN_NAME, role: 'admin', token: admin });
  for (const { name, role, tokenFile } of apiTokens) {
    const token = await loadToken(`API token of ${name}`, undefined, tokenFile);
    if (token === undefined) continue;
    const twin = loaded.find((other) => other.token === token);
    if (twin !== undefined) {
      throw new PlasmawatchError('PW_SECRET', `API token of ${name}: it is that of ${twin.name}, too`);
    }
    loaded.push({ name, role, token });
  }
  return loaded;
}

async function loadToken(
  name: string,
  value: string | undefined,
  file: string | undefined,
): Promise<string | undefined> {
  const token = await loadSecret(name, { value, file });
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new PlasmawatchError('PW_SECRET', `${name}: expected printable ASCII without spaces`);
  }
  if (token !== undefined && token.length < MIN_TOKEN_LENGTH) {
    throw new PlasmawatchError(
      'PW_SECRET',
      `${name}: expected at least ${MIN_TOKEN_LENGTH} characters, got ${token.length}: make one with openssl rand -hex 32`,
    );
  }
  return token;
}

async function loadTls({ cert, key, clientCa }: NonNullable<CollectorConfig['tls']>): Promise<ServerTls> {
  return {
    cert: await loadPem('TLS certificate', cert),
    key: await loadPem('TLS key', key),
    clientCa: clientCa === undefined ? undefined : await loadPem('authority of clients', clientCa),
  };
}
