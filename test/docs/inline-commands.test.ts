/** Commands that the pages name in a sentence or a table: a reader types them, too. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';
import { docPages } from '../support/doc-commands.ts';
import { runCli } from '../support/run-cli.ts';

/** Commands with commands of their own; the word after another one is an argument. */
const GROUPS = new Set([
  'agent',
  'agents',
  'config',
  'enrolments',
  'incidents',
  'notify',
  'rules',
  'silences',
]);

/** The words of the command that a text begins with: `rules check` of `rules check FILE`. */
function commandOf(text: string): string {
  const [first = '', second = ''] = text.split(' ');
  return GROUPS.has(first) && /^[a-z]+$/.test(second) ? `${first} ${second}` : first;
}

const commands = new Map<string, string>();
const table = readFileSync(packagePath('README.md'), 'utf8').split('## Commands')[1]?.split('\n## ')[0] ?? '';
for (const [, words = ''] of table.matchAll(/`(?:plasmawatch )?([a-z][a-z ]*)[^`]*`/g)) {
  if (!words.startsWith('npx') && !words.startsWith('node'))
    commands.set(commandOf(words.trim()), 'README.md');
}
for (const page of docPages()) {
  const text = readFileSync(packagePath(page), 'utf8');
  for (const [, words = ''] of text.matchAll(/`(?:sudo |npx )?plasmawatch ([a-z][^`\n]*)`/g))
    commands.set(commandOf(words), page);
}

describe('the commands that the pages name in a sentence', () => {
  it.each([...commands])('know `plasmawatch %s` (%s)', async (command) => {
    const { status, stdout } = await runCli([...command.split(' '), '--help']);
    expect({ command, status }).toEqual({ command, status: 0 });
    expect(stdout).toMatch(new RegExp(`^plasmawatch ${command}\\b`));
  });

  it('are many', () => {
    expect(commands.size).toBeGreaterThan(12);
  });
});
