/**
 * What a schema finds wrong, in words for the person who wrote the file: what was expected, what came, and the
 * nearest known word for a slip of the hand.
 */
import { z } from 'zod';
import { nearestWord } from './diagnostic.ts';

/** An offending text longer than this is cut in a message. */
const MAX_QUOTED_LENGTH = 60;
/** Of more known words than these a message names the first ones. */
const MAX_LISTED_WORDS = 40;

/** One problem: where in the value, and what. */
export interface SchemaProblem {
  readonly path: readonly (string | number)[];
  /** Whether the key is to blame, and not its value. */
  readonly isAboutKey: boolean;
  readonly message: string;
}

/** Checks a value; every problem is reported, in the schema's order. */
export function checkSchema<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
): { ok: true; value: z.output<Schema> } | { ok: false; problems: SchemaProblem[] } {
  const result = schema.safeParse(value, { error: wordsOf, reportInput: true });
  if (result.success) return { ok: true, value: result.data };
  return { ok: false, problems: result.error.issues.flatMap((issue) => problemsOf(issue, [])) };
}

/** `expected a port, got the text "x"`: for messages of a schema's own checks. */
export function expected(what: string, input: unknown): string {
  return `expected ${what}, got ${describeValue(input)}`;
}

/** A value as a message names it: kind and content. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (value === '') return 'empty text';
  if (typeof value === 'string') return `\`${shorten(value)}\``;
  if (typeof value === 'number') return `the number ${value}`;
  return typeof value === 'boolean' ? `the word ${value}` : typeof value;
}

/** `a, b or c`. */
export function listWords(words: readonly string[]): string {
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1) ?? ''}`;
}

/** `; did you mean …?` where a known word is near, else `; known: …`, else nothing. */
export function suggestWord(word: string, known: readonly string[]): string {
  // A word of two letters is near to everything.
  const near = word.length > 2 ? nearestWord(word, known) : undefined;
  if (near !== undefined) return `; did you mean \`${near}\`?`;
  if (known.length === 0) return '';
  const more = known.length - MAX_LISTED_WORDS;
  return `; known: ${known.slice(0, MAX_LISTED_WORDS).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

type Issue = z.core.$ZodIssue;

function problemsOf(issue: Issue, prefix: readonly (string | number)[]): SchemaProblem[] {
  const path = [...prefix, ...issue.path.filter((step) => typeof step !== 'symbol')];
  if (issue.code === 'unrecognized_keys') {
    const messages = issue.message.split('\n');
    return issue.keys.map((key, index) => {
      return { path: [...path, key], isAboutKey: true, message: messages[index] ?? issue.message };
    });
  }
  if (issue.code === 'invalid_union') {
    const branch = fittingBranch(issue);
    if (branch !== undefined) return branch.flatMap((inner) => problemsOf(inner, path));
  }
  const isAboutKey = issue.code === 'invalid_key';
  const name = path.findLast((step) => typeof step === 'string');
  const subject = name === undefined || isAboutKey || isMissing(issue) ? '' : `\`${name}\`: `;
  return [{ path, isAboutKey, message: `${subject}${issue.message}` }];
}

/** The branch of a union whose outer kind is right, if there is one: its inner problems are what to tell. */
function fittingBranch(issue: z.core.$ZodIssueInvalidUnion): Issue[] | undefined {
  const fitting = issue.errors.filter((branch) =>
    branch.every((inner) => inner.path.length > 0 || inner.code === 'unrecognized_keys'),
  );
  return fitting.length === 1 ? fitting[0] : undefined;
}

function isMissing(issue: Issue): boolean {
  return issue.message.startsWith('missing key');
}

