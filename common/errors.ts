/**
 * Errors with a stable code, so that a log line, a test and docs/errors.md speak of the same thing.
 *
 * A `PlasmawatchError` is the world's fault or the user's: it is shown as one line, without a stack. Everything
 * else that is thrown is our own fault and keeps its stack.
 */

/** Every code, each with an entry in docs/errors.md. */
export const ERROR_CODES = [
  'PW_USAGE',
  'PW_CONFIG',
  'PW_RULES',
  'PW_FILE_UNREADABLE',
  'PW_NOT_A_CAPTURE',
  'PW_CAPTURE_CORRUPT',
  'PW_CAPTURE_TRUNCATED',
  'PW_CAPTURE_UNSUPPORTED',
  'PW_CAPTURE_UNAVAILABLE',
  'PW_CAPTURE_FAILED',
  'PW_SYSTEM_CALL',
  'PW_SQLITE_UNAVAILABLE',
  'PW_DISK_FULL',
  'PW_STORE',
  'PW_SECRET',
  'PW_LISTEN',
  'PW_UPLINK',
  'PW_API',
  'PW_KUBERNETES',
  'PW_PROTOCOL',
  'PW_NOTIFY',
  'PW_INFLUX',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

interface ErrorDetails {
  /** The operation that failed, for example `open` or `bind`. */
  readonly operation?: string;
  /** What it was done to: a device, a path, a host; never a credential. */
  readonly subject?: string;
  readonly cause?: unknown;
  /** Whether the same call may succeed later. */
  readonly retryable?: boolean;
}

/** An error that a person or a caller can act on. Its message is one line and holds no secret. */
export class PlasmawatchError extends Error {
  readonly code: ErrorCode;
  readonly operation: string | undefined;
  readonly subject: string | undefined;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'PlasmawatchError';
    this.code = code;
    this.operation = details.operation;
    this.subject = details.subject;
    this.retryable = details.retryable ?? false;
  }
}

/** The message of anything that was thrown, as one line; of a failed connection, why it failed. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return joinLines(String(error));
  return joinLines(connectionProblem(error, MAX_CAUSES) ?? error.message);
}

/** `fetch` wraps the failure of the connection, which may wrap that of each address. */
const MAX_CAUSES = 4;
/** Messages of `fetch` that say nothing; the cause does. */
const EMPTY_MESSAGES: ReadonlySet<string> = new Set(['', 'fetch failed', 'terminated']);
/** By the code of the system (errno(3), getaddrinfo(3)), of undici, or the name of the error. */
const CONNECTION_PROBLEMS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection closed',
  UND_ERR_SOCKET: 'connection closed',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  EADDRNOTAVAIL: 'no route to the host: this machine has no address to call from',
  ETIMEDOUT: 'timed out',
  TimeoutError: 'timed out',
  UND_ERR_CONNECT_TIMEOUT: 'timed out',
  UND_ERR_HEADERS_TIMEOUT: 'timed out',
  UND_ERR_BODY_TIMEOUT: 'timed out',
  ENOTFOUND: 'name not found',
  ENODATA: 'name not found: it has no address',
  EAI_NODATA: 'name not found: it has no address',
  EAI_AGAIN: 'name not found: no name server answers',
};

/** Undefined where the error's own message says what there is to say. */
function connectionProblem(error: Error, depth: number): string | undefined {
  const isWrapper = EMPTY_MESSAGES.has(error.message);
  if (isWrapper && error instanceof AggregateError && depth > 0) {
    const each = (error.errors as unknown[]).flatMap((inner) =>
      inner instanceof Error ? (connectionProblem(inner, depth - 1) ?? inner.message) : [],
    );
    if (each.length > 0) return [...new Set(each)].slice(0, MAX_CAUSES).join(', ');
  }
  if (isWrapper && error.cause instanceof Error && depth > 0)
    return connectionProblem(error.cause, depth - 1) ?? error.cause.message;
  // What the system says of a file has the path in it.
  const isOfConnection = depth < MAX_CAUSES || error.name === 'TimeoutError';
  return isOfConnection ? CONNECTION_PROBLEMS[systemCodeOf(error) ?? error.name] : undefined;
}

/** The lines of a text as one, without the spaces around the breaks; in time linear in its length. */
export function joinLines(text: string): string {
  if (!text.includes('\n')) return text;
  const lines = text.split('\n');
  const trimmed = lines.map((line, index) =>
    index === 0 ? line.trimEnd() : index === lines.length - 1 ? line.trimStart() : line.trim(),
  );
  const [first = '', last = ''] = [trimmed[0], trimmed.at(-1)];
  return [first, ...trimmed.slice(1, -1).filter((line) => line !== ''), last].join(' ');
}

/** The errno name of a system error (`ENOENT`), or undefined. */
export function systemCodeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
