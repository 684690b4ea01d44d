/** The membership as this machine sees it at the moment, for commands that ask it once. */
import type { MembershipDependencies } from '../agent/membership/from-rules.ts';
import { listeningUsers } from '../agent/process/socket-table.ts';
import { httpGet } from '../agent/ray/http-get.ts';
import { findRaylets, type Raylet } from '../agent/ray/raylet.ts';
import { systemClock } from '../common/clock.ts';
import { PlasmawatchError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import { loadSecret } from '../common/secret.ts';
import type { Terminal } from './command.ts';
import { dnsClient } from './dns.ts';
import { kubernetesOpener } from './kubernetes.ts';
import { rayletTrust } from './raylet-trust.ts';
import { localAddresses, resolveHost } from './system.ts';

/** What this machine's sources are asked with. */
export interface Here {
  readonly raylets: readonly Raylet[];
  /** Ray's own token, where the cluster wants one. */
  readonly rayToken: string | undefined;
}

/** The raylets of this node that are believed without settings, none where they cannot be looked for, and the token in the environment. */
export async function lookHere(terminal: Pick<Terminal, 'env'>): Promise<Here> {
  const trust = await rayletTrust({}, terminal);
  const raylets = await findRaylets({ trust }).catch((error: unknown) => {
    if (error instanceof PlasmawatchError) return [];
    throw error;
  });
  return { raylets, rayToken: await loadRayToken(terminal) };
}

/** Ray's own token from a file or, as for Ray, from RAY_AUTH_TOKEN; an empty variable is none, as for Ray. */
export function loadRayToken({ env }: Pick<Terminal, 'env'>, file?: string): Promise<string | undefined> {
  const value = env['RAY_AUTH_TOKEN'] === '' ? undefined : env['RAY_AUTH_TOKEN'];
  return loadSecret('Ray token', { value, file });
}

/** The real sources. */
export function sourcesHere(
  { raylets, rayToken }: Here,
  logger: Logger,
  { env }: Pick<Terminal, 'env'>,
): MembershipDependencies {
  return {
    rayToken,
    clock: systemClock,
    logger,
    fetch: httpGet,
    resolve: resolveHost,
    lookUpRecords: dnsClient(),
    findRaylets: () => Promise.resolve(raylets),
    // Where no raylet runs, this machine is somebody's desk and no node.
    localAddresses: raylets.length === 0 ? () => [] : localAddresses,
    listeningUsers,
    openKubernetes: kubernetesOpener({ env }),
    random: Math.random,
  };
}
