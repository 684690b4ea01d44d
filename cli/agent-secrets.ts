/** What is secret of an agent, and what it knows its collector by; loaded at the start and again when a file changes. */
import type { KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { AgentConfig } from '../agent/config.ts';
import { hasAgentKey } from '../agent/uplink/agent-key.ts';
import { isLoopbackHost } from '../common/address.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import { parseVerifyingKey } from '../common/handed-rules.ts';
import { loadPem, loadSecret } from '../common/secret.ts';
import type { Terminal } from './command.ts';
import { sharedAgentToken } from './local-tokens.ts';
import { loadRayToken } from './membership-here.ts';
import { stateDirectory } from './system.ts';

export interface AgentSecrets {
  /** What all agents share. */
  readonly token: string | undefined;
  /** PEM of the collector's authority. */
  readonly ca: string | undefined;
  /** PEM. */
  readonly certificate: { readonly cert: string; readonly key: string } | undefined;
  /** Of the collector's rules. */
  readonly rulesKey: KeyObject | undefined;
  readonly rayToken: string | undefined;
}

/**
 * Loads what the settings name.
 * @param sharesToken whether an agent without a token takes the one that a collector of this user on loopback takes, which
 *   makes its file where there is none
 * @throws PlasmawatchError PW_SECRET, PW_CONFIG; messages name files, and quote nothing
 */
export async function loadAgentSecrets(
  { collector, ray }: AgentConfig,
  terminal: Pick<Terminal, 'env'>,
  { sharesToken = true }: { readonly sharesToken?: boolean } = {},
): Promise<AgentSecrets> {
  const { caFile, certificateFile, keyFile, rulesKeyFile } = collector;
  return {
    token:
      (await agentToken(collector, terminal)) ??
      (sharesToken ? await localToken(collector, terminal) : undefined),
    ca: caFile === undefined ? undefined : await readCertificate(caFile),
    certificate:
      certificateFile === undefined || keyFile === undefined
        ? undefined
        : {
            cert: await loadPem("agent's certificate", certificateFile),
            key: await loadPem("agent's key", keyFile),
          },
    rulesKey:
      rulesKeyFile === undefined
        ? undefined
        : parseVerifyingKey(await loadPem('public key of the rules', rulesKeyFile)),
    rayToken: await loadRayToken(terminal, ray.tokenFile),
  };
}

/**
 * What the agent exchanges for a key of its own; undefined once it has one, and then the file may be gone.
 * @throws PlasmawatchError PW_SECRET
 */
export async function oneTimeToken(
  { collector, stateFolder }: AgentConfig,
  { env }: Pick<Terminal, 'env'>,
): Promise<string | undefined> {
  if (hasAgentKey(stateFolder)) return undefined;
  const source = { value: env['PLASMAWATCH_ENROL_TOKEN'], file: collector.enrolTokenFile };
  return await loadSecret('one-time token', source);
}

function agentToken(
  { tokenFile: file }: AgentConfig['collector'],
  { env }: Pick<Terminal, 'env'>,
): Promise<string | undefined> {
  return loadSecret('agent token', { value: env['PLASMAWATCH_AGENT_TOKEN'], file });
}

/** What a collector of this user takes where nobody configured a token. */
async function localToken(
  { url }: AgentConfig['collector'],
  { env }: Pick<Terminal, 'env'>,
): Promise<string | undefined> {
  const host = URL.canParse(url) ? new URL(url).hostname.replaceAll(/^\[|\]$/g, '') : '';
  if (!isLoopbackHost(host)) return undefined;
  try {
    return await sharedAgentToken([stateDirectory(env)]);
  } catch (error) {
    // A service without a home: the collector says whether it wants a token.
    if (error instanceof PlasmawatchError && error.operation === 'write') return undefined;
    throw error;
  }
}

async function readCertificate(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new PlasmawatchError('PW_CONFIG', `collector.caFile: cannot read ${path}: ${messageOf(error)}`, {
      operation: 'read',
      subject: path,
      cause: error,
    });
  }
}
