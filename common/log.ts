/** Logging: one line an event on standard error, so that standard output stays free for results. */
import { pino, type LogFn, type Logger } from 'pino';
import pretty from 'pino-pretty';
import { onOneLine } from './plain-text.ts';

export type { Logger } from 'pino';
export { silentLogger } from './silent-logger.ts';
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error', 'silent'] as const;
export const LOG_FORMATS = ['text', 'json'] as const;

export interface LogOptions {
  readonly level: (typeof LOG_LEVELS)[number];
  /** `text` for people, `json` for machines. */
  readonly format: (typeof LOG_FORMATS)[number];
  /** Whether text is coloured. */
  readonly color?: boolean;
  /** The open file that is written to; standard error when left out. */
  readonly descriptor?: number;
}

/** A logger of lines; each field and message is one line of text that can be seen. */
export function createLogger({ level, format, color = false, descriptor = 2 }: LogOptions): Logger {
  const destination =
    format === 'json'
      ? pino.destination({ dest: descriptor, sync: true })
      : pretty({
          destination: descriptor,
          sync: true,
          colorize: color,
          ignore: 'pid,hostname,component',
          messageFormat: '{if component}{component}: {end}{msg}',
          translateTime: 'SYS:HH:MM:ss',
        });
  return pino({ level, base: null, ...PLAIN }, destination);
}

/** What is logged may quote an agent, a process or a file: no field and no message breaks a line or moves a cursor. */
const PLAIN = {
  formatters: {
    log: (fields: Record<string, unknown>) =>
      Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, asPlain(value)])),
  },
  hooks: {
    logMethod(this: Logger, words: Parameters<LogFn>, method: LogFn) {
      method.apply(this, words.map(asPlain) as Parameters<LogFn>);
    },
  },
};

function asPlain(value: unknown): unknown {
  return typeof value === 'string' ? onOneLine(value) : value;
}

/** A line as it was logged: the message, and the fields beside it. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string };

/** A logger whose warnings and errors go to `take`, for commands that tell them in their own words. */
export function createWarningLogger(take: (line: LogLine) => void): Logger {
  const stream = { write: (text: string) => take(JSON.parse(text) as LogLine) };
  return pino({ level: 'warn', base: null, timestamp: false }, stream);
}
