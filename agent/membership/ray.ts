/**
 * The provider `ray: auto`: what Ray itself says about the cluster, seen from this node. The raylets of this network
 * namespace (found in /proc) tell this node's ports and where the head is; the head's dashboard, where it can be
 * reached, lists the other nodes with their ports.
 *
 * Ray's list is evidence, not proof: whoever runs `ray start --address` is on it.
 */
import { isLoopback, parseAddress, sameAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { DEFAULT_DASHBOARD_PORT, listNodes, type ListedNode } from '../ray/dashboard.ts';
import type { Raylet } from '../ray/raylet.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import type { SharedMembers } from './shared.ts';

const POLL_INTERVAL_MS = 5000;
const LOOPBACK = '127.0.0.1';

interface RayDependencies {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly fetch: typeof globalThis.fetch;
  /** The raylets of this network namespace. */
  readonly findRaylets: () => Promise<readonly Raylet[]>;
  /** Every address of this machine. */
  readonly localAddresses: () => readonly string[];
  /** What other agents have read of the cluster, and where ours goes. */
  readonly sharedMembers?: SharedMembers | undefined;
  /** Ray's own token, where the cluster wants one. */
  readonly rayToken?: string | undefined;
}

/** The head of the cluster, as the raylets of this node know it. */
interface Head {
  readonly address: string;
  readonly gcsPort: number;
  /** Undefined where they were not told it. */
  readonly dashboardPort: number | undefined;
  /** Whether a raylet names it that was seen to be Ray's. Anybody's program could name another, and be sent the token. */
  readonly isProven: boolean;
}

/** The dashboard's last good list, or another agent's. */
interface NodeList {
  readonly members: readonly Member[];
  /** When it was asked for. */
  readonly asOfMs: number;
  /** Ids of nodes that Ray says are dead. */
  readonly ended?: readonly string[];
}

export function createRayProvider(dependencies: RayDependencies): Provider {
  const { clock, logger } = dependencies;
  let publish: ((view: GroupView) => void) | undefined;
  /** The head that was found last; it is asked on after the raylet of this node has ended. */
  let head: Head | undefined;
  let listed: NodeList | undefined;
  /** Since when a raylet is here, and nobody has told of the other nodes. */
  let waitingSinceMs: number | undefined;
  let isDashboardAway = false;
  /** Where only the head reaches its dashboard, the others never ask it with somebody waiting. */
  let hasDashboardAnswered = false;

  async function look(isUrgent: boolean): Promise<LookResult> {
    const raylets = await dependencies.findRaylets();
    head = findHead(raylets) ?? head;
    if (head !== undefined) await learnNodes(head, clusterKey(raylets), isUrgent);
    const members = [
      ownMember(raylets, dependencies.localAddresses()),
      ...headMember(head),
      ...(listed?.members ?? []),
    ];
    waitingSinceMs =
      raylets.length === 0 || listed !== undefined ? undefined : (waitingSinceMs ?? clock.now());
    // Where no raylet runs, nothing of Ray is here that would need to know the others.
    const asOfMs = raylets.length === 0 ? undefined : (listed?.asOfMs ?? waitingSinceMs);
    publish?.({
      members,
      prefixes: [],
      ...(asOfMs === undefined ? {} : { asOfMs }),
      ...(listed === undefined ? { isPartial: true } : {}),
      ...(listed?.ended === undefined ? {} : { ended: listed.ended }),
    });
    return isDashboardAway && hasDashboardAnswered ? 'failed' : 'answered';
  }

  /** From the view that another agent has read, where there is a fresh one, or else from the head. */
  async function learnNodes(from: Head, cluster: string | undefined, isUrgent: boolean): Promise<void> {
    const { sharedMembers } = dependencies;
    const shared = cluster === undefined ? undefined : sharedMembers?.restOn(cluster);
    if (shared !== undefined) listed = shared;
    // Somebody unknown talks: the reporter's next view may come too late.
    if (shared !== undefined && !(isUrgent && hasDashboardAnswered)) return;
    await askDashboard(from, isUrgent);
    if (cluster !== undefined && !isDashboardAway && listed !== undefined)
      sharedMembers?.offer(cluster, listed.members);
  }

  async function askDashboard(from: Head, isUrgent: boolean): Promise<void> {
    const { address, dashboardPort: port = DEFAULT_DASHBOARD_PORT } = from;
    const asOfMs = clock.now();
    try {
      const nodes = await listFrom(dashboardHosts(address), { ...from, dashboardPort: port }, isUrgent);
      listed = { ...toList(nodes, portsOfHead({ ...from, dashboardPort: port })), asOfMs };
      if (isDashboardAway) logger.info({ head: address }, 'the Ray dashboard answers again');
      isDashboardAway = false;
      hasDashboardAnswered = true;
    } catch (error) {
      if (!isDashboardAway) {
        logger.warn(
          { head: address, reason: messageOf(error) },
          'the Ray dashboard does not answer: other nodes stay as last known',
        );
      }
      isDashboardAway = true;
    }
  }

  /** The first that answers; where none does, the last one's reason. */
  async function listFrom(
    [host = '', ...others]: readonly string[],
    from: Head & { readonly dashboardPort: number },
    isUrgent: boolean,
  ): Promise<ListedNode[]> {
    const { fetch, rayToken } = dependencies;
    const token = from.isProven ? rayToken : undefined;
    try {
      return await listNodes({ host, port: from.dashboardPort, fetch, isUrgent, token });
    } catch (error) {
      if (others.length === 0) throw error;
      return await listFrom(others, from, isUrgent);
    }
  }

  /** Unless told otherwise, the dashboard listens on the head's loopback only. */
  function dashboardHosts(head: string): string[] {
    const address = parseAddress(head);
    const own = toAddresses(dependencies.localAddresses());
    const isThisNode = address !== undefined && own.some((each) => sameAddress(each, address));
    return isThisNode && head !== LOOPBACK ? [LOOPBACK, head] : [head];
  }

  const loop = new LookLoop({ clock, intervalMs: () => POLL_INTERVAL_MS, look });
  return {
    name: 'ray',
    start(take) {
      publish = take;
      return loop.start();
    },
    refresh: () => loop.lookNow(),
    stop: () => loop.stop(),
  };
}

/** This node: its addresses are members even before a raylet runs. */
function ownMember(raylets: readonly Raylet[], localAddresses: readonly string[]): Member {
  const texts = [...localAddresses, ...raylets.map((raylet) => raylet.nodeAddress)];
  const id = raylets.find(({ nodeId }) => nodeId !== '')?.nodeId ?? 'this node';
  const workerPorts = raylets.find((raylet) => raylet.workerPorts !== undefined)?.workerPorts;
  return {
    id,
    addresses: toAddresses(texts),
    ports: ownPorts(raylets),
    ...(workerPorts === undefined ? {} : { workerPorts }),
    source: 'ray',
    isLocal: true,
  };
}

function ownPorts(raylets: readonly Raylet[]): ReadonlyMap<string, readonly number[]> {
  const told = raylets.flatMap(({ objectManagerPort, nodeManagerPort, agentPorts }) => [
    ['object-manager', objectManagerPort] as const,
    ['node-manager', nodeManagerPort] as const,
    ...(agentPorts ?? []),
  ]);
  const ports = new Map<string, readonly number[]>();
  for (const [service, port] of told) {
    if (port !== undefined) ports.set(service, [...(ports.get(service) ?? []), port]);
  }
  return ports;
}

/** The head, known from the raylets' `--gcs-address` even where its dashboard cannot be reached. */
function headMember(head: Head | undefined): Member[] {
  if (head === undefined) return [];
  return [
    {
      id: head.address,
      addresses: toAddresses([head.address]),
      role: 'head',
      ports: portsOfHead(head),
      source: 'ray',
      isLocal: true,
    },
  ];
}

function findHead(raylets: readonly Raylet[]): Head | undefined {
  const [, bracketed, bare, port] = /^(?:\[(.*)\]|(.*)):(\d+)$/.exec(raylets[0]?.gcsAddress ?? '') ?? [];
  const address = bracketed ?? bare ?? '';
  if (parseAddress(address) === undefined) return undefined;
  const isProven = raylets[0]?.isProven === true;
  return { address, gcsPort: Number(port), dashboardPort: raylets[0]?.dashboardPort, isProven };
}

/** What only the head offers. */
function portsOfHead({ gcsPort, dashboardPort }: Head): Map<string, readonly number[]> {
  return new Map([
    ['gcs', [gcsPort]],
    ...(dashboardPort === undefined ? [] : [['dashboard', [dashboardPort]] as const]),
  ]);
}

/** What this cluster's nodes agree on and no other cluster has; undefined where there is no such thing. */
function clusterKey(raylets: readonly Raylet[]): string | undefined {
  const [raylet] = raylets;
  if (raylet?.clusterId !== undefined) return raylet.clusterId;
  const head = parseAddress(findHead(raylets)?.address ?? '');
  return head === undefined || isLoopback(head) ? undefined : raylet?.gcsAddress;
}

function toList(
  nodes: readonly ListedNode[],
  headPorts: ReadonlyMap<string, readonly number[]>,
): Pick<NodeList, 'members' | 'ended'> {
  return {
    members: nodes
      .filter(({ isAlive }) => isAlive)
      .map(({ nodeId, address, isHead, ports }) => ({
        id: nodeId,
        hasFleetingId: true,
        addresses: toAddresses([address]),
        role: isHead ? 'head' : 'worker',
        ports: isHead ? new Map([...ports, ...headPorts]) : ports,
        source: 'ray',
      })),
    ended: nodes.filter(({ isAlive }) => !isAlive).map(({ nodeId }) => nodeId),
  };
}

function toAddresses(texts: readonly string[]): Address[] {
  return texts.map(parseAddress).filter((address): address is Address => address !== undefined);
}
