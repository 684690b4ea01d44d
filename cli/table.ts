/** Tables for people. On a terminal they fit its width; elsewhere nothing is cut. */
import type { Terminal } from './command.ts';
import { onOneLine } from '../common/plain-text.ts';
import { hasColour, paint, type Style } from './style.ts';

export interface Column {
  readonly name: string;
  /** Numbers stand to the right. */
  readonly isNumber?: boolean;
  /** Where a terminal is too narrow, columns with a higher number go first; those without one stay. */
  readonly dropOrder?: number;
  /** Cut with an ellipsis where a terminal is too narrow still. */
  readonly isElastic?: boolean;
  readonly style?: (cell: string) => Style | undefined;
}

const GAP = '  ';
const ELLIPSIS = '…';
/** An elastic column is not made narrower than this. */
const MIN_ELASTIC = 12;

/** What flags every command with a table has, for yargs' `options`. */
export const tableOptions = {
  wide: {
    type: 'boolean',
    default: false,
    description: 'all columns, nothing cut, exact times, however narrow the terminal is',
  },
} as const;

/** Writes a table with a headline, or nothing for no rows; each row has a cell for each column. */
export function writeTable(
  terminal: Pick<Terminal, 'stdout' | 'columns' | 'env'>,
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { wide = false }: { readonly wide?: boolean } = {},
): void {
  const width = wide ? undefined : terminal.columns;
  const lines = formatTable(columns, rows, { width, isColoured: hasColour(terminal) });
  for (const line of lines) terminal.stdout.write(`${line}\n`);
}

/**
 * The lines of a table.
 * @param width in characters, that no line exceeds; undefined: none is cut
 */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { width, isColoured = false }: { readonly width?: number | undefined; readonly isColoured?: boolean } = {},
): string[] {
  if (rows.length === 0) return [];
  const cells = rows.map((row) => columns.map((_, index) => onOneLine(row[index] ?? '')));
  const natural = columns.map(({ name }, index) =>
    cells.reduce((widest, row) => Math.max(widest, widthOf(row[index] ?? '')), widthOf(name)),
  );
  const shown = width === undefined ? columns.map((_, index) => index) : fitting(columns, natural, width);
  const widths = shrunk(columns, natural, shown, width);
  const line = (row: readonly string[], style: (index: number) => Style | undefined): string => {
    const parts = shown.map((index) => {
      const cell = cut(row[index] ?? '', widths[index] ?? 0);
      const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - widthOf(cell)));
      const painted = isColoured ? paint(cell, style(index)) : cell;
      return columns[index]?.isNumber === true ? padding + painted : painted + padding;
    });
    return parts.join(GAP).trimEnd();
  };
  return [
    line(
      columns.map(({ name }) => name),
      () => 'dim',
    ),
    ...cells.map((row) => line(row, (index) => columns[index]?.style?.(row[index] ?? ''))),
  ];
}

/** The columns that are shown at a width. */
function fitting(columns: readonly Column[], natural: readonly number[], width: number): number[] {
  let shown = columns.map((_, index) => index);
  const least = (index: number) =>
    columns[index]?.isElastic === true
      ? Math.min(natural[index] ?? 0, MIN_ELASTIC * 2)
      : (natural[index] ?? 0);
  const needed = () => shown.reduce((sum, index) => sum + least(index) + GAP.length, -GAP.length);
  while (needed() > width) {
    const last = shown
      .filter((index) => columns[index]?.dropOrder !== undefined)
      .toSorted((a, b) => (columns[b]?.dropOrder ?? 0) - (columns[a]?.dropOrder ?? 0))[0];
    if (last === undefined) break;
    shown = shown.filter((index) => index !== last);
  }
  return shown;
}

/** The widths of the shown columns: the widest elastic one gives way first. */
function shrunk(
  columns: readonly Column[],
  natural: readonly number[],
  shown: readonly number[],
  width: number | undefined,
): number[] {
  const widths = [...natural];
  if (width === undefined) return widths;
  const total = () => shown.reduce((sum, index) => sum + (widths[index] ?? 0) + GAP.length, -GAP.length);
  for (;;) {
    const excess = total() - width;
    const widest = shown
      .filter((index) => columns[index]?.isElastic === true && (widths[index] ?? 0) > MIN_ELASTIC)
      .toSorted((a, b) => (widths[b] ?? 0) - (widths[a] ?? 0))[0];
    if (excess <= 0 || widest === undefined) return widths;
    const next = shown
      .filter((index) => index !== widest && columns[index]?.isElastic === true)
      .reduce((most, index) => Math.max(most, widths[index] ?? 0), MIN_ELASTIC);
    const goal = Math.max(next - 1, MIN_ELASTIC, (widths[widest] ?? 0) - excess);
    widths[widest] = Math.min(goal, (widths[widest] ?? 0) - 1);
  }
}

/** The text in at most so many characters' width, with an ellipsis where something is missing. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const character of text) {
    used += widthOf(character);
    if (used > width - 1) break;
    kept += character;
  }
  return `${kept.trimEnd()}${ELLIPSIS}`;
}

/** Drawn two columns wide by terminals (Unicode Standard Annex 11, wide and fullwidth). */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

/** How many columns of a terminal a text takes. */
export function widthOf(text: string): number {
  if (/^[ -~]*$/.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += /^\p{M}$/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}
