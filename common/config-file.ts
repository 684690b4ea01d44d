/**
 * Configuration as people write it: YAML checked by a schema, every problem told at its place in the text.
 *
 * A component's schema is a `z.strictObject` whose fields carry `.describe()`; its type, its JSON Schema and the
 * messages come from that one source. Defaults of the text fields below are given with `.prefault('30s')`.
 */
import { createReadStream } from 'node:fs';
import { z } from 'zod';
import type { Diagnostic } from './diagnostic.ts';
import { judgeFile } from './file-trust.ts';
import { messageOf, systemCodeOf } from './errors.ts';
import { checkSchema, expected } from './schema-message.ts';
import { parseDuration, parseSize } from './units.ts';
import { parseYamlDocument, problemAt, type Locate } from './yaml-document.ts';

/** A larger file is no configuration; bytes in UTF-8. */
export const MAX_CONFIG_BYTES = 1024 * 1024;

/** More problems than these are not told one by one. */
const MAX_DIAGNOSTICS = 100;

export interface ParsedYaml<Value> {
  /** There only when no diagnostic is an error. */
  readonly value?: Value;
  /** In the order of the file. */
  readonly diagnostics: readonly Diagnostic[];
  /** Places of values, for checks that a schema cannot do. */
  readonly locate: Locate;
}

export interface LoadedYaml<Value> extends ParsedYaml<Value> {
  /** What was read, for `formatDiagnostic`; empty where nothing could be. */
  readonly source: string;
}

/** Parses one YAML document and checks it. Never throws for anything in `text`; all problems are collected. */
export function parseYaml<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
  file: string,
): ParsedYaml<z.output<Schema>> {
  if (Buffer.byteLength(text) > MAX_CONFIG_BYTES) return unreadable(file, TOO_LARGE);
  const document = parseYamlDocument(text, file);
  const { locate } = document;
  if (document.diagnostics.length > 0) return { diagnostics: inOrder(document.diagnostics), locate };
  if (document.value === null) return unreadable(file, 'the file is empty');
  const result = checkSchema(schema, document.value);
  if (result.ok) return { value: result.value, diagnostics: [], locate };
  const diagnostics = result.problems.map(({ path, isAboutKey, message }): Diagnostic => {
    return problemAt(locate(path, isAboutKey ? 'key' : 'value'), 'error', message);
  });
  return { diagnostics: inOrder(diagnostics), locate };
}

/** Reads and parses a file. A file that cannot be read is a diagnostic without a line, not an exception. */
export async function loadYamlFile<Schema extends z.ZodType>(
  schema: Schema,
  path: string,
): Promise<LoadedYaml<z.output<Schema>>> {
  const read = await readTextFile(path);
  if (read.problem !== undefined) return { ...unreadable(path, read.problem), source: '' };
  const parsed = parseYaml(schema, read.text, path);
  const { warning } = await judgeFile(path);
  const warnings = warning === undefined ? [] : [aboutFile(path, warning, 'warning')];
  return { ...parsed, diagnostics: [...warnings, ...parsed.diagnostics], source: read.text };
}

/**
 * The text of a file of at most `MAX_CONFIG_BYTES` bytes of UTF-8, or what is wrong with it in a few words: also that
 * everybody may write it.
 */
export async function readTextFile(
  path: string,
): Promise<{ text: string; problem?: undefined } | { text?: undefined; problem: string }> {
  const { problem } = await judgeFile(path);
  if (problem !== undefined) return { problem: `refused: ${problem}` };
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of createReadStream(path, { end: MAX_CONFIG_BYTES })) chunks.push(chunk as Buffer);
  } catch (error) {
    return { problem: `cannot be read: ${READ_FAULTS[systemCodeOf(error) ?? ''] ?? messageOf(error)}` };
  }
  const bytes = Buffer.concat(chunks);
  if (bytes.length > MAX_CONFIG_BYTES) return { problem: TOO_LARGE };
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch {
    return { problem: 'not UTF-8 text' };
  }
}

