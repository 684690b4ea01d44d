/** What is asked of a Kubernetes API server, and how: reads only, with credentials that a caller opens. */

export interface KubernetesResponse {
  readonly status: number;
  /** The wait that the server asked for (`Retry-After`), in ms. */
  readonly retryAfterMs: number | undefined;
  readonly body: AsyncIterable<Uint8Array>;
}

export interface KubernetesApi {
  /** For logs: `https://10.96.0.1:443`. */
  readonly server: string;
  /**
   * What no other API server has: the authority that its certificate is checked with, where one was given. Its address
   * in a pod is often the same in two clusters.
   */
  readonly identity: string;
  /** Where our own pod runs, or that of the kubeconfig's context. */
  readonly namespace: string;
  /**
   * A GET request. Resolves with the head of the answer, whatever its status; the body fails when the connection does.
   * @param path with the query
   * @throws Error when there is no answer; its message holds no credentials
   */
  get(path: string, signal: AbortSignal): Promise<KubernetesResponse>;
}

/**
 * Reads address and credentials anew, so that a token that was rotated is taken over.
 * @throws PlasmawatchError PW_KUBERNETES where this is no pod and there is no kubeconfig
 */
export type OpenKubernetesApi = () => Promise<KubernetesApi>;

/** The lines of a body, without their ends, as they arrive. */
export async function* readLines(body: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<string> {
  let parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      const part = chunk.subarray(start, end === -1 ? chunk.length : end);
      length += part.length;
      if (length > maxBytes) throw new Error(`an event of more than ${maxBytes} bytes`);
      parts.push(part);
      if (end === -1) break;
      if (length > 0) yield Buffer.concat(parts, length).toString('utf8');
      parts = [];
      length = 0;
      start = end + 1;
    }
  }
}
