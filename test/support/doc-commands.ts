/** The commands of the documentation, as a reader finds them: fenced blocks, and the settings that stand above them. */
import { readdirSync, readFileSync } from 'node:fs';
import { packagePath } from '../../common/package.ts';

/** Languages of blocks that a reader may paste into a shell. */
const SHELLS = new Set(['sh', 'bash', 'shell', 'console']);

export interface DocBlock {
  /** `docs/install.md`. */
  readonly page: string;
  /** The heading that it stands below. */
  readonly section: string;
  /** Where the block begins. */
  readonly line: number;
  readonly text: string;
  /** The machine that the block's first line names; the first line itself where that is no such comment. */
  readonly place: string;
  /** Settings since the command before, by the file that they are for. */
  readonly settings: readonly { readonly file: 'agent.yaml' | 'collector.yaml'; readonly text: string }[];
}

/** Every page of the project. */
export function docPages(): string[] {
  return [
    'README.md',
    'CONTRIBUTING.md',
    ...readdirSync(packagePath('docs'))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `docs/${name}`),
  ];
}

/** Every block of commands, in the order of the page. */
export function commandBlocks(page: string): DocBlock[] {
  const blocks: DocBlock[] = [];
  let section = '';
  let settings: DocBlock['settings'][number][] = [];
  const text = readFileSync(packagePath(page), 'utf8');
  // A heading, or a fenced block with its indentation.
  for (const match of text.matchAll(/^#+ ([^\n]+)$|^( *)```(\w*)[^\n]*\n(.*?)^\2```$/gms)) {
    const [, heading, indent = '', language = '', body = ''] = match;
    if (heading !== undefined) {
      section = heading;
      settings = [];
      continue;
    }
    const plain = body.replaceAll(new RegExp(`^${indent}`, 'gm'), '');
    const file = /^# (agent\.yaml|collector\.yaml)\b/.exec(plain)?.[1];
    if (file === 'agent.yaml' || file === 'collector.yaml') settings.push({ file, text: plain });
    if (!SHELLS.has(language)) continue;
    const line = text.slice(0, match.index).split('\n').length;
    const place = /^# (on [^,\n]*|in a checkout|where [^\n]*)/.exec(plain)?.[1] ?? plain.split('\n')[0] ?? '';
    blocks.push({ page, section, line, text: plain, place, settings });
    settings = [];
  }
  return blocks;
}

/** The commands of a script, a text each: comments, continued lines, loops and here-documents are no commands of their own. */
export function commandsOf(script: string): string[] {
  const commands: string[] = [];
  let hereEnd: string | undefined;
  let isContinued = false;
  let isInLoop = false;
  for (const line of script.split('\n')) {
    if (hereEnd !== undefined) {
      if (line === hereEnd) hereEnd = undefined;
      continue;
    }
    if (line.trim() === '' || line.startsWith('#')) continue;
    if (!isContinued && !isInLoop) commands.push(line);
    hereEnd = /<<'(\w+)'/.exec(line)?.[1];
    isContinued = /[\\|]$/.test(line);
    isInLoop = isInLoop ? line !== 'done' : line.endsWith('; do');
  }
  return commands;
}
