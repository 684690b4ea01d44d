/** Everything of the collector that is secret, loaded once and kept apart from its settings. */
import { readTextFile } from '../common/config-file.ts';
import { PlasmawatchError } from '../common/errors.ts';
import { loadSecret } from '../common/secret.ts';
import type { CollectorConfig, ReceiverConfig } from './config.ts';

export interface ReceiverSecrets {
  readonly url: string;
  /** Of a webhook; Slack has none. */
  readonly signingSecret?: string | undefined;
}

export interface CollectorSecrets {
  readonly agentToken?: string | undefined;
  readonly apiToken?: string | undefined;
  /** PEM. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** By name of the receiver; one for each that is configured. */
  readonly receivers: ReadonlyMap<string, ReceiverSecrets>;
  readonly influxPassword?: string | undefined;
}

/** The variables that are looked at. */
export interface SecretEnvironment {
  readonly PLASMAWATCH_AGENT_TOKEN?: string | undefined;
  readonly PLASMAWATCH_API_TOKEN?: string | undefined;
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
  for (const receiver of config.receivers) receivers.set(receiver.name, await loadReceiver(receiver));
  return {
    agentToken: await loadToken('agent token', environment.PLASMAWATCH_AGENT_TOKEN, config.agentTokenFile),
    apiToken: await loadToken('API token', environment.PLASMAWATCH_API_TOKEN, config.apiTokenFile),
    tls: config.tls === undefined ? undefined : await loadTls(config.tls),
    receivers,
    influxPassword: await loadSecret('InfluxDB password', { file: config.influx?.passwordFile }),
  };
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
  return token;
}

async function loadReceiver(receiver: ReceiverConfig): Promise<ReceiverSecrets> {
  const name = `URL of receiver ${receiver.name}`;
  const url = await loadSecret(name, { value: receiver.url, file: receiver.urlFile });
  const parsed = url !== undefined && URL.canParse(url) ? new URL(url) : undefined;
  if (url === undefined || parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw new PlasmawatchError('PW_SECRET', `${name}: expected an http or https URL`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new PlasmawatchError('PW_SECRET', `${name}: user and password in a URL are not supported`);
  }
  if (receiver.type === 'slack') return { url };
  const file = receiver.secretFile;
  return { url, signingSecret: await loadSecret(`signing secret of receiver ${receiver.name}`, { file }) };
}

async function loadTls({ cert, key }: { cert: string; key: string }): Promise<{ cert: string; key: string }> {
  return { cert: await loadPem('TLS certificate', cert), key: await loadPem('TLS key', key) };
}

/** Not `loadSecret`: a chain of certificates is longer than a token may be. */
async function loadPem(name: string, file: string): Promise<string> {
  const { text, problem } = await readTextFile(file);
  if (text?.includes('-----BEGIN ') === true) return text;
  throw new PlasmawatchError('PW_SECRET', `${name} ${file}: ${problem ?? 'expected PEM (-----BEGIN …)'}`, {
    operation: 'read',
    subject: file,
  });
}
