/** Reading the rules for a command: problems go to standard error, with the line and a caret. */
import { systemClock } from '../common/clock.ts';
import { formatDiagnostic } from '../common/diagnostic.ts';
import { loadRules, type LoadedRules } from '../rules/load.ts';
import type { Ruleset } from '../rules/match.ts';
import type { Terminal } from './command.ts';
import { writeProblem } from './output.ts';

/** The rules at `path`, or undefined when they are wrong: then the problems have been told. */
export async function readRules(
  path: string,
  terminal: Pick<Terminal, 'stderr'>,
): Promise<Ruleset | undefined> {
  const loaded = await loadRules(path, { clock: systemClock });
  for (const line of describeProblems(loaded)) writeProblem(terminal, line);
  return loaded.ruleset;
}

/** Each problem of a rule file as text. */
export function describeProblems({ diagnostics, sources }: LoadedRules): string[] {
  return diagnostics.map((diagnostic) => formatDiagnostic(diagnostic, sources.get(diagnostic.file)));
}
