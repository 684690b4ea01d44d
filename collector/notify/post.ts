/** One HTTP POST to a receiver whose address is a secret: redirects are not followed, answers are read in part only. */
import { connectionFault } from './fault.ts';
import type { Delivery } from './notifier.ts';
import { parseRetryAfter } from './retry.ts';

/** What is read of an answer; bytes. */
const MAX_ANSWER_BYTES = 4096;

export type Fetch = typeof fetch;

export interface PostRequest {
  readonly fetch: Fetch;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch, for a Retry-After that is a date. */
  readonly nowMs: number;
  /** Called with what the clock of a receiver showed that answered, where the answer tells. */
  readonly noteDate?: (dateMs: number, status: number) => void;
}

/** The answer of a receiver that took the message (2xx), or what to do instead. */
export type PostResult =
  | { readonly status: number; readonly text: string; readonly dateMs: number | undefined }
  | Exclude<Delivery, { outcome: 'delivered' }>;

/** What is wrong with the message itself, and will be for ever. */
const REFUSALS: ReadonlySet<number> = new Set([400, 406, 409, 413, 415, 422]);
const GONE = 410;

/**
 * Posts, and sorts the answers. 2xx: taken. What is about the message: refused. All else is tried again, wrong URLs and
 * keys included: whoever mends them wants what waits. Never rejects.
 */
export async function post({
  fetch,
  url,
  headers,
  body,
  signal,
  nowMs,
  noteDate,
}: PostRequest): Promise<PostResult> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, { method: 'POST', headers, body, signal, redirect: 'manual' });
    text = await readStart(response);
  } catch (error) {
    return { outcome: 'retry', reason: signal.aborted ? 'no answer in time' : faultOf(error) };
  }
  const { status } = response;
  const dateMs = dateOf(response.headers);
  if (dateMs !== undefined) noteDate?.(dateMs, status);
  if (response.ok) return { status, text, dateMs };
  const reason = `HTTP status ${status}`;
  if (status === GONE || REFUSALS.has(status)) {
    return { outcome: 'rejected', reason, isGone: status === GONE };
  }
  if (status >= 300 && status < 400) {
    return { outcome: 'retry', reason: `${reason}: redirects are not followed` };
  }
  return { outcome: 'retry', reason, afterMs: parseRetryAfter(response.headers.get('retry-after'), nowMs) };
}

/** What the receiver's clock showed, to the second (RFC 9110, section 6.6.1), where it tells. */
function dateOf(headers: Headers): number | undefined {
  const dateMs = Date.parse(headers.get('date') ?? '');
  return Number.isNaN(dateMs) ? undefined : dateMs;
}

async function readStart(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return '';
  const decoder = new TextDecoder();
  let text = '';
  let length = 0;
  while (length < MAX_ANSWER_BYTES) {
    const { done, value } = (await reader.read()) as { done: boolean; value?: Uint8Array };
    if (done || value === undefined) return text;
    length += value.length;
    text += decoder.decode(value, { stream: true });
  }
  await reader.cancel();
  return text.slice(0, MAX_ANSWER_BYTES);
}

/** `fetch` wraps the failure of the connection. */
function faultOf(error: unknown): string {
  return connectionFault(error instanceof Error ? error.cause : undefined);
}

/** Whether an answer is a page for people: a proxy's, with status 200 while the receiver has nothing. */
export function isPage(text: string): boolean {
  return text.trimStart().startsWith('<');
}
