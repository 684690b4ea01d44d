/** The command line: finds the sub-command, runs it, and turns what it answers into an exit status. */
import { writeSync } from 'node:fs';
import yargs, { type Argv } from 'yargs';
import { lostThreads } from '../agent/process/timed-reads.ts';
import { messageOf, PlasmawatchError } from '../common/errors.ts';
import { packageVersion } from '../common/package.ts';
import type { Command, ExitStatus, Terminal } from './command.ts';
import { foldHelp } from './help.ts';
import { preferSmallMemory } from './memory.ts';
import { inPlainWords } from './usage-message.ts';

/**
 * Where the commands are. Only those that the words may mean are loaded: all of them take a quarter of a second of CPU
 * time, more than `flows` needs for a million packets.
 */
const COMMANDS: Readonly<Record<string, (parser: Argv, register: Register) => Promise<void>>> = {
  up: async (parser, register) => register(parser, (await import('./up.ts')).upCommand),
  agent: async (parser, register) => {
    preferSmallMemory();
    const { agentCommand } = await import('./agent.ts');
    const { agentEnrolCommand } = await import('./agent-enrol.ts');
    noun(parser, register, 'agent', 'watch this node and report to a collector (a service)', (add) => {
      add(agentCommand);
      add(agentEnrolCommand);
    });
  },
  collector: async (parser, register) => register(parser, (await import('./collector.ts')).collectorCommand),
  replay: async (parser, register) => register(parser, (await import('./replay.ts')).replayCommand),
  flows: async (parser, register) => register(parser, (await import('./flows.ts')).flowsCommand),
  rules: async (parser, register) => {
    const { rulesCheckCommand, rulesExplainCommand } = await import('./rules.ts');
    noun(parser, register, 'rules', 'check and explain the allowlist', (add) => {
      add(rulesCheckCommand);
      add(rulesExplainCommand);
    });
  },
  incidents: async (parser, register) => {
    const commands = await import('./incidents/commands.ts');
    noun(parser, register, 'incidents', 'list, show, acknowledge and resolve incidents', (add) => {
      add(commands.incidentsListCommand);
      add(commands.incidentsShowCommand);
      add(commands.incidentsEvidenceCommand);
      add(commands.incidentsAcknowledgeCommand);
      add(commands.incidentsResolveCommand);
    });
  },
  agents: async (parser, register) => {
    const commands = await import('./agents.ts');
    noun(parser, register, 'agents', 'list, show, enrol and retire agents', (add) => {
      add(commands.agentsListCommand);
      add(commands.agentsShowCommand);
      add(commands.agentsEnrolCommand);
      add(commands.agentsRetireCommand);
    });
  },
  enrolments: async (parser, register) => {
    const commands = await import('./enrolments.ts');
    noun(parser, register, 'enrolments', 'list and revoke one-time tokens of new agents', (add) => {
      add(commands.enrolmentsListCommand);
      add(commands.enrolmentsRevokeCommand);
    });
  },
  silences: async (parser, register) => {
    const commands = await import('./silences.ts');
    noun(parser, register, ['silences', 'silence'], 'list, add and end silences', (add) => {
      add(commands.silenceListCommand);
      add(commands.silenceAddCommand);
      add(commands.silenceEndCommand);
    });
  },
  config: async (parser, register) => {
    const { configCheckCommand } = await import('./config-check.ts');
    noun(parser, register, 'config', 'check the settings of the services', (add) => add(configCheckCommand));
  },
  audit: async (parser, register) => register(parser, (await import('./audit.ts')).auditCommand),
  notify: async (parser, register) => {
    const { notifyTestCommand } = await import('./notify.ts');
    noun(parser, register, 'notify', "try the collector's receivers", (add) => add(notifyTestCommand));
  },
  login: async (parser, register) => register(parser, (await import('./login.ts')).loginCommand),
  doctor: async (parser, register) => register(parser, (await import('./doctor/doctor.ts')).doctorCommand),
  completion: async (parser, register) =>
    register(parser, (await import('./completion.ts')).completionCommand),
  version: async (parser, register) => register(parser, (await import('./version.ts')).versionCommand),
};

/** Other words for a command of `COMMANDS`. */
const SYNONYMS: Readonly<Record<string, string>> = { silence: 'silences' };

type Register = <Options>(parser: Argv, command: Command<Options>, noun?: string) => void;