/** The error map of a check: called for every problem that the schema has no words of its own for. */
function wordsOf(issue: z.core.$ZodRawIssue): string | undefined {
  const { input } = issue;
  const name = issue.path?.at(-1);
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownKeys(issue.inst);
      return issue.keys.map((key) => `unknown key \`${shorten(key)}\`${suggestWord(key, known)}`).join('\n');
    }
    case 'invalid_key':
      return issue.issues.map((inner) => inner.message).join('; ');
    case 'invalid_union':
      if (input === undefined && typeof name === 'string') return `missing key \`${name}\``;
      return expected(listWords([...new Set(issue.errors.flatMap(expectedOf))]), input);
    case 'invalid_type':
      if (input === undefined && typeof name === 'string') return `missing key \`${name}\``;
      return withQuotingAdvice(
        expected(KINDS[issue.expected] ?? issue.expected, input),
        issue.expected,
        input,
      );
    case 'invalid_value':
      if (input === undefined && typeof name === 'string') return `missing key \`${name}\``;
      return expectedWords(issue.values, input);
    case 'too_small':
      return expectedSize(bound(issue, 'at least', 'more than', issue.minimum), issue, input);
    case 'too_big':
      return expectedSize(bound(issue, 'at most', 'less than', issue.maximum), issue, input);
    default:
      return undefined;
  }
}

/** What an issue at the top of a union's branch says was expected there. */
function expectedOf(branch: readonly Issue[]): string[] {
  return branch.flatMap((issue) => {
    if (issue.path.length > 0) return [];
    if (issue.code === 'invalid_type') return [KINDS[issue.expected] ?? issue.expected];
    if (issue.code === 'invalid_value') return issue.values.map(describeLiteral);
    if (issue.code === 'invalid_union') return issue.errors.flatMap(expectedOf);
    return [/^expected (.*), got /.exec(issue.message)?.[1] ?? issue.message];
  });
}

/** One of some fixed values. */
function expectedWords(values: readonly unknown[], input: unknown): string {
  const isQuotedNumber =
    typeof input === 'string' && values.some((value) => value !== input && String(value) === input);
  if (isQuotedNumber)
    return `expected ${listWords(values.map(describeLiteral))}, got text; write it without quotes`;
  const near = typeof input === 'string' ? nearestWord(input, values.map(String)) : undefined;
  const message = expected(listWords(values.map(describeLiteral)), input);
  return near === undefined ? message : `${message}; did you mean \`${near}\`?`;
}

function describeLiteral(value: unknown): string {
  return typeof value === 'number' ? describeValue(value) : `\`${String(value)}\``;
}

function knownKeys(schema: unknown): string[] {
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function withQuotingAdvice(message: string, kind: string, input: unknown): string {
  const isBare = typeof input === 'number' || typeof input === 'boolean';
  return kind === 'string' && isBare ? `${message}; write it in quotes` : message;
}

type SizeIssue = { origin: string; inclusive?: boolean | undefined };

function bound(issue: SizeIssue, inclusive: string, exclusive: string, limit: number | bigint): string {
  const words = issue.inclusive === false ? exclusive : inclusive;
  if (issue.origin === 'array') return `${words} ${limit} ${Number(limit) === 1 ? 'entry' : 'entries'}`;
  if (issue.origin === 'string') {
    return Number(limit) === 1 ? 'text that is not empty' : `${words} ${limit} characters`;
  }
  return `${words} ${limit}`;
}

/** Of a list or a long text the size says more than the content. */
function expectedSize(what: string, { origin }: SizeIssue, input: unknown): string {
  const isLong = typeof input === 'string' && input.length > MAX_QUOTED_LENGTH;
  const length = Array.isArray(input) || isLong ? (input as { length: number }).length : 0;
  return length > 0 && origin !== 'number' ? `expected ${what}, got ${length}` : expected(what, input);
}

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > MAX_QUOTED_LENGTH ? `${line.slice(0, MAX_QUOTED_LENGTH)}…` : line;
}

/** Zod's names of kinds as people say them. */
const KINDS: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: '`true` or `false`',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
  null: 'nothing',
};
