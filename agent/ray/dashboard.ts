/** The nodes of a cluster with their ports, as the head's dashboard lists them: `GET /nodes?view=summary` (Ray 2.60). */
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import { readText } from '../../common/read-text.ts';

const TIMEOUT_MS = 2000;
/** `ray start --dashboard-port` can change it. */
export const DEFAULT_DASHBOARD_PORT = 8265;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_NODES = 20_000;
/** An address or a host name. */
const MAX_ADDRESS_LENGTH = 254;
/** Entries between two pauses in which packets are handled: some 2 ms. */
const NODES_BETWEEN_PAUSES = 500;
/**
 * The dashboard keeps an answer for two seconds unless told not to (ray/dashboard/optional_utils.py, aiohttp_cache).
 */
const PAST_CACHE = '&nocache=1';

/** Zero, or nothing at all, where the node has not told it; of a dead node nothing but id and state is listed. */
const portIfKnown = z.number().int().min(0).max(65_535).optional();

/** The part of the answer that is used; its entries are looked at a few at a time. */
const summarySchema = z.object({ data: z.object({ summary: z.array(z.unknown()).max(MAX_NODES) }) });

const entrySchema = z.object({
  raylet: z.object({
    nodeId: z.string().max(128),
    nodeManagerAddress: z.string().max(MAX_ADDRESS_LENGTH),
    objectManagerPort: portIfKnown,
    nodeManagerPort: portIfKnown,
    dashboardAgentListenPort: portIfKnown,
    metricsAgentPort: portIfKnown,
    metricsExportPort: portIfKnown,
    runtimeEnvAgentPort: portIfKnown,
    state: z.string().max(32),
    isHeadNode: z.boolean().optional(),
  }),
});

type RayletSummary = z.infer<typeof entrySchema>['raylet'];

export interface ListedNode {
  readonly nodeId: string;
  /** As text: an IP address, or a host name where Ray was told one. */
  readonly address: string;
  readonly isAlive: boolean;
  readonly isHead: boolean;
  /** By service. */
  readonly ports: ReadonlyMap<string, readonly number[]>;
}

interface Question {
  /** Of the dashboard; an IPv6 address is bare. */
  readonly host: string;
  readonly port: number;
  readonly fetch: typeof globalThis.fetch;
  /** Somebody waits for it: the dashboard's cache is to be passed by. */
  readonly isUrgent: boolean;
  /** Ray's own, where the cluster wants one (RAY_AUTH_MODE=token). It crosses the network in clear, as Ray's own calls do. */
  readonly token?: string | undefined;
}

/** Asks the dashboard, within two seconds. @throws where it does not answer, or not with the list */
export async function listNodes({ host, port, fetch, isUrgent, token }: Question): Promise<ListedNode[]> {
  const bracketed = host.includes(':') ? `[${host}]` : host;
  const url = `http://${bracketed}:${port}/nodes?view=summary${isUrgent ? PAST_CACHE : ''}`;
  const response = await fetch(url, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(TIMEOUT_MS),
    redirect: 'error',
  });
  if (response.status === 401 || response.status === 403) throw new Error(refusal(response.status, token));
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  const text = response.body === null ? '' : await readText(response.body, MAX_ANSWER_BYTES);
  const { data } = summarySchema.parse(JSON.parse(text));
  const nodes: ListedNode[] = [];
  for (const [index, entry] of data.summary.entries()) {
    if (index > 0 && index % NODES_BETWEEN_PAUSES === 0) await setImmediate();
    nodes.push(toNode(entrySchema.parse(entry).raylet));
  }
  return nodes;
}

function toNode(raylet: RayletSummary): ListedNode {
  return {
    nodeId: raylet.nodeId,
    address: raylet.nodeManagerAddress,
    isAlive: raylet.state === 'ALIVE',
    isHead: raylet.isHeadNode === true,
    ports: portsOf(raylet),
  };
}

function refusal(status: number, token: string | undefined): string {
  return token === undefined
    ? `HTTP status ${status}: it wants Ray's token (ray.tokenFile or RAY_AUTH_TOKEN), which is sent for a proven raylet only`
    : `HTTP status ${status}: it refuses Ray's token`;
}

function portsOf(raylet: RayletSummary): ReadonlyMap<string, readonly number[]> {
  const told: readonly (readonly [string, number | undefined])[] = [
    ['object-manager', raylet.objectManagerPort],
    ['node-manager', raylet.nodeManagerPort],
    ['dashboard-agent', raylet.dashboardAgentListenPort],
    ['dashboard-agent-grpc', raylet.metricsAgentPort],
    ['metrics-export', raylet.metricsExportPort],
    ['runtime-env-agent', raylet.runtimeEnvAgentPort],
  ];
  return new Map(
    told.flatMap(([service, number]) =>
      number === undefined || number === 0 ? [] : [[service, [number]] as const],
    ),
  );
}
