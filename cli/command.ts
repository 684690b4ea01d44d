/** The shape of a sub-command, and how it talks to the outside. */
import type { ArgumentsCamelCase, Argv } from 'yargs';

/** 0: done, nothing found; 1: something unexpected was found; 2: the work could not be done. */
export type ExitStatus = 0 | 1 | 2;

/** The process as a command sees it; tests give it another one. */
export interface Terminal {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether standard error is a terminal that a person watches. */
  readonly isInteractive: boolean;
  /** Width of standard output in characters; left out where it is no terminal. Infinity: help is not wrapped, either. */
  readonly columns?: number | undefined;
  /** Aborted when the process is told to stop (SIGINT, SIGTERM). */
  readonly stopSignal: AbortSignal;
  /** Calls the listener at each SIGHUP from now on. SIGHUP does nothing else, and ends no command. */
  readonly onHangUp?: (listener: () => void) => void;
}

/**
 * One sub-command. `run` throws `PlasmawatchError` for what a person can mend: `main` prints it as one line and
 * answers with status 2.
 */
export interface Command<Options = object> {
  /** Name and positional arguments as yargs writes them, `flows <file..>`; of several the others are synonyms. */
  readonly usage: string | readonly string[];
  readonly description: string;
  options(yargs: Argv): Argv<Options>;
  run(options: ArgumentsCamelCase<Options>, terminal: Terminal): Promise<ExitStatus>;
}
