/** Reading a settings file for a command: problems go to standard error, with the line and a caret. */
import type { z } from 'zod';
import { loadYamlFile } from '../common/config-file.ts';
import { formatDiagnostic } from '../common/diagnostic.ts';
import type { Terminal } from './command.ts';
import { writeProblem } from './output.ts';

/** The settings at `path`, or undefined when they are wrong: then the problems have been told. */
export async function loadConfig<Schema extends z.ZodType>(
  schema: Schema,
  path: string,
  terminal: Pick<Terminal, 'stderr'>,
): Promise<z.output<Schema> | undefined> {
  const { value, diagnostics, source } = await loadYamlFile(schema, path);
  for (const diagnostic of diagnostics) writeProblem(terminal, formatDiagnostic(diagnostic, source));
  return value;
}
