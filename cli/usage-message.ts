/** What is wrong with a command line, in words of flags and arguments: yargs speaks of its own insides. */

interface CommandLine {
  /** Of the command, as its help has it: `plasmawatch flows <file..>`; empty where none was found. */
  readonly usage: string;
  /** The command or noun that the words begin with, so far as there is one: `plasmawatch incidents`. */
  readonly place: string;
  readonly words: readonly string[];
}

export function inPlainWords(message: string, commandLine: CommandLine): string {
  for (const [pattern, say] of SAYINGS) {
    const match = pattern.exec(message);
    if (match !== null) return say(match.slice(1), commandLine);
  }
  return message;
}

type Say = (parts: readonly string[], commandLine: CommandLine) => string;

const SAYINGS: readonly (readonly [pattern: RegExp, say: Say])[] = [
  [/^Did you mean (.*)\?$/s, ([name = '']) => `there is no such command; did you mean ${name}?`],
  [
    /^Unknown commands?: (.*)$/s,
    ([names = ''], { place }) => `there is no command ${names}${seeHelp(place)}`,
  ],
  [
    /^Unknown arguments?: (.*)$/s,
    ([names = ''], { usage, words }) => `unknown: ${asTyped(names, words)}${seeHelp(usage)}`,
  ],
  [
    /^Not enough non-option arguments: got (\d+), need at least \d+/,
    ([got = '0'], { usage }) => `${missingArguments(usage, Number(got))} missing: ${usage}`,
  ],
  [/^Too many non-option arguments/, (_parts, { usage }) => `there are too many words: ${usage}`],
  [/^Missing required arguments?: (.*)$/s, ([names = '']) => `${listed(names)} missing`],
  [/^Not enough arguments following: (.*)$/s, ([name = '']) => `${flagOf(name)} needs a value`],
  [
    /^Invalid values:\s+Argument: (\S+), Given: (.*), Choices: (.*)$/s,
    ([name = '', given = '', choices = '']) =>
      `${flagOf(name)}: ${given} is none of ${choices.replaceAll('"', '')}`,
  ],
];

function seeHelp(usage: string): string {
  const command = usage.replaceAll(/ [<[].*$/g, '');
  return `; see ${command === '' ? 'plasmawatch' : command} --help`;
}

/** `--rules is`, `--rules, --for are` */
function listed(names: string): string {
  const flags = names.split(', ').map(flagOf);
  return `${flags.join(', ')} ${flags.length === 1 ? 'is' : 'are'}`;
}

/** Names as they stand in the command line; of a flag yargs names both `foo-bar` and `fooBar`. */
function asTyped(names: string, words: readonly string[]): string {
  const typed = names.split(', ').flatMap((name) => {
    const isIt = (word: string) => word === name || word.replace(/^--?/, '').replace(/=.*$/s, '') === name;
    const word = words.find(isIt);
    return word === undefined ? [] : [word.replace(/=.*$/s, '')];
  });
  return typed.length === 0 ? names : typed.join(', ');
}

function flagOf(name: string): string {
  if (name === '') return name;
  return name.length === 1 ? `-${name}` : `--${name}`;
}

/** The arguments in a usage from a place on: `<id> is`. */
function missingArguments(usage: string, from: number): string {
  const names = usage.match(/<[^>]+>/g)?.slice(from) ?? [];
  if (names.length === 0) return 'an argument is';
  return `${names.join(' and ')} ${names.length === 1 ? 'is' : 'are'}`;
}
