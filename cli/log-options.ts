/** The flags about logging that the services share. */
import { LOG_FORMATS, LOG_LEVELS, type LogOptions } from '../common/log.ts';
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

/** The format that was asked for, else text where a person watches. */
export function resolveLogFormat(
  asked: LogOptions['format'] | undefined,
  { isInteractive }: Pick<Terminal, 'isInteractive'>,
): LogOptions['format'] {
  return asked ?? (isInteractive ? 'text' : 'json');
}
