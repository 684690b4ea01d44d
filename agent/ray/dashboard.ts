/** The nodes of a cluster with their ports, as the head's dashboard lists them: `GET /nodes?view=summary` (Ray 2.60). */
import { setImmediate } from 'node:timers/promises';
import { z } from 'zod';
import type { HttpGet } from './http-get.ts';
import { SummaryScanner } from './summary-scanner.ts';

const TIMEOUT_MS = 2000;
/** `ray start --dashboard-port` can change it. */
export const DEFAULT_DASHBOARD_PORT = 8265;
/** 10 KB for each node, and 1 KB for each of its workers. Of what is read nearly nothing is kept. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_NODES = 20_000;
/** An address or a host name. */
const MAX_ADDRESS_LENGTH = 254;
/** Bytes, and new entries, between two pauses in which packets are handled: some 2 ms. */
const BYTES_BETWEEN_PAUSES = 1024 * 1024;
const NODES_BETWEEN_PAUSES = 500;
/**
 * The dashboard keeps an answer for two seconds unless told not to (ray/dashboard/optional_utils.py, aiohttp_cache).
 */
const PAST_CACHE = '&nocache=1';

/** Zero, or nothing at all, where the node has not told it; of a dead node nothing but id and state is listed. */
const portIfKnown = z.number().int().min(0).max(65_535).optional();

/** What is used of an entry's `raylet`. */
const rayletSchema = z.object({
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
});

type RayletSummary = z.infer<typeof rayletSchema>;

export interface ListedNode {
  readonly nodeId: string;
  /** As text: an IP address, or a host name where Ray was given one. */
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
  /** `httpGet`, or `fetch`. */
  readonly fetch: HttpGet;
  /** Somebody waits for it: the dashboard's cache is to be passed by. */
  readonly isUrgent: boolean;
  /** Ray's own, where the cluster wants one (RAY_AUTH_MODE=token). It crosses the network in clear, as Ray's own calls do. */
  readonly token?: string | undefined;
  /** For who asks again and again: what has not changed is not parsed again. */
  readonly memory?: NodeMemory;
}

/** The nodes of the last answer, by the text that tells of each. */
export class NodeMemory {
  #known: ReadonlyMap<string, ListedNode> = new Map();
  #nodes: readonly ListedNode[] = [];
  /** The length of the last answer. */
  answerBytes = 0;

  /**
   * The nodes of these entries, in their order: the same objects, and the same list, as before where nothing has changed.
   * @throws z.ZodError where an entry is not as Ray writes it
   */
  async nodesOf(entries: readonly string[]): Promise<readonly ListedNode[]> {
    const known = new Map<string, ListedNode>();
    const nodes: ListedNode[] = [];
    let parsed = 0;
    for (const text of entries) {
      let node = this.#known.get(text) ?? known.get(text);
      if (node === undefined) {
        node = toNode(rayletSchema.parse(JSON.parse(text)));
        parsed++;
        if (parsed % NODES_BETWEEN_PAUSES === 0) await setImmediate();
      }
      known.set(text, node);
      nodes.push(node);
    }
    this.#known = known;
    const isSame = nodes.length === this.#nodes.length && nodes.every((node, at) => node === this.#nodes[at]);
    if (!isSame) this.#nodes = nodes;
    return this.#nodes;
  }
}

/** Asks the dashboard, within two seconds. @throws where it does not answer, or not with the list */
export async function listNodes({
  host,
  port,
  fetch,
  isUrgent,
  token,
  memory = new NodeMemory(),
}: Question): Promise<readonly ListedNode[]> {
  const bracketed = host.includes(':') ? `[${host}]` : host;
  const url = `http://${bracketed}:${port}/nodes?view=summary${isUrgent ? PAST_CACHE : ''}`;
  const response = await fetch(url, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    signal: AbortSignal.timeout(TIMEOUT_MS),
    redirect: 'error',
  });
  if (response.status === 401 || response.status === 403) throw new Error(refusal(response.status, token));
  if (!response.ok) throw new Error(`HTTP status ${response.status}`);
  const scanner = new SummaryScanner(Object.keys(rayletSchema.shape), MAX_NODES);
  memory.answerBytes = response.body === null ? 0 : await scan(response.body, scanner);
  return memory.nodesOf(scanner.end());
}

/** Gives the length of the body. */
async function scan(body: AsyncIterable<Uint8Array>, scanner: SummaryScanner): Promise<number> {
  let length = 0;
  let lengthAtPause = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_ANSWER_BYTES) throw new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`);
    for (let offset = 0; offset < chunk.length; offset += BYTES_BETWEEN_PAUSES) {
      if (length - lengthAtPause >= BYTES_BETWEEN_PAUSES || offset > 0) {
        lengthAtPause = length;
        await setImmediate();
      }
      scanner.write(chunk.subarray(offset, offset + BYTES_BETWEEN_PAUSES));
    }
  }
  return length;
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
