/** Colour on standard output: only where a person sees it, and never where they say that they want none. */
import type { Terminal } from './command.ts';

export type Style = 'red' | 'yellow' | 'green' | 'dim' | 'bold';

/** Select Graphic Rendition (ECMA-48, section 8.3.117). */
const CODES: Readonly<Record<Style, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 };

/** NO_COLOR (no-color.org) before FORCE_COLOR, and both before what standard output is. */
export function hasColour({ columns, env }: Pick<Terminal, 'columns' | 'env'>): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false;
  const forced = env['FORCE_COLOR'];
  if (forced !== undefined && forced !== '') return forced !== '0';
  return columns !== undefined && env['TERM'] !== 'dumb';
}

/** The text in a style, where there is one. The text itself holds nothing that a terminal acts on. */
export function paint(text: string, style: Style | undefined): string {
  return style === undefined || text === '' ? text : `\u001b[${CODES[style]}m${text}\u001b[0m`;
}

/** Of a severity, and of the states of incidents and agents that ask for a person. */
export function styleOf(word: string): Style | undefined {
  const [first = ''] = word.split(/[ ,(]/);
  return STYLES[first];
}

const STYLES: Readonly<Record<string, Style>> = {
  critical: 'red',
  warning: 'yellow',
  info: 'dim',
  open: 'bold',
  resolved: 'green',
  missing: 'red',
  blind: 'red',
  away: 'yellow',
  stopped: 'dim',
  retired: 'dim',
};