/** Diagnostics in the order of the text, at most a hundred. The sort is stable: equal places keep their order. */
export function inOrder(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  return diagnostics.toSorted((a, b) => a.line - b.line || a.column - b.column).slice(0, MAX_DIAGNOSTICS);
}

/** A field for a duration as text (`500ms`, `1.5s`, `24h`); milliseconds when parsed. Limits are written as text too. */
export function durationMs(limits: { min?: string; max?: string } = {}): QuantityField {
  return quantity(DURATION, limits);
}

/** A field for a size as text (`512MiB`, `5GB`); bytes when parsed. Limits are written as text too. */
export function sizeBytes(limits: { min?: string; max?: string } = {}): QuantityField {
  return quantity(SIZE, limits);
}

/** Text in the file, a number in the program; its JSON Schema is the text's. */
export type QuantityField = z.ZodPipe<z.ZodString, z.ZodTransform<number, string>>;

/** The JSON Schema of what people write, for editors. */
export function describeSchema(schema: z.ZodType, title: string): z.core.JSONSchema.BaseSchema {
  return { ...z.toJSONSchema(schema, { io: 'input' }), title };
}

interface Quantity {
  readonly name: string;
  readonly what: string;
  readonly pattern: RegExp;
  readonly parse: (text: string) => number | undefined;
}

const DURATION: Quantity = {
  name: 'duration',
  what: 'a duration such as `500ms`, `30s`, `10m`, `24h` or `7d`',
  pattern: /^\d{1,15}(\.\d{1,6})?\s*(ms|s|m|h|d)$/,
  parse: parseDuration,
};

const SIZE: Quantity = {
  name: 'size',
  what: 'a size such as `512MiB` or `5GB`',
  pattern: /^\d{1,15}(\.\d{1,6})?\s*([kMGT]?B|[KMGT]iB)$/,
  parse: parseSize,
};

function quantity(
  { name, what, pattern, parse }: Quantity,
  limits: { min?: string; max?: string },
): QuantityField {
  const error = ({ input }: { input?: unknown }): string | undefined =>
    input === undefined ? undefined : expected(what, input);
  const minimum = limits.min === undefined ? -Infinity : limitOf(parse, limits.min);
  const maximum = limits.max === undefined ? Infinity : limitOf(parse, limits.max);
  return z
    .string({ error })
    .regex(pattern, { error })
    .meta({ quantity: name, limits: rangeWords(limits) })
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined && value >= minimum && value <= maximum) return value;
      const range = value === undefined ? what : rangeWords(limits);
      context.issues.push({ code: 'custom', message: expected(range, text), input: text });
      return z.NEVER;
    });
}

/** `10s to 1d`; empty without limits. */
function rangeWords({ min, max }: { min?: string; max?: string }): string {
  if (min === undefined && max === undefined) return '';
  if (min === undefined) return `at most ${max ?? ''}`;
  return max === undefined ? `at least ${min}` : `${min} to ${max}`;
}

/** A limit is ours, not the user's: a wrong one is a programming error. */
function limitOf(parse: Quantity['parse'], text: string): number {
  const value = parse(text);
  if (value === undefined) throw new Error(`limit ${text} is no quantity`);
  return value;
}

function unreadable(file: string, message: string): ParsedYaml<never> {
  return { diagnostics: [aboutFile(file, message, 'error')], locate: () => placeOf(file) };
}

function aboutFile(file: string, message: string, severity: Diagnostic['severity']): Diagnostic {
  return problemAt(placeOf(file), severity, message);
}

/** A file as a whole. */
function placeOf(file: string): ReturnType<Locate> {
  return { file, line: 0, column: 0, length: 0 };
}

const TOO_LARGE = `larger than ${MAX_CONFIG_BYTES} bytes`;

const READ_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EISDIR: 'it is a folder',
};
