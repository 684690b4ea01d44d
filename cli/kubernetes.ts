/**
 * The Kubernetes API from here: in a pod by the files of its service account, elsewhere by the kubeconfig.
 *
 * The client library is loaded for a kubeconfig only, with its certificates, plug-ins and proxies: it costs an agent
 * 80 MB of memory, and in a pod a token, a CA and an address are all there is.
 */
import { readFile } from 'node:fs/promises';
import { request as requestHttp, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { request as requestHttps, type RequestOptions } from 'node:https';
import { join } from 'node:path';
import type { KubernetesApi, KubernetesResponse, OpenKubernetesApi } from '../agent/kubernetes/api.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';

/** Where Kubernetes mounts token, CA and namespace (Kubernetes docs, "Accessing the Kubernetes API from a Pod"). */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** A peer that vanished without a word is noticed by these. */
const KEEP_ALIVE_MS = 15_000;

/** How the server is reached and trusted, and who we are. */
type Access = Omit<RequestOptions, 'headers'> & { headers?: OutgoingHttpHeaders };

interface KubernetesPlace {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For tests: another folder than a pod's. */
  readonly serviceAccount?: string;
}

/** A function that opens the API with the credentials as they are on the disk then. */
export function kubernetesOpener({
  env,
  serviceAccount = SERVICE_ACCOUNT,
}: KubernetesPlace): OpenKubernetesApi {
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (host === undefined || port === undefined || env['KUBECONFIG'] !== undefined) return openKubeconfig;
  return () => openInCluster(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, serviceAccount);
}

async function openInCluster(server: string, folder: string): Promise<KubernetesApi> {
  const read = (name: string): Promise<string> => readFile(join(folder, name), 'utf8');
  try {
    const [ca, token, namespace] = await Promise.all([read('ca.crt'), read('token'), read('namespace')]);
    return createKubernetesApi(server, namespace.trim(), {
      ca,
      headers: { authorization: `Bearer ${token.trim()}` },
    });
  } catch (error) {
    throw unusable(`cannot read the service account: ${messageOf(error)}`, error);
  }
}

async function openKubeconfig(): Promise<KubernetesApi> {
  try {
    const { KubeConfig } = await import('@kubernetes/client-node');
    const config = new KubeConfig();
    config.loadFromDefault();
    const server = config.getCurrentCluster()?.server;
    if (server === undefined || config.getContexts().length === 0) throw new Error('it names no cluster');
    const options: Access = {};
    await config.applyToHTTPSOptions(options);
    const namespace = config.getContextObject(config.getCurrentContext())?.namespace ?? 'default';
    return createKubernetesApi(server, namespace, options);
  } catch (error) {
    throw unusable(`this is no pod, and the kubeconfig cannot be used: ${messageOf(error)}`, error);
  }
}

function unusable(what: string, cause: unknown): PlasmawatchError {
  return new PlasmawatchError('PW_KUBERNETES', what, { operation: 'open', cause });
}

/** The API at an address, asked with these options. */
export function createKubernetesApi(server: string, namespace: string, options: Access): KubernetesApi {
  const base = new URL(server);
  const request = base.protocol === 'https:' ? requestHttps : requestHttp;
  return {
    server: base.origin,
    identity:
      typeof options.ca === 'string' || Buffer.isBuffer(options.ca) ? options.ca.toString() : base.origin,
    namespace,
    get: (path, signal) =>
      new Promise<KubernetesResponse>((resolve, reject) => {
        const url = new URL(`${base.pathname.replace(/\/$/, '')}${path}`, base);
        const headers = { ...options.headers, accept: 'application/json', 'user-agent': 'plasmawatch' };
        const asked = request(url, { ...options, headers, signal }, (response) =>
          resolve(describe(response)),
        );
        asked.on('socket', (socket) => socket.setKeepAlive(true, KEEP_ALIVE_MS));
        asked.on('error', reject);
        asked.end();
      }),
  };
}

function describe(response: IncomingMessage): KubernetesResponse {
  const seconds = response.headers['retry-after'];
  return {
    status: response.statusCode ?? 0,
    retryAfterMs: seconds !== undefined && /^\d{1,6}$/.test(seconds) ? Number(seconds) * 1000 : undefined,
    body: response,
  };
}
