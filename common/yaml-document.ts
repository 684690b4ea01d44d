/**
 * One YAML document as plain values, each with its place in the text.
 *
 * Bounded, because a file may come from anywhere: size is the reader's business, depth, aliases and the number of
 * values are checked here. YAML 1.2 core schema: `yes` and `2027-03-01` are text.
 */
import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, Lexer, parseDocument } from 'yaml';
import type { Document, Node, Pair, YAMLError, YAMLMap } from 'yaml';
import type { Diagnostic } from './diagnostic.ts';
import { joinLines } from './errors.ts';

/** Deeper than this is no configuration. */
const MAX_DEPTH = 32;
/** Aliases are resolved by a walk over the document each. */
const MAX_ALIASES = 100;
/** Values after aliases are expanded. */
const MAX_VALUES = 200_000;
/** One slip can make the parser complain of every line after it. */
const MAX_SYNTAX_ERRORS = 10;

/** Keys and list positions from the root of a document to a value. */
export type YamlPath = readonly (string | number)[];

/** Where in which file, as a diagnostic says it. */
export type Place = Pick<Diagnostic, 'file' | 'line' | 'column' | 'length'>;

/** Finds the place of a value, or of its key. A path that leads nowhere gives the nearest parent that is there. */
export type Locate = (path: YamlPath, part?: 'key' | 'value') => Place;

export interface YamlDocument {
  /** Plain objects (without a prototype), arrays, text, numbers, booleans and null; valid without diagnostics only. */
  readonly value: unknown;
  readonly diagnostics: readonly Diagnostic[];
  readonly locate: Locate;
}

/** Parses `text`, which may hold one document. Never throws: what is wrong is in the diagnostics. */
export function parseYamlDocument(text: string, file: string): YamlDocument {
  const lineCounter = new LineCounter();
  const placeOf = (start: number, end: number): Place => {
    const { line, col } = lineCounter.linePos(start);
    return { file, line, column: col, length: Math.max(1, end - start) };
  };
  // The parser descends by recursion, so depth is looked at before it runs.
  const tooDeep = findDeepNesting(text);
  if (tooDeep !== undefined) return refuse(placeInText(text, tooDeep, file), TOO_DEEP);
  let document: Document.Parsed;
  try {
    document = parseDocument(text, { lineCounter, prettyErrors: false, uniqueKeys: false });
  } catch (error) {
    if (error instanceof RangeError) return refuse({ file, line: 1, column: 1, length: 1 }, TOO_DEEP);
    throw error;
  }
  const problems = [...document.errors, ...document.warnings];
  if (problems.length > 0) {
    const textEnd = text.trimEnd().length;
    const diagnostics = problems.slice(0, MAX_SYNTAX_ERRORS).map((problem): Diagnostic => {
      const { message, hint } = wordsOf(problem);
      // What is missing at the end of the text is told where the text ends, not on the empty line after it.
      const [start, end] = problem.pos;
      return problemAt(placeOf(Math.min(start, textEnd), end), 'error', message, hint);
    });
    return { value: undefined, diagnostics, locate: () => placeOf(0, 1) };
  }
  const reader = new ValueReader(document, placeOf);
  const value = reader.read();
  return { value, diagnostics: reader.diagnostics, locate: (path, part) => reader.locate(path, part) };
}

function refuse(place: Place, message: string): YamlDocument {
  return { value: undefined, diagnostics: [problemAt(place, 'error', message)], locate: () => place };
}

/** For a fault that is found before the parser has counted the lines. */
function placeInText(text: string, offset: number, file: string): Place {
  const before = text.slice(0, offset).split('\n');
  return { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1, length: 1 };
}

const TOO_DEEP = `nested deeper than ${MAX_DEPTH} levels`;

/** A diagnostic at a place. */
export function problemAt(
  place: Place,
  severity: Diagnostic['severity'],
  message: string,
  hint?: string,
): Diagnostic {
  return { ...place, severity, message, ...(hint === undefined ? {} : { hint }) };
}

/** Turns nodes into values; collects what the YAML parser lets pass and a configuration must not hold. */
class ValueReader {
  readonly diagnostics: Diagnostic[] = [];
  readonly #document: Document.Parsed;
  readonly #placeOf: (start: number, end: number) => Place;
  #values = 0;
  #aliases = 0;

  constructor(document: Document.Parsed, placeOf: (start: number, end: number) => Place) {
    this.#document = document;
    this.#placeOf = placeOf;
  }

  read(): unknown {
    return this.#valueOf(this.#document.contents, 0);
  }

  locate(path: YamlPath, part: 'key' | 'value' = 'value'): Place {
    let node: unknown = this.#document.contents;
    let place = this.#place(node);
    for (const [index, step] of path.entries()) {
      const container = this.#resolve(node);
      const pair = isMap(container) ? pairOf(container, step) : undefined;
      node = isSeq(container) && typeof step === 'number' ? container.items[step] : pair?.value;
      if (pair === undefined && node === undefined) return place;
      const wantsKey = part === 'key' && index === path.length - 1;
      const isEmpty = node === null || node === undefined;
      place = this.#place(pair !== undefined && (wantsKey || isEmpty) ? pair.key : node);
    }
    return place;
  }

