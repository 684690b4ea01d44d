/**
 * The provider of pods: those with certain labels in a namespace, as the Kubernetes API tells them. Without labels,
 * the nodes of the Ray clusters that KubeRay started there.
 */
import { formatAddress, type Address } from '../../common/address.ts';
import type { Clock, Timer } from '../../common/clock.ts';
import type { Logger } from '../../common/log.ts';
import { keyOfPods } from '../../common/shared-view.ts';
import type { GroupSources } from '../../rules/schema.ts';
import type { OpenKubernetesApi } from '../kubernetes/api.ts';
import { hasEnded, idOf, toMember, type Pod } from '../kubernetes/pod.ts';
import { PodWatch, SILENCE_LIMIT_MS } from '../kubernetes/pod-watch.ts';
import { wallAheadMs } from '../capture/packet-time.ts';
import type { GroupView, Member, Provider } from './provider.ts';
import { createRestingProvider } from './resting.ts';
import type { SharedMembers } from './shared.ts';

/** The first change is told at once; those that follow within this are told together. */
const COLLECT_MS = 200;
/** So often a view is told again that nothing has changed in, for its age. */
const CONFIRM_MS = 10_000;

/** What the rules say of the pods. */
export type PodsSource = NonNullable<GroupSources['kubernetes']>;

interface KubernetesDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random: () => number;
  readonly openKubernetes: OpenKubernetesApi;
  /** What other agents have read of the same pods, and where ours goes. */
  readonly sharedMembers?: SharedMembers | undefined;
}

/** A provider of these pods; with other agents at the collector, one of them watches for all. */
export function createKubernetesProvider(source: PodsSource, dependencies: KubernetesDependencies): Provider {
  const { sharedMembers, openKubernetes, clock } = dependencies;
  const create = (): Provider => createWatchingProvider(source, dependencies);
  if (sharedMembers === undefined) return create();
  return createRestingProvider({
    name: nameOf(source),
    create,
    shared: sharedMembers,
    freshMs: SILENCE_LIMIT_MS,
    clock,
    async findKey() {
      const api = await openKubernetes().catch(() => undefined);
      return api && keyOfPods(api.identity, source.namespace ?? api.namespace, selectorOf(source));
    },
  });
}

function nameOf(source: PodsSource): string {
  return `kubernetes ${source.cluster ?? selectorOf(source)}`;
}

function createWatchingProvider(
  source: PodsSource,
  { clock, logger, random, openKubernetes }: KubernetesDependencies,
): Provider {
  const selector = selectorOf(source);
  const name = nameOf(source);
  let publish: ((view: GroupView) => void) | undefined;
  let collecting: Timer | undefined;
  let confirming: Timer | undefined;
  let publishedAtMs = -Infinity;
  let before: ReadonlyMap<string, Pod> = new Map();
  const known = new WeakMap<Pod, Member | undefined>();

  const watch = new PodWatch({
    open: openKubernetes,
    namespace: source.namespace,
    selector,
    clock,
    logger,
    random,
    changed() {
      if (collecting !== undefined) return;
      const waitMs = publishedAtMs + COLLECT_MS - clock.monotonic();
      if (waitMs <= 0) show();
      else collecting = clock.after(waitMs, show);
    },
  });

  function memberOf(pod: Pod): Member | undefined {
    if (!known.has(pod)) known.set(pod, inMonotonicTime(toMember(pod, name), clock));
    return known.get(pod);
  }

  function show(): void {
    collecting?.cancel();
    collecting = undefined;
    const asOfMs = watch.heardAtMs;
    if (asOfMs === undefined) return;
    publishedAtMs = clock.monotonic();
    const pods = new Map([...watch.pods].map((pod) => [pod.metadata.uid, pod]));
    const members = ownersOf([...pods.values()].map(memberOf).filter((member) => member !== undefined));
    const gone = [...before.values()].filter(({ metadata: { uid } }) => !pods.has(uid));
    const ended = [...gone, ...[...pods.values()].filter(hasEnded)].map(idOf);
    before = pods;
    publish?.({ members, prefixes: [], asOfMs, ended });
  }

  return {
    name,
    async start(take) {
      publish = take;
      confirming = clock.every(CONFIRM_MS, show);
      await watch.start();
    },
    /** Changes arrive by themselves; there is nothing to ask for. */
    refresh: () => Promise.resolve(watch.heardAtMs === undefined || watch.isWatching ? 'answered' : 'failed'),
    async stop() {
      publish = undefined;
      confirming?.cancel();
      await watch.stop();
      collecting?.cancel();
    },
  };
}

/** The labels that a pod must carry, as a label selector. */
export function selectorOf({ cluster, labels = {} }: PodsSource): string {
  const isRay = cluster !== undefined || Object.keys(labels).length === 0;
  const wanted = {
    ...labels,
    ...(cluster === undefined ? {} : { 'ray.io/cluster': cluster }),
    ...(isRay ? { 'ray.io/is-ray-node': 'yes' } : {}),
  };
  return Object.entries(wanted)
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}

/** The API server says by the wall clock since when a pod is there; membership goes by the monotonic one. */
function inMonotonicTime(member: Member | undefined, clock: Clock): Member | undefined {
  if (member?.sinceMs === undefined) return member;
  return { ...member, sinceMs: member.sinceMs - wallAheadMs(clock) };
}

/**
 * The members, each with the addresses that are its own. A pod that hangs in deletion on a lost node is listed with an
 * address that the network may have given to a later pod, and that one has it then. Pods on their host's network share
 * its address.
 */
function ownersOf(members: readonly Member[]): Member[] {
  const latest = new Map<string, Member>();
  for (const member of members) {
    if (member.isShared === true) continue;
    for (const address of member.addresses) {
      const key = formatAddress(address);
      const other = latest.get(key);
      if (other === undefined || (member.sinceMs ?? 0) >= (other.sinceMs ?? 0)) latest.set(key, member);
    }
  }
  const isOwn = (member: Member, address: Address): boolean =>
    member.isShared === true || latest.get(formatAddress(address)) === member;
  return members.flatMap((member) => {
    if (member.addresses.every((address) => isOwn(member, address))) return [member];
    const addresses = member.addresses.filter((address) => isOwn(member, address));
    return addresses.length === 0 ? [] : [{ ...member, addresses }];
  });
}
