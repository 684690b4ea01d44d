/** The help of yargs, folded between words: it breaks a line in the middle of one. */
import { wrapped } from './wrap.ts';

/** Where the meaning of a name stands that is too long to have it beside it. */
const DEEP_INDENT = ' '.repeat(10);

/**
 * Help in lines that fit.
 * @param text as yargs prints it without a limit: a line for each command and flag
 * @param columns Infinity: as it is
 */
export function foldHelp(text: string, columns: number): string {
  if (columns === Infinity) return text;
  return text
    .split('\n')
    .flatMap((line) =>
      line.length <= columns ? [line.replaceAll(/(?<=\S) {2,}(?=\[)/g, '  ')] : foldLine(line, columns),
    )
    .join('\n');
}

function foldLine(line: string, columns: number): string[] {
  const [, name = '', meaning = line.trim()] = /^( {2}.*?\S {2,})(\S.*)$/.exec(line) ?? [];
  const text = meaning.replaceAll(/ {2,}/g, '  ');
  if (name.length <= columns / 2) return wrapped(name, text, columns);
  return [name.trimEnd(), ...wrapped(DEEP_INDENT, text, columns)];
}