/** A noun with the verbs that go with it. One of them may be `$0`: what is done where no verb is given. */
function noun(
  parser: Argv,
  register: Register,
  names: string | readonly string[],
  description: string,
  addVerbs: (add: <Options>(command: Command<Options>) => void) => void,
): void {
  const name = typeof names === 'string' ? names : (names[0] ?? '');
  const verbs: string[] = [];
  let hasDefault = false;
  parser.command(names, description, (group) => {
    addVerbs((command) => {
      const usages = [command.usage].flat();
      hasDefault ||= usages.includes('$0');
      verbs.push(`${name} ${(usages.find((usage) => usage !== '$0') ?? '').split(' ')[0] ?? ''}`);
      register(group, command, name);
    });
    return hasDefault ? group : group.demandCommand(1, `which of: ${verbs.join(', ')}?`);
  });
}

/** Help is not wider, however wide the terminal is. */
const HELP_COLUMNS = 100;

/** Whatever still runs then is ended: nothing that another process does may keep this one from stopping. */
const STOP_LIMIT_MS = 20_000;

/**
 * Stands for `-` while yargs parses: among several positional words it loses a lone dash (seen with 18.2).
 */
const DASH = 'plasmawatch:standard-input';

/** Runs one command line (without `node` and the script) and answers with its exit status. Never throws. */
export async function runCommandLine(words: readonly string[], terminal: Terminal): Promise<ExitStatus> {
  let status: ExitStatus | undefined;
  const [first = ''] = words;
  const place = Object.hasOwn(COMMANDS, first) ? `plasmawatch ${first}` : 'plasmawatch';
  let usage = place;
  let lists: readonly string[] = [];
  const register: Register = <Options>(parent: Argv, command: Command<Options>, noun = '') => {
    parent.command<Options>(
      command.usage,
      command.description,
      (builder) => {
        const written = [command.usage].flat().find((each) => each !== '$0') ?? '';
        usage = ['plasmawatch', noun, written].filter(Boolean).join(' ');
        const built = command.options(builder);
        lists = listsOf(built);
        return built;
      },
      async (options) => {
        refuseRepeated(options, lists);
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
      for (const [name, value] of Object.entries(options)) {
        if (value === DASH) options[name] = '-';
        else if (Array.isArray(value))
          options[name] = value.map((word: unknown) => (word === DASH ? '-' : word));
      }
    })
    .exitProcess(false)
    .showHelpOnFail(false)
    .alias('h', 'help')
    .wrap(null)
    .epilogue(
      'Exit status: 0 done, nothing found; 1 something unexpected was found; 2 the work could not be done.',
    )
    .fail((message, error) => {
      if (error !== undefined && error !== null && error.name !== 'YError') throw error;
      const said = message ?? error?.message ?? '';
      throw new PlasmawatchError('PW_USAGE', inPlainWords(said, { usage, place, words }));
    });
  for (const add of commandsFor(words)) await add(parser, register);
  try {
    await parser.parseAsync(protectedWords, {}, (_error, _argv, output) => {
      const columns =
        terminal.columns === Infinity ? Infinity : Math.min(terminal.columns ?? HELP_COLUMNS, HELP_COLUMNS);
      if (output !== '') terminal.stdout.write(`${foldHelp(output, columns)}\n`);
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
  const known = name === undefined ? '' : (SYNONYMS[name] ?? name);
  const command = Object.hasOwn(COMMANDS, known) ? COMMANDS[known] : undefined;
  return command === undefined ? Object.values(COMMANDS) : [command];
}

/** The options that take several values. yargs has no type for what knows it. */
function listsOf(built: unknown): readonly string[] {
  return (built as { getOptions(): { array: readonly string[] } }).getOptions().array;
}

/** yargs makes a list of what is given twice, and what is to happen then nobody has said. */
function refuseRepeated(options: object, lists: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (!Array.isArray(value) || name === '_' || lists.includes(name)) continue;
    throw new PlasmawatchError('PW_USAGE', `--${name} is given more than once`);
  }
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
    columns: process.stdout.isTTY ? process.stdout.columns : undefined,
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

/** Runs the command line of this process. */
export function startProgram(): void {
  // Awaited by nothing: the build is CommonJS (rolldown.config.mjs), where a module cannot wait.
  void runCommandLine(process.argv.slice(2), processTerminal()).then((status) => {
    process.exitCode = status;
    if (lostThreads() > 0) endAtOnce(status);
  });
}
