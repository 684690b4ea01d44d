#!/usr/bin/env node
/** The command line: finds the sub-command, runs it, and turns what it answers into an exit status. */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import yargs, { type Argv } from 'yargs';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import { packageVersion } from '../common/package.ts';
import { agentCommand } from './agent.ts';
import { collectorCommand } from './collector.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { doctorCommand } from './doctor.ts';
import { flowsCommand } from './flows.ts';
import { replayCommand } from './replay.ts';
import { rulesCheckCommand, rulesExplainCommand } from './rules.ts';
import { upCommand } from './up.ts';

/**
 * Stands for `-` while yargs parses: among several positional words it loses a lone dash (seen with 18.2).
 */
const DASH = 'plasmawatch:standard-input';

/** Runs one command line (without `node` and the script) and answers with its exit status. Never throws. */
export async function runCommandLine(words: readonly string[], terminal: Terminal): Promise<ExitStatus> {
  let status: ExitStatus | undefined;
  const register = <Options>(parent: Argv, command: Command<Options>): Argv =>
    parent.command<Options>(
      command.usage,
      command.description,
      (builder) => command.options(builder),
      async (options) => {
        status = await command.run(options, terminal);
      },
    );
  const protectedWords = words.map((word) => (word === '-' ? DASH : word));
  const parser = yargs(protectedWords)
    .scriptName('plasmawatch')
    .usage('$0 <command>\n\nWho moves which objects to whom in a Ray cluster, and were they allowed to?')
    .version(packageVersion())
    .locale('en')
    .strict()
    .strictCommands()
    .demandCommand(1, 'which command? See plasmawatch --help')
    .recommendCommands()
    .middleware((options) => {
      if (Array.isArray(options['file']))
        options['file'] = options['file'].map((file) => (file === DASH ? '-' : file));
    })
    .exitProcess(false)
    .showHelpOnFail(false)
    .wrap(100)
    .epilogue(
      'Exit status: 0 done, nothing found; 1 something unexpected was found; 2 the work could not be done.',
    )
    .fail((message, error) => {
      // yargs says no more than "Did you mean replay?" of a slip in a command.
      const problem = message?.startsWith('Did you mean') ? `unknown command: ${message}` : message;
      throw error ?? new PlasmawatchError('PW_USAGE', problem);
    });
  register(parser, upCommand);
  register(parser, agentCommand);
  register(parser, collectorCommand);
  register(parser, replayCommand);
  register(parser, flowsCommand);
  parser.command('rules', 'check and explain the allowlist', (rules) => {
    register(rules, rulesCheckCommand);
    register(rules, rulesExplainCommand);
    return rules.demandCommand(1, 'which of: rules check, rules explain?');
  });
  register(parser, doctorCommand);
  try {
    await parser.parseAsync(protectedWords, {}, (_error, _argv, output) => {
      if (output !== '') terminal.stdout.write(`${output}\n`);
    });
    return status ?? 0;
  } catch (error) {
    terminal.stderr.write(`plasmawatch: ${describeFailure(error)}\n`);
    return 2;
  }
}

/** One line for what a person can mend; the stack for a fault of our own. */
function describeFailure(error: unknown): string {
  if (error instanceof PlasmawatchError) return `${messageOf(error)} [${error.code}]`;
  // yargs throws its own errors for wrong flags and arguments.
  if (error instanceof Error && error.name === 'YError') return messageOf(error);
  return `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/** The real process as a terminal. SIGINT and SIGTERM ask for a stop; a second one ends at once. */
function processTerminal(): Terminal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(2);
      stop.abort();
    });
  }
  // Node would answer with 1, which says here that something unexpected was found.
  process.on('uncaughtException', (error) => {
    process.stderr.write(`plasmawatch: ${describeFailure(error)}\n`);
    process.exit(2);
  });
  // A reader that went away (`| head`) is no fault of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    process.exit(error.code === 'EPIPE' ? 0 : 2);
  });
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    isInteractive: process.stderr.isTTY,
    stopSignal: stop.signal,
  };
}

/** Whether this file is the program and not a module of a test; `npm` and packages start it through a link. */
function isProgram(): boolean {
  const script = process.argv[1];
  return script !== undefined && realpathSync(script) === fileURLToPath(import.meta.url);
}

if (isProgram()) {
  process.exitCode = await runCommandLine(process.argv.slice(2), processTerminal());
}
