/** The membership as this machine sees it at the moment, for commands that ask it once. */
import type { MembershipDependencies } from '../agent/membership/from-rules.ts';
import type { Raylet } from '../agent/ray/raylet.ts';
import { systemClock } from '../common/clock.ts';
import type { Logger } from '../common/log.ts';
import type { Terminal } from './command.ts';
import { dnsClient } from './dns.ts';
import { kubernetesOpener } from './kubernetes.ts';
import { localAddresses, resolveHost } from './system.ts';

/** The real sources. @param raylets those of this node */
export function sourcesHere(
  raylets: readonly Raylet[],
  logger: Logger,
  { env }: Pick<Terminal, 'env'>,
): MembershipDependencies {
  return {
    clock: systemClock,
    logger,
    fetch: globalThis.fetch,
    resolve: resolveHost,
    lookUpRecords: dnsClient(),
    findRaylets: () => Promise.resolve(raylets),
    // Where no raylet runs, this machine is somebody's desk and no node.
    localAddresses: raylets.length === 0 ? () => [] : localAddresses,
    openKubernetes: kubernetesOpener({ env }),
    random: Math.random,
  };
}