  #valueOf(node: unknown, depth: number): unknown {
    this.#values++;
    if (depth > MAX_DEPTH) return this.#refuse(node, TOO_DEEP);
    if (this.#values > MAX_VALUES) {
      return this.#values === MAX_VALUES + 1
        ? this.#refuse(node, `more than ${MAX_VALUES} values, aliases expanded`)
        : undefined;
    }
    if (isAlias(node)) return this.#aliased(node, depth);
    if (isMap(node)) return this.#mapping(node, depth);
    if (isSeq(node)) return node.items.map((item) => this.#valueOf(item, depth + 1));
    return isScalar(node) ? node.value : null;
  }

  #aliased(node: Node, depth: number): unknown {
    this.#aliases++;
    if (this.#aliases > MAX_ALIASES) {
      return this.#aliases === MAX_ALIASES + 1
        ? this.#refuse(node, `more than ${MAX_ALIASES} aliases`)
        : undefined;
    }
    const target = this.#resolve(node);
    if (target === undefined) return this.#refuse(node, 'unknown alias; its anchor must stand before it');
    return this.#valueOf(target, depth + 1);
  }

  #mapping(node: YAMLMap, depth: number): Record<string, unknown> {
    const result = Object.create(null) as Record<string, unknown>;
    const seen = new Map<string, Pair>();
    for (const pair of node.items) {
      const key = keyOf(pair);
      if (key === undefined || key === '__proto__') {
        this.#refuse(pair.key, 'expected a plain word as key');
        continue;
      }
      const first = seen.get(key);
      if (first !== undefined) {
        this.#refuse(pair.key, `key \`${key}\` is given twice; first in line ${this.#place(first.key).line}`);
        continue;
      }
      seen.set(key, pair);
      result[key] = this.#valueOf(pair.value, depth + 1);
    }
    return result;
  }

  #refuse(node: unknown, message: string): undefined {
    this.diagnostics.push(problemAt(this.#place(node), 'error', message));
  }

  #resolve(node: unknown): unknown {
    return isAlias(node) ? node.resolve(this.#document) : node;
  }

  #place(node: unknown): Place {
    const range = isNodeWithRange(node) ? node.range : undefined;
    return range ? this.#placeOf(range[0], range[1]) : this.#placeOf(0, 1);
  }
}

/** The offset where nesting passes the limit, within brackets or by indicators on one line; undefined if nowhere. */
function findDeepNesting(text: string): number | undefined {
  let offset = 0;
  let brackets = 0;
  let indicatorsInLine = 0;
  let isScalarNext = false;
  for (const token of new Lexer().lex(text)) {
    const isScalar = isScalarNext;
    isScalarNext = token === SCALAR_MARK;
    if (MARKS.has(token)) continue;
    if (!isScalar) {
      if (token === '[' || token === '{') brackets++;
      else if (token === ']' || token === '}') brackets--;
      else if (token === '\n' || token === '\r\n') indicatorsInLine = 0;
      else if (brackets === 0 && (token === '-' || token === '?' || token === ':')) indicatorsInLine++;
    }
    if (brackets > MAX_DEPTH || indicatorsInLine > MAX_DEPTH) return offset;
    offset += token.length;
  }
  return undefined;
}

/** What the lexer puts before a scalar that is not quoted. */
const SCALAR_MARK = '\u001f';
/** What it adds to the text: marks of a document, of a broken flow collection, of a scalar. */
const MARKS: ReadonlySet<string> = new Set(['\u0002', '\u0018', SCALAR_MARK]);

/** The parser's complaint in our words. */
function wordsOf({ code, message }: YAMLError): { message: string; hint?: string } {
  if (code === 'MULTIPLE_DOCS') return { message: 'a second document starts here; expected one' };
  if (code === 'TAB_AS_INDENT') return { message: 'a tab is used to indent', hint: 'write spaces' };
  if (code === 'TAG_RESOLVE_FAILED')
    return { message: 'tags are not used here', hint: 'remove the word with `!`' };
  const text = joinLines(message);
  return { message: `not YAML: ${text.charAt(0).toLowerCase()}${text.slice(1)}` };
}

/** Made once for a mapping: a file with many entries may have as many problems. */
const pairsByKey = new WeakMap<YAMLMap, Map<string | undefined, Pair>>();

function pairOf(map: YAMLMap, key: string | number): Pair | undefined {
  let pairs = pairsByKey.get(map);
  if (pairs === undefined) {
    pairs = new Map(map.items.toReversed().map((pair) => [keyOf(pair), pair]));
    pairsByKey.set(map, pairs);
  }
  return pairs.get(String(key));
}

function keyOf(pair: unknown): string | undefined {
  if (!isPair(pair) || !isScalar(pair.key)) return undefined;
  const { value } = pair.key;
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value)
    : undefined;
}

function isNodeWithRange(node: unknown): node is { range: [number, number, number] | null | undefined } {
  return typeof node === 'object' && node !== null && 'range' in node;
}
