/**
 * Questions to the dashboard by node:http. fetch copies each part of an answer twice and hands it through a web stream: of an answer of
 * ten megabytes that costs as much again as to look through it.
 */
import { Agent, get, type IncomingMessage } from 'node:http';

/** What is used of `fetch`, so that it may stand in. */
export type HttpGet = (
  url: string,
  options: {
    readonly headers: Record<string, string>;
    readonly signal: AbortSignal;
    readonly redirect: 'error';
  },
) => Promise<HttpAnswer>;

interface HttpAnswer {
  readonly status: number;
  /** Whether it is 200 to 299. */
  readonly ok: boolean;
  readonly body: AsyncIterable<Uint8Array> | null;
}

/**
 * A connection stays open for for this time after an answer: a detector may still ask the kernel whose it is, and while an unknown peer
 * waits there is another question every second. Ray's own servers keep one for longer.
 */
const KEEP_MS = 4000;

/** Up to 2.48 Ray's dashboard fails with status 500 where a question does not say who asks (http_server_head.py). */
const USER_AGENT = 'plasmawatch';

const connections = new Agent({ keepAlive: true, keepAliveMsecs: 60_000, timeout: KEEP_MS });

/**
 * Asks over HTTP/1.1. Redirects are not followed: they are answers that are not `ok`. A body that is not read to its end takes its
 * connection along.
 * @throws the signal's reason where it ends the question, before the answer or while its body is read; otherwise why there is none
 */
export const httpGet: HttpGet = (url, { headers, signal }) =>
  new Promise((resolve, reject) => {
    signal.throwIfAborted();
    let answer: IncomingMessage | undefined;
    const request = get(url, { headers: { 'user-agent': USER_AGENT, ...headers }, agent: connections });
    const stop = (): void => {
      const reason = signal.reason as Error;
      answer?.destroy(reason);
      request.destroy(reason);
    };
    signal.addEventListener('abort', stop, { once: true });
    request.on('close', () => signal.removeEventListener('abort', stop));
    request.on('error', reject);
    request.on('response', (response) => {
      answer = response;
      const { statusCode: status = 0 } = response;
      const ok = status >= 200 && status < 300;
      // Without a reader, what is destroyed must not be raised.
      response.on('error', () => {});
      if (!ok) response.destroy();
      resolve({ status, ok, body: ok ? response : null });
    });
  });
