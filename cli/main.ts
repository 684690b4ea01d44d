#!/usr/bin/env node
/** The command line: finds the sub-command, runs it, and turns what it answers into an exit status. */
import { realpathSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import yargs, { type Argv } from 'yargs';
import { lostThreads } from '../agent/process/timed-reads.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import { packageVersion } from '../common/package.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { preferSmallMemory } from './memory.ts';

/**
 * Where the commands are. Only those that the words may mean are loaded: all of them take a quarter of a second of CPU
 * time, more than `flows` needs for a million packets.
 */
const COMMANDS: Readonly<Record<string, (parser: Argv, register: Register) => Promise<void>>> = {
  up: async (parser, register) => register(parser, (await import('./up.ts')).upCommand),
  agent: async (parser, register) => {
    preferSmallMemory();
    register(parser, (await import('./agent.ts')).agentCommand);
  },
  collector: async (parser, register) => register(parser, (await import('./collector.ts')).collectorCommand),
  replay: async (parser, register) => register(parser, (await import('./replay.ts')).replayCommand),
  flows: async (parser, register) => register(parser, (await import('./flows.ts')).flowsCommand),
  rules: async (parser, register) => {
    const { rulesCheckCommand, rulesExplainCommand } = await import('./rules.ts');
    parser.command('rules', 'check and explain the allowlist', (rules) => {
      register(rules, rulesCheckCommand);
      register(rules, rulesExplainCommand);
      return rules.demandCommand(1, 'which of: rules check, rules explain?');
    });
  },
  incidents: async (parser, register) => {
    const commands = await import('./incidents.ts');
    parser.command('incidents', "list a collector's incidents and look after them", (incidents) => {
      register(incidents, commands.incidentsListCommand);
      register(incidents, commands.incidentsShowCommand);
      register(incidents, commands.incidentsAcknowledgeCommand);
      register(incidents, commands.incidentsResolveCommand);
      return incidents;
    });
  },
  agents: async (parser, register) => {
    const commands = await import('./agents.ts');
    parser.command('agents', "list a collector's agents and look after them", (agents) => {
      register(agents, commands.agentsListCommand);
      register(agents, commands.agentsEnrolCommand);
      register(agents, commands.agentsRetireCommand);
      return agents;
    });
  },
  silence: async (parser, register) => {
    const commands = await import('./silences.ts');
    parser.command('silence', 'tell nobody of some incidents for a while', (silence) => {
      register(silence, commands.silenceAddCommand);
      register(silence, commands.silenceListCommand);
      register(silence, commands.silenceEndCommand);
      return silence.demandCommand(1, 'which of: silence add, silence list, silence end?');
    });
  },
  config: async (parser, register) => {
    const { configCheckCommand } = await import('./config-check.ts');
    parser.command('config', 'check the settings of the services', (config) => {
      register(config, configCheckCommand);
      return config.demandCommand(1, 'which of: config check?');
    });
  },
  audit: async (parser, register) => register(parser, (await import('./audit.ts')).auditCommand),
  notify: async (parser, register) => {
    const { notifyTestCommand } = await import('./notify.ts');
    parser.command('notify', "try the collector's receivers", (notify) => {
      register(notify, notifyTestCommand);
      return notify.demandCommand(1, 'which of: notify test?');
    });
  },
  doctor: async (parser, register) => register(parser, (await import('./doctor/doctor.ts')).doctorCommand),
};

/** Whatever still runs then is ended: nothing that another process does may keep this one from stopping. */
const STOP_LIMIT_MS = 20_000;

type Register = <Options>(parser: Argv, command: Command<Options>) => void;

/**
 * Stands for `-` while yargs parses: among several positional words it loses a lone dash (seen with 18.2).
 */
const DASH = 'plasmawatch:standard-input';

/** Runs one command line (without `node` and the script) and answers with its exit status. Never throws. */
export async function runCommandLine(words: readonly string[], terminal: Terminal): Promise<ExitStatus> {
  let status: ExitStatus | undefined;
  const register: Register = <Options>(parent: Argv, command: Command<Options>) => {
    parent.command<Options>(
      command.usage,
      command.description,
      (builder) => command.options(builder),
      async (options) => {
        status = await command.run(options, terminal);
      },
    );
  };
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
  for (const add of commandsFor(words)) await add(parser, register);
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

/** The command that the first word names; all of them where it names none, for the help and for who made a slip. */
function commandsFor([name]: readonly string[]): (typeof COMMANDS)[string][] {
  if (name === '--version') return [];
  const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  return command === undefined ? Object.values(COMMANDS) : [command];
}

/** One line for what a person can mend; the stack for a fault of our own. */
function describeFailure(error: unknown): string {
  if (error instanceof PlasmawatchError) return `${messageOf(error)} [${error.code}]`;
  // yargs throws its own errors for wrong flags and arguments.
  if (error instanceof Error && error.name === 'YError') return messageOf(error);
  return `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

/**
 * Ends this process without waiting for anything. `process.exit` waits for every thread, also for one that reads what another
 * process holds back.
 */
function endAtOnce(status: ExitStatus): void {
  if (lostThreads() > 0) process.kill(process.pid, 'SIGKILL');
  process.exit(status);
}

/** The real process as a terminal. SIGINT and SIGTERM ask for a stop; a second one ends at once. SIGHUP ends nothing by itself. */
function processTerminal(): Terminal {
  const stop = new AbortController();
  process.on('SIGHUP', () => {
    // The terminal of a person who has closed its window.
    if (isHungUp()) stop.abort();
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) endAtOnce(2);
      stop.abort();
      setTimeout(() => {
        process.stderr.write(`plasmawatch: not stopped within ${STOP_LIMIT_MS / 1000} s: ended\n`);
        process.kill(process.pid, 'SIGKILL');
      }, STOP_LIMIT_MS).unref();
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
    onHangUp: (listener) => process.on('SIGHUP', listener),
  };
}

/** Whether standard error was a terminal and is none any more. */
function isHungUp(): boolean {
  if (!process.stderr.isTTY) return false;
  try {
    writeSync(process.stderr.fd, '');
    return false;
  } catch {
    return true;
  }
}

/** Whether this file is the program and not a module of a test; `npm` and packages start it through a link. */
function isProgram(): boolean {
  const script = process.argv[1];
  return script !== undefined && realpathSync(script) === fileURLToPath(import.meta.url);
}

if (isProgram()) {
  // Awaited by nothing: the build is CommonJS (rolldown.config.mjs), where a module cannot wait.
  void runCommandLine(process.argv.slice(2), processTerminal()).then((status) => {
    process.exitCode = status;
    if (lostThreads() > 0) endAtOnce(status);
  });
}
