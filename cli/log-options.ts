/** The flags about logging that the services share. */
import type { ArgumentsCamelCase } from 'yargs';
import { createLogger, LOG_FORMATS, LOG_LEVELS, type Logger, type LogOptions } from '../common/log.ts';
import type { Terminal } from './command.ts';

export interface LogCommandOptions {
  readonly 'log-level': LogOptions['level'];
  readonly 'log-format': LogOptions['format'] | undefined;
}

/** For yargs' `options`. */
export const logOptions = {
  'log-level': {
    choices: LOG_LEVELS,
    default: 'info' as const,
    requiresArg: true,
    description: 'what is logged',
  },
  'log-format': {
    choices: LOG_FORMATS,
    requiresArg: true,
    description: 'default: text on a terminal, else json',
  },
} as const;

/** The logger that the flags ask for: text where a person watches, unless told otherwise. */
export function createServiceLogger(
  { logLevel, logFormat }: ArgumentsCamelCase<LogCommandOptions>,
  { isInteractive }: Pick<Terminal, 'isInteractive'>,
): Logger {
  return createLogger({
    level: logLevel,
    format: logFormat ?? (isInteractive ? 'text' : 'json'),
    color: isInteractive,
  });
}
