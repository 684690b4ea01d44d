/** Makes the membership that a rule file asks for: a provider for each source of each group. */
import type { Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import type { Ruleset } from '../../rules/match.ts';
import type { MembershipTimes } from '../../rules/membership.ts';
import type { GroupSources } from '../../rules/schema.ts';
import type { OpenKubernetesApi } from '../kubernetes/api.ts';
import type { HttpGet } from '../ray/http-get.ts';
import type { Raylet } from '../ray/raylet.ts';
import { createDnsProvider, type LookUpRecords } from './dns.ts';
import { createFileProvider } from './file.ts';
import { createHostsProvider } from './hosts.ts';
import { createKubernetesProvider } from './kubernetes.ts';
import { Membership } from './membership.ts';
import type { Provider } from './provider.ts';
import { createRayProvider } from './ray.ts';
import type { SharedMembers } from './shared.ts';
import { createCidrProvider } from './static.ts';

/** What the providers need of the outside world. */
export interface MembershipDependencies {
  readonly clock: Clock;
  /** For how long a source's word counts; `DEFAULT_TIMES` when left out. */
  readonly times?: MembershipTimes | undefined;
  /** The age, in ms, past which a source's word is an incident: none is asked less often than twice in it. */
  readonly staleAfterMs?: number | undefined;
  readonly logger: Logger;
  readonly fetch: HttpGet;
  /** All addresses of a host name, as text. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
  readonly lookUpRecords: LookUpRecords;
  /** The raylets of this network namespace; none in a replay. Rejects while they cannot be looked for. */
  readonly findRaylets: () => Promise<readonly Raylet[]>;
  /** Every address of this machine; left out in a replay, where the machine is not the one that was recorded. */
  readonly localAddresses?: (() => readonly string[]) | undefined;
  /** The users whose sockets listen at a port of this machine; left out in a replay. */
  readonly listeningUsers?: ((address: Address, port: number) => Promise<ReadonlySet<number>>) | undefined;
  /** What other agents have read of the cluster; undefined where there is no collector. */
  readonly sharedMembers?: SharedMembers | undefined;
  /** Ray's own token, where the cluster wants one; it is sent to the head's dashboard only. */
  readonly rayToken?: string | undefined;
  /** Undefined in a replay, where the pods of today say nothing. */
  readonly openKubernetes?: OpenKubernetesApi | undefined;
  /** Numbers from 0 up to 1, for the jitter of waits. */
  readonly random: () => number;
}

/** The membership that the rules ask for, not yet started. */
export function createMembership(
  { groups, approvals }: Pick<Ruleset, 'groups' | 'approvals'>,
  dependencies: MembershipDependencies,
): Membership {
  const providers = [...groups].map(
    ([name, sources]) => [name, createProviders(sources, dependencies)] as const,
  );
  const { clock, times, localAddresses } = dependencies;
  const nodeAddresses = dependencies.sharedMembers?.nodes;
  if (approvals === undefined)
    return new Membership({ providers: new Map(providers), clock, times, localAddresses, nodeAddresses });
  const { cidr, hosts, ids = [], nodeGroups = [] } = approvals;
  return new Membership({
    providers: new Map(providers),
    clock,
    times,
    localAddresses,
    nodeAddresses,
    approved: {
      providers: createProviders({ cidr, hosts }, dependencies),
      ids: new Set(ids),
      nodeGroups: new Set(nodeGroups),
    },
  });
}

function createProviders(sources: GroupSources, dependencies: MembershipDependencies): Provider[] {
  const { localAddresses = () => [] } = dependencies;
  const providers: Provider[] = [];
  if (sources.ray !== undefined) providers.push(createRayProvider({ ...dependencies, localAddresses }));
  if (sources.cidr !== undefined) providers.push(createCidrProvider(sources.cidr));
  if (sources.hosts !== undefined) providers.push(createHostsProvider(sources.hosts, dependencies));
  if (sources.dns !== undefined) providers.push(createDnsProvider(sources.dns, dependencies));
  if (sources.file !== undefined) providers.push(createFileProvider(sources.file, dependencies));
  const { openKubernetes } = dependencies;
  if (sources.kubernetes !== undefined && openKubernetes !== undefined)
    providers.push(createKubernetesProvider(sources.kubernetes, { ...dependencies, openKubernetes }));
  return providers;
}
