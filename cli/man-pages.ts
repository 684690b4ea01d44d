/** Manual pages, made from the commands' own help: what a page says is what the command takes. */
import { PassThrough } from 'node:stream';
import { packageVersion } from '../common/package.ts';
import type { Terminal } from './command.ts';
import { runCommandLine } from './main.ts';

/** Every page by its file: `plasmawatch.1`, and `plasmawatch-incidents.1` for each command. */
export async function manPages(): Promise<ReadonlyMap<string, string>> {
  const root = await readHelp([]);
  const names = root.commands.map(({ usage }) => usage.split(' ')[1] ?? '');
  const pages = new Map([['plasmawatch.1', await page([], root.commands[0]?.usage ?? '')]]);
  for (const name of new Set(names)) pages.set(`plasmawatch-${name}.1`, await page([name], name));
  return pages;
}

/** A command of several words has a section for each of its verbs. */
async function page(words: readonly string[], name: string): Promise<string> {
  const help = await readHelp(words);
  const title = ['plasmawatch', ...words].join('-');
  const verbs = words.length === 0 ? [] : help.commands;
  const summary = help.description.split('\n')[0] ?? name;
  return [
    `.TH ${quoted(title.toUpperCase())} 1 "" ${quoted(`plasmawatch ${packageVersion()}`)} "plasmawatch manual"`,
    '.SH NAME',
    `${escaped(title)} \\- ${escaped(summary)}`,
    '.SH SYNOPSIS',
    `.B ${escaped(help.usage)}`,
    '.SH DESCRIPTION',
    escaped(help.description),
    ...(words.length === 0 ? ['.SH COMMANDS', ...help.commands.flatMap(itemOf)] : []),
    ...(verbs.length === 0 ? optionLines(help) : []),
    ...(await Promise.all(verbs.map(async (verb) => await verbLines(verb)))).flat(),
    '.SH EXIT STATUS',
    '.TP\n.B 0\ndone, nothing found',
    '.TP\n.B 1\nsomething unexpected was found',
    '.TP\n.B 2\nthe work could not be done',
    '.SH SEE ALSO',
    words.length === 0 ? 'plasmawatch\\-COMMAND(1) for each command' : '.BR plasmawatch (1)',
    '',
  ].join('\n');
}

async function verbLines({ usage }: Item): Promise<string[]> {
  const words = usage
    .split(' ')
    .slice(1)
    .filter((word) => /^[a-z]/.test(word));
  const help = await readHelp(words);
  return [
    `.SH ${quoted(usage.toUpperCase().split(' ').slice(2).join(' '))}`,
    `.B ${escaped(usage)}`,
    '.PP',
    escaped(help.description),
    ...items(help),
  ];
}

function optionLines(help: Help): string[] {
  const listed = items(help);
  return listed.length === 0 ? [] : ['.SH OPTIONS', ...listed];
}

/** Flags of every command, which its page need not repeat. */
const EVERYWHERE = new Set(['--version', '-h, --help']);

function items({ positionals, options }: Help): string[] {
  return [...positionals, ...options.filter(({ usage }) => !EVERYWHERE.has(usage))].flatMap(itemOf);
}

function itemOf({ usage, description }: Item): string[] {
  return ['.TP', `.B ${escaped(usage)}`, escaped(description)];
}

interface Item {
  /** `plasmawatch incidents show <id>`, `-o, --output`. */
  readonly usage: string;
  readonly description: string;
}

interface Help {
  readonly usage: string;
  readonly description: string;
  readonly commands: readonly Item[];
  readonly positionals: readonly Item[];
  readonly options: readonly Item[];
}

/** What `--help` prints, taken apart: a section's lines have two spaces at least between a name and its meaning. */
async function readHelp(words: readonly string[]): Promise<Help> {
  const text = await printedBy([...words, '--help']);
  const [usage = '', ...rest] = text.split('\n');
  const sections = new Map<string, string[]>([['', []]]);
  let section = '';
  for (const line of rest) {
    const heading = /^(Commands|Positionals|Options):$/.exec(line)?.[1];
    if (heading !== undefined) section = heading;
    else if (!line.startsWith('  ') && line.trim() !== '') section = '';
    if (heading === undefined && line.trim() !== '') {
      if (!sections.has(section)) sections.set(section, []);
      sections.get(section)?.push(line);
    }
  }
  const itemsOf = (name: string): Item[] =>
    (sections.get(name) ?? []).map((line) => {
      const [name = '', ...description] = line.trim().split(/ {2,}/);
      return { usage: name, description: description.join(' ') };
    });
  const description = (sections.get('') ?? []).filter((line) => !line.startsWith('Exit status:'));
  return {
    usage,
    description: description.join('\n'),
    commands: itemsOf('Commands'),
    positionals: itemsOf('Positionals'),
    options: itemsOf('Options'),
  };
}

async function printedBy(words: readonly string[]): Promise<string> {
  const chunks: Buffer[] = [];
  const stdout = new PassThrough().on('data', (chunk: Buffer) => chunks.push(chunk));
  const terminal: Terminal = {
    stdin: new PassThrough(),
    stdout,
    stderr: stdout,
    env: {},
    isInteractive: false,
    columns: Number.POSITIVE_INFINITY,
    stopSignal: new AbortController().signal,
  };
  await runCommandLine(words, terminal);
  await new Promise<void>((resolve) => stdout.end(resolve));
  return Buffer.concat(chunks).toString('utf8');
}

/** For groff_man(7): a hyphen that stays one, no escape, no request at the beginning of a line. */
function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll(/^(?=[.'])/gm, '\\&');
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\(dq')}"`;
}
