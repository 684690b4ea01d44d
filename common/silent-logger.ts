/** A logger that says nothing, for tests and for commands that print their own lines. Loading one that does takes 50 ms. */
import type { Logger } from 'pino';

const ignore = (): void => {};

export const silentLogger: Logger = {
  level: 'silent',
  fatal: ignore,
  error: ignore,
  warn: ignore,
  info: ignore,
  debug: ignore,
  trace: ignore,
  silent: ignore,
  child: () => silentLogger,
  flush: ignore,
} as unknown as Logger;
