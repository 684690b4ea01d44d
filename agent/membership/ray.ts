/**
 * The provider `ray: auto`: what Ray itself says about the cluster, seen from this node. The raylets of this network
 * namespace (found in /proc) tell this node's ports and where the head is; the head's dashboard, where it can be
 * reached, lists the other nodes with their ports.
 *
 * Ray's list is evidence, not proof: whoever runs `ray start --address` is on it.
 */
import { z } from 'zod';
import { isLoopback, parseAddress, type Address } from '../../common/address.ts';
import type { Clock } from '../../common/clock.ts';
import { messageOf } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Raylet } from '../ray/raylet.ts';
import { LookLoop } from './look-loop.ts';
import type { GroupView, LookResult, Member, Provider } from './provider.ts';
import type { SharedMembers } from './shared.ts';

const POLL_INTERVAL_MS = 5000;
const DASHBOARD_TIMEOUT_MS = 2000;
/** Ray's default; `ray start --dashboard-port` can change it. */
const DASHBOARD_PORT = 8265;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_NODES = 20_000;
/**
 * The dashboard keeps an answer for two seconds unless told not to (ray/dashboard/optional_utils.py, aiohttp_cache).
 */
const PAST_CACHE = '&nocache=1';

/** The part of `GET /nodes?view=summary` that is used (Ray 2.60). */
const summarySchema = z.object({
  data: z.object({
    summary: z
      .array(
        z.object({
          raylet: z.object({
            nodeId: z.string().max(128),
            nodeManagerAddress: z.string().max(64),
            objectManagerPort: z.number().int().min(1).max(65_535),
            nodeManagerPort: z.number().int().min(1).max(65_535).optional(),
            state: z.string().max(32),
            isHeadNode: z.boolean().optional(),
          }),
        }),
      )
      .max(MAX_NODES),
  }),
});

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
}

export function createRayProvider(dependencies: RayDependencies): Provider {
  const { clock, logger } = dependencies;
  let publish: ((view: GroupView) => void) | undefined;
  /** The head that was found last; it is asked on after the raylet of this node has ended. */
  let head: string | undefined;
  /** The dashboard's last good list, and when it was asked for it. */
  let listed: { readonly members: readonly Member[]; readonly asOfMs: number } | undefined;
  let isDashboardAway = false;

  async function look(isUrgent: boolean): Promise<LookResult> {
    const raylets = await dependencies.findRaylets();
    head = headAddress(raylets) ?? head;
    if (head !== undefined) await learnNodes(head, clusterKey(raylets), isUrgent);
    const members = [
      ownMember(raylets, dependencies.localAddresses()),
      ...headMember(head),
      ...(listed?.members ?? []),
    ];
    // Where no raylet runs, nothing of Ray is here that would need to know the others.
    // A dashboard that has never answered may be one that only the head can reach.
    const asOfMs = raylets.length === 0 ? undefined : listed?.asOfMs;
    publish?.({
      members,
      prefixes: [],
      ...(asOfMs === undefined ? {} : { asOfMs }),
      ...(listed === undefined ? { isPartial: true } : {}),
    });
    return isDashboardAway && listed !== undefined ? 'failed' : 'answered';
  }

  /** From the view that another agent has read, where there is a fresh one, or else from the head. */
  async function learnNodes(address: string, cluster: string | undefined, isUrgent: boolean): Promise<void> {
    const { sharedMembers } = dependencies;
    const shared = cluster === undefined ? undefined : sharedMembers?.restOn(cluster);
    if (shared !== undefined) listed = shared;
    // Somebody unknown talks: the reporter's next view may come too late.
    if (shared !== undefined && !isUrgent) return;
    await askDashboard(address, isUrgent);
    if (cluster !== undefined && !isDashboardAway && listed !== undefined)
      sharedMembers?.offer(cluster, listed.members);
  }

  async function askDashboard(address: string, isUrgent: boolean): Promise<void> {
    const asOfMs = clock.now();
    try {
      listed = { members: await fetchNodes(address, dependencies.fetch, isUrgent), asOfMs };
      if (isDashboardAway) logger.info({ head: address }, 'the Ray dashboard answers again');
      isDashboardAway = false;
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
  const ports = new Map<string, readonly number[]>();
  const objectManager = raylets
    .map((raylet) => raylet.objectManagerPort)
    .filter((port) => port !== undefined);
  const nodeManager = raylets.map((raylet) => raylet.nodeManagerPort).filter((port) => port !== undefined);
  if (objectManager.length > 0) ports.set('object-manager', objectManager);
  if (nodeManager.length > 0) ports.set('node-manager', nodeManager);
  const id = raylets.find(({ nodeId }) => nodeId !== '')?.nodeId ?? 'this node';
  return { id, addresses: toAddresses(texts), ports, source: 'ray', isLocal: true };
}

/** The head, known from the raylets' `--gcs-address` even where its dashboard cannot be reached. */
function headMember(head: string | undefined): Member[] {
  if (head === undefined) return [];
  return [
    {
      id: head,
      addresses: toAddresses([head]),
      role: 'head',
      ports: new Map(),
      source: 'ray',
      isLocal: true,
    },
  ];
}

function headAddress(raylets: readonly Raylet[]): string | undefined {
  const gcsAddress = raylets[0]?.gcsAddress;
  const host = gcsAddress?.slice(0, gcsAddress.lastIndexOf(':')).replace(/^\[(.*)\]$/, '$1');
  return host === undefined || parseAddress(host) === undefined ? undefined : host;
}

/** What this cluster's nodes agree on and no other cluster has; undefined where there is no such thing. */
function clusterKey(raylets: readonly Raylet[]): string | undefined {
  const [raylet] = raylets;
  if (raylet?.clusterId !== undefined) return raylet.clusterId;
  const head = parseAddress(headAddress(raylets) ?? '');
  return head === undefined || isLoopback(head) ? undefined : raylet?.gcsAddress;
}

async function fetchNodes(
  head: string,
  fetch: typeof globalThis.fetch,
  isUrgent: boolean,
): Promise<readonly Member[]> {
  const host = head.includes(':') ? `[${head}]` : head;
  const response = await fetch(
    `http://${host}:${DASHBOARD_PORT}/nodes?view=summary${isUrgent ? PAST_CACHE : ''}`,
    {
      signal: AbortSignal.timeout(DASHBOARD_TIMEOUT_MS),
      redirect: 'error',
    },
  );
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  const { data } = summarySchema.parse(JSON.parse(await readBounded(response)));
  return data.summary
    .filter(({ raylet }) => raylet.state === 'ALIVE')
    .map(({ raylet }) => ({
      id: raylet.nodeId,
      addresses: toAddresses([raylet.nodeManagerAddress]),
      role: raylet.isHeadNode === true ? 'head' : 'worker',
      ports: new Map([
        ['object-manager', [raylet.objectManagerPort]],
        ...(raylet.nodeManagerPort === undefined
          ? []
          : [['node-manager', [raylet.nodeManagerPort]] as const]),
      ]),
      source: 'ray',
    }));
}

async function readBounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error(`answer longer than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function toAddresses(texts: readonly string[]): Address[] {
  return texts.map(parseAddress).filter((address): address is Address => address !== undefined);
}
