/**
 * Problems in a user's file as data: where, what, and what to write instead. Printed by one function, with the
 * source line and a caret.
 */

export interface Diagnostic {
  readonly file: string;
  /** From 1; 0 where the problem has no place in the text (an unreadable file). */
  readonly line: number;
  /** From 1, in UTF-16 units; 0 as above. */
  readonly column: number;
  /** How many columns the caret underlines. */
  readonly length: number;
  readonly severity: 'error' | 'warning';
  /** What is wrong, with the offending text, and what was expected. */
  readonly message: string;
  /** What to write instead, where it can be told. */
  readonly hint?: string;
}

/** `file:line:column: error: message (hint)`, then the line and a caret when the source is given. */
export function formatDiagnostic(diagnostic: Diagnostic, source?: string): string {
  const { file, line, column, length, severity, message, hint } = diagnostic;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const headline = `${place}: ${severity}: ${message}${hint === undefined ? '' : ` (${hint})`}`;
  const text = source?.split(/\r?\n/)[line - 1];
  if (text === undefined || line === 0) return headline;
  const indent = text.slice(0, column - 1).replaceAll(/[^\t]/g, ' ');
  const caret = '^'.repeat(Math.max(1, Math.min(length, text.length - column + 1)));
  return `${headline}\n    ${text}\n    ${indent}${caret}`;
}

/** The known word nearest to `word` by edit distance, if one is near enough to be a slip of the hand. */
export function nearestWord(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's distance, given up (as `limit`) once it cannot stay below `limit`. */
function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    if (Math.min(...current) >= limit) return limit;
    previous = current;
  }
  return previous[b.length] ?? limit;
}
