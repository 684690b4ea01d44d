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

/** The message of anything that was thrown, as one line. */
export function messageOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return joinLines(text);
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
