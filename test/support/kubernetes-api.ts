/**
 * A Kubernetes API server on loopback as far as pods go: lists in pages, watches with bookmarks, versions that are
 * forgotten (410), credentials, and connections that are cut. It keeps the truth that a watcher is compared with.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export interface FakePod {
  readonly name: string;
  readonly ip?: string | undefined;
  readonly ips?: readonly string[];
  readonly phase?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly hostNetwork?: boolean;
  readonly startTime?: string;
  readonly deletionTimestamp?: string;
  readonly containers?: readonly unknown[];
}

interface Entry {
  readonly uid: string;
  readonly version: number;
  readonly pod: FakePod;
}

interface PodEvent {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly entry: Entry;
}

const RAY_LABELS = { 'ray.io/is-ray-node': 'yes', 'ray.io/cluster': 'a', 'ray.io/node-type': 'worker' };

export class KubernetesApiServer {
  /** Requests by what they were. */
  readonly requests = { lists: 0, pages: 0, watches: 0, refused: 0 };
  readonly paths: string[] = [];
  /** What a request must carry. */
  token = 'first';
  /** Statuses to answer the next requests with, and then no more. */
  readonly failures: { status: number; retryAfter?: number }[] = [];
  /** Answers nothing and closes nothing while set. */
  isSilent = false;
  readonly #server;
  readonly #scheme: string;
  readonly #pods = new Map<string, Entry>();
  #log: PodEvent[] = [];
  #version = 1000;
  #forgottenUpTo = 0;
  #created = 0;
  readonly #watches = new Set<{ response: ServerResponse; selector: Map<string, string> }>();
  /** The state that the pages of one list come from, by its version. */
  readonly #snapshots = new Map<number, readonly Entry[]>();

  private constructor(tls: { key: string; cert: string } | undefined) {
    const answer = (request: IncomingMessage, response: ServerResponse): void =>
      this.#answer(request, response);
    this.#scheme = tls === undefined ? 'http' : 'https';
    this.#server = tls === undefined ? createServer(answer) : createTlsServer(tls, answer);
  }

  static async open(tls?: { key: string; cert: string }): Promise<KubernetesApiServer> {
    const server = new KubernetesApiServer(tls);
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`;
  }

  /** Watches that are open now. */
  get watching(): number {
    return this.#watches.size;
  }

  /** The pods as they are, in the form `name ip`, without those that have ended or have no address. */
  truth(): string[] {
    return [...this.#pods.values()]
      .map(({ pod }) => pod)
      .filter(({ ip, phase }) => ip !== undefined && phase !== 'Succeeded' && phase !== 'Failed')
      .map(({ name, ip }) => `ray/${name} ${ip}`)
      .toSorted();
  }

  names(): string[] {
    return [...this.#pods.keys()];
  }

  /** Creates or changes a pod. */
  put(pod: FakePod): void {
    const before = this.#pods.get(pod.name);
    const uid = before?.uid ?? `uid-${++this.#created}`;
    const entry = { uid, version: ++this.#version, pod };
    this.#pods.set(pod.name, entry);
    this.#tell({ version: entry.version, type: before === undefined ? 'ADDED' : 'MODIFIED', entry });
  }

  delete(name: string): void {
    const before = this.#pods.get(name);
    if (before === undefined) throw new Error(`no pod ${name}`);
    this.#pods.delete(name);
    const entry = { ...before, version: ++this.#version };
    this.#tell({ version: entry.version, type: 'DELETED', entry });
  }

  /** Tells all watches the present version. */
  bookmark(): void {
    const object = { kind: 'Pod', metadata: { resourceVersion: String(this.#version) } };
    for (const { response } of this.#watches) send(response, { type: 'BOOKMARK', object });
  }

  /** Forgets the past: a watch that comes with an older version, or a list's next page, is answered 410. */
  forget(): void {
    this.#forgottenUpTo = this.#version;
    this.#log = [];
    this.#snapshots.clear();
  }

  /** Breaks every connection. */
  cut(): void {
    this.#watches.clear();
    this.#server.closeAllConnections();
  }

  /** Ends every watch in good order. */
  endWatches(): void {
    for (const { response } of this.#watches) response.end();
    this.#watches.clear();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', this.url);
    this.paths.push(url.pathname);
    if (this.isSilent) return;
    const failure = this.failures.shift();
    if (failure !== undefined || request.headers.authorization !== `Bearer ${this.token}`) {
      this.requests.refused++;
      const headers = failure?.retryAfter === undefined ? {} : { 'retry-after': String(failure.retryAfter) };
      const status = failure?.status ?? 401;
      response.writeHead(status, headers).end(JSON.stringify({ kind: 'Status', code: status }));
    } else if (url.searchParams.get('watch') === 'true') this.#watch(url.searchParams, response);
    else this.#list(url.searchParams, response);
  }

  #list(query: URLSearchParams, response: ServerResponse): void {
    const limit = Number(query.get('limit') ?? Infinity);
    const [version = this.#version, offset = 0] = (query.get('continue') ?? '')
      .split(':')
      .filter(Boolean)
      .map(Number);
    this.requests.pages++;
    if (offset === 0) {
      this.requests.lists++;
      const selector = selectorOf(query);
      this.#snapshots.set(
        version,
        [...this.#pods.values()].filter(({ pod }) => matches(pod, selector)),
      );
    }
    const entries = this.#snapshots.get(version);
    if (entries === undefined) {
      response.writeHead(410).end(JSON.stringify({ kind: 'Status', code: 410, reason: 'Expired' }));
      return;
    }
    const next = offset + limit;
    const metadata = {
      resourceVersion: String(version),
      ...(next < entries.length ? { continue: `${version}:${next}` } : {}),
    };
    const items = entries.slice(offset, next).map(toPod);
    response.end(JSON.stringify({ kind: 'PodList', metadata, items }));
  }

  #watch(query: URLSearchParams, response: ServerResponse): void {
    this.requests.watches++;
    const since = Number(query.get('resourceVersion'));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (since < this.#forgottenUpTo) {
      const object = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' };
      send(response, { type: 'ERROR', object });
      response.end();
      return;
    }
    const watch = { response, selector: selectorOf(query) };
    this.#watches.add(watch);
    response.on('close', () => this.#watches.delete(watch));
    for (const event of this.#log) {
      if (event.version > since && matches(event.entry.pod, watch.selector))
        send(response, { type: event.type, object: toPod(event.entry) });
    }
  }

  #tell(event: PodEvent): void {
    this.#log.push(event);
    for (const { response, selector } of this.#watches) {
      if (matches(event.entry.pod, selector))
        send(response, { type: event.type, object: toPod(event.entry) });
    }
  }
}

function send(response: ServerResponse, event: unknown): void {
  response.write(`${JSON.stringify(event)}\n`);
}

function toPod({ uid, version, pod }: Entry): unknown {
  const ips = pod.ips ?? (pod.ip === undefined ? [] : [pod.ip]);
  return {
    kind: 'Pod',
    metadata: {
      name: pod.name,
      namespace: 'ray',
      uid,
      resourceVersion: String(version),
      labels: { ...RAY_LABELS, ...pod.labels },
      creationTimestamp: '2026-11-25T06:00:00Z',
      ...(pod.deletionTimestamp === undefined ? {} : { deletionTimestamp: pod.deletionTimestamp }),
      managedFields: [{ manager: 'kubelet' }],
    },
    spec: { hostNetwork: pod.hostNetwork, containers: pod.containers ?? [{ name: 'ray' }] },
    status: {
      phase: pod.phase ?? 'Running',
      ...(ips.length === 0 ? {} : { podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) }),
      startTime: pod.startTime ?? '2026-11-25T06:00:01Z',
    },
  };
}

function selectorOf(query: URLSearchParams): Map<string, string> {
  const parts = (query.get('labelSelector') ?? '')
    .split(',')
    .filter((part) => part !== '')
    .map((part) => part.split('='));
  return new Map(parts.map(([key = '', value = '']) => [key, value]));
}

function matches(pod: FakePod, selector: ReadonlyMap<string, string>): boolean {
  const labels: Record<string, string> = { ...RAY_LABELS, ...pod.labels };
  return [...selector].every(([key, value]) => labels[key] === value);
}
