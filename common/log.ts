/** Logging: one line an event on standard error, so that standard output stays free for results. */
import { pino, type Logger } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export const LOG_FORMATS = ['text', 'json'] as const;

export interface LogOptions {
  readonly level: (typeof LOG_LEVELS)[number];
  /** `text` for people, `json` for machines. */
  readonly format: (typeof LOG_FORMATS)[number];
  /** Whether text is coloured. */
  readonly color?: boolean;
}

/** A logger that writes to standard error. */
export function createLogger({ level, format, color = false }: LogOptions): Logger {
  const destination =
    format === 'json'
      ? pino.destination({ dest: 2, sync: true })
      : pretty({
          destination: 2,
          sync: true,
          colorize: color,
          ignore: 'pid,hostname,component',
          messageFormat: '{if component}{component}: {end}{msg}',
          translateTime: 'SYS:HH:MM:ss',
        });
  return pino({ level, base: null }, destination);
}

/** A logger that says nothing, for tests and for commands that print their own lines. */
export const silentLogger: Logger = pino({ level: 'silent' });

/** A line as it was logged: the message, and the fields beside it. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string };

/** A logger whose warnings and errors go to `take`, for commands that tell them in their own words. */
export function createWarningLogger(take: (line: LogLine) => void): Logger {
  const stream = { write: (text: string) => take(JSON.parse(text) as LogLine) };
  return pino({ level: 'warn', base: null, timestamp: false }, stream);
}
