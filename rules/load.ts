/** Reads the allowlist: one file, or the YAML files of a folder as if they were one. */
import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../common/clock.ts';
import { inOrder, loadYamlFile } from '../common/config-file.ts';
import type { Diagnostic } from '../common/diagnostic.ts';
import { messageOf, systemCodeOf } from '../common/errors.ts';
import { checkRules } from './checks.ts';
import { compileRules, type RuleSource } from './compile.ts';
import type { Ruleset } from './match.ts';
import { rulesSchema } from './schema.ts';

/** More files than these are a mistake in the path. */
const MAX_FILES = 1000;
/** Names of files that are not read, as far as a message shows them. */
const MAX_NAMES_SHOWN = 5;

export interface LoadedRules {
  /** There only when no diagnostic is an error. */
  readonly ruleset?: Ruleset;
  /** By file, then in the order of the text; warnings among them. */
  readonly diagnostics: readonly Diagnostic[];
  /** The text of every file, for `formatDiagnostic`; empty where it could not be read. */
  readonly sources: ReadonlyMap<string, string>;
  /** SHA-256 of the content, hex; of one file it is what `sha256sum` says. */
  readonly fingerprint: string;
}

interface LoadDependencies {
  /** Tells which rules have expired. */
  readonly clock: Pick<Clock, 'now'>;
}

/**
 * Loads the rules at `path`: a file, or a folder whose `*.yaml` and `*.yml` are read in the order of their names (not
 * those that begin with a dot). Faults of the disk are diagnostics too. Checks across places run only when every file
 * passes by itself: what one lacks may stand in the one that cannot be read.
 */
export async function loadRules(path: string, { clock }: LoadDependencies): Promise<LoadedRules> {
  const { files, ignored = [], problem } = await listRuleFiles(path);
  const diagnostics: Diagnostic[] = ignored.length === 0 ? [] : [ignoredFiles(path, ignored)];
  if (problem !== undefined) {
    diagnostics.push({ file: path, line: 0, column: 0, length: 0, severity: 'error', message: problem });
  }
  const texts = new Map<string, string>();
  const sources: RuleSource[] = [];
  for (const file of files) {
    const loaded = await loadYamlFile(rulesSchema, file);
    texts.set(file, loaded.source);
    diagnostics.push(...loaded.diagnostics);
    if (loaded.value !== undefined) sources.push({ file, content: loaded.value, locate: loaded.locate });
  }
  const fingerprint = createHash('sha256')
    .update([...texts.values()].join('\0'))
    .digest('hex');
  if (diagnostics.some(isError)) return { diagnostics, sources: texts, fingerprint };
  const found = [...diagnostics, ...checkRules(sources, clock.now())];
  const ordered = [path, ...files.filter((file) => file !== path)].flatMap((file) =>
    inOrder(found.filter((diagnostic) => diagnostic.file === file)),
  );
  const isFaulty = ordered.some(isError);
  return {
    ...(isFaulty ? {} : { ruleset: compileRules(sources) }),
    diagnostics: ordered,
    sources: texts,
    fingerprint,
  };
}

function isError({ severity }: Diagnostic): boolean {
  return severity === 'error';
}

/** What nobody takes for rules: the schema of the rules, and texts about them. */
function isDocumentation(name: string): boolean {
  return /\.(md|schema\.json)$|^(README|LICENSE|NOTICE|CHANGELOG)$/i.test(name);
}

/** What somebody has put into the folder of rules and nobody reads. */
function ignoredFiles(path: string, names: readonly string[]): Diagnostic {
  const shown = names.slice(0, MAX_NAMES_SHOWN).join(', ');
  const rest = names.length - MAX_NAMES_SHOWN;
  return {
    file: path,
    line: 0,
    column: 0,
    length: 0,
    severity: 'warning',
    message: `not read: ${shown}${rest > 0 ? ` and ${rest} more` : ''}; only files that end in .yaml or .yml are`,
  };
}

/** The files that `path` stands for, with the names of what else is in a folder, or what is wrong with it. */
export async function listRuleFiles(
  path: string,
): Promise<{ files: string[]; ignored?: string[]; problem?: string }> {
  try {
    if (!(await stat(path)).isDirectory()) return { files: [path] };
    // What begins with a dot is an editor's, or of how Kubernetes lays out a folder.
    const all = (await readdir(path)).filter((name) => !name.startsWith('.')).toSorted();
    const names = all.filter((name) => /\.ya?ml$/i.test(name));
    if (names.length === 0) return { files: [], problem: 'the folder holds no *.yaml or *.yml file' };
    if (names.length > MAX_FILES) return { files: [], problem: `more than ${MAX_FILES} rule files` };
    const ignored = all.filter((name) => !/\.ya?ml$/i.test(name) && !isDocumentation(name));
    return { files: names.map((name) => join(path, name)), ignored };
  } catch (error) {
    const isMissing = systemCodeOf(error) === 'ENOENT';
    return { files: [], problem: `cannot be read: ${isMissing ? 'no such file' : messageOf(error)}` };
  }
}
