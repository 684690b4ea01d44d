/** `docs/config.md`, made from the schemas that check the settings. */
import type { z } from 'zod';
import { agentConfigSchema } from '../agent/config.ts';
import { collectorConfigSchema } from '../collector/config.ts';
import { describeSchema } from '../common/config-file.ts';

/** A longer pattern says nothing to a reader. */
const MAX_PATTERN_LENGTH = 60;

/** A node of a JSON Schema, as far as it is shown. */
interface SchemaNode {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
  /** Of a text that stands for an amount: `duration`, `size`. */
  readonly quantity?: string;
  /** Its limits in the same form: `10s to 1d`. */
  readonly limits?: string;
  readonly oneOf?: readonly SchemaNode[];
  readonly anyOf?: readonly SchemaNode[];
  /** Where a schema holds itself: `#/$defs/name`. */
  readonly $ref?: string;
}

/** The whole page as Markdown. */
export function configPage(): string {
  return [
    '# Settings',
    '',
    'Both files are YAML; an unknown key is an error. Durations are written as `30s`, `10m`, `24h`, sizes as `256MiB`.',
    '`receivers[slack].url` is the `url` of an entry whose `type` is `slack`. This page is generated from the schemas: change',
    'those, then run `npm run generate`.',
    '',
    '## Agent: `/etc/plasmawatch/agent.yaml`',
    '',
    ...table(agentConfigSchema),
    '',
    '## Collector: `/etc/plasmawatch/collector.yaml`',
    '',
    ...table(collectorConfigSchema),
    '',
  ].join('\n');
}

function table(schema: z.ZodType): string[] {
  const root = describeSchema(schema, 'settings') as SchemaNode & {
    readonly $defs?: Readonly<Record<string, SchemaNode>>;
  };
  const unfolded = unfold(root, root.$defs ?? {}) as SchemaNode;
  return ['| key | values | default | meaning |', '| --- | --- | --- | --- |', ...rows(unfolded, '')];
}

/** The schema with what it refers to in its place, once: below itself a reference stays what it is. */
function unfold(node: unknown, definitions: Readonly<Record<string, SchemaNode>>): unknown {
  if (Array.isArray(node)) return node.map((item) => unfold(item, definitions));
  if (typeof node !== 'object' || node === null) return node;
  const name = '$ref' in node ? String(node.$ref).replace('#/$defs/', '') : '';
  const { [name]: definition, ...others } = definitions;
  if (definition !== undefined) return unfold(definition, others);
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key]) => key !== '$defs')
      .map(([key, value]) => [key, unfold(value, definitions)]),
  );
}

function rows(node: SchemaNode, prefix: string): string[] {
  return Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
    const name = `${prefix}${key}`;
    const isRequired = node.required?.includes(key) === true && child.default === undefined;
    const row = `| \`${name}\` | ${valuesOf(child)} | ${isRequired ? 'required' : defaultOf(child)} | ${child.description ?? ''} |`;
    return [row].concat(rows(child, `${name}.`), variantRows(child.items, name));
  });
}

/** The rows of a list's entries: what all variants have, then the rest of each under the type that chooses it. */
function variantRows(item: SchemaNode | undefined, prefix: string): string[] {
  const variants = item?.oneOf ?? item?.anyOf;
  if (variants === undefined) return item === undefined ? [] : rows(item, `${prefix}[].`);
  const [first = [], ...others] = variants.map((variant) => rows(variant, `${prefix}[].`));
  const common = first.filter((row) => others.every((other) => other.includes(row)));
  const special = variants.flatMap((variant) => {
    const type = variant.properties?.['type']?.const;
    const place = type === undefined ? '' : textOf(type);
    const own = rows(variant, `${prefix}[].`).filter((row) => !common.includes(row));
    return own.map((row) => row.replace(`${prefix}[].`, `${prefix}[${place}].`));
  });
  return [...common, ...new Set(special)];
}

function valuesOf(node: SchemaNode): string {
  const { type, enum: choices, const: only, items, anyOf } = node;
  const [one, many] = anyOf ?? [];
  if (one !== undefined && many?.type === 'array')
    return `${valuesOf(one)}; or a list${atMost(many.maxItems)}`;
  if (anyOf !== undefined) return anyOf.map((each) => valuesOf(each)).join('; or ');
  if (only !== undefined) return `\`${textOf(only)}\``;
  if (choices !== undefined) return choices.map((choice) => `\`${textOf(choice)}\``).join(', ');
  if (type === 'object') return 'section';
  if (type === 'array')
    return `${items?.type === 'string' ? 'list of texts' : 'list'}${atMost(node.maxItems)}`;
  if (node.quantity !== undefined) return joined(node.quantity, node.limits ?? '');
  if (type === 'integer' || type === 'number') {
    return joined(type === 'integer' ? 'whole number' : 'number', rangeOf(node));
  }
  if (type === 'string') return joined('text', formOf(node));
  return type === 'boolean' ? '`true`, `false`' : '';
}

/** How long a text may be, or which characters it may have, as a regular expression. */
function formOf({ maxLength, pattern = '' }: SchemaNode): string {
  const form = pattern.replaceAll(/^\^|\$$/g, '').replaceAll('|', String.raw`\|`);
  if (maxLength !== undefined) return `at most ${maxLength} characters`;
  return form.length > 1 && form.length <= MAX_PATTERN_LENGTH ? `\`${form}\`` : '';
}

/** `1024 to 4000000`, `above 0, at most 30`. */
function rangeOf({ minimum, maximum, exclusiveMinimum }: SchemaNode): string {
  const least = exclusiveMinimum === undefined ? minimum : undefined;
  if (least !== undefined && maximum !== undefined) return `${least} to ${maximum}`;
  return [
    exclusiveMinimum === undefined ? '' : `above ${exclusiveMinimum}`,
    least === undefined ? '' : `at least ${least}`,
    maximum === undefined ? '' : `at most ${maximum}`,
  ]
    .filter((text) => text !== '')
    .join(', ');
}

function atMost(count: number | undefined): string {
  return count === undefined ? '' : `, at most ${count}`;
}

function joined(what: string, limits: string): string {
  return limits === '' ? what : `${what}, ${limits}`;
}

function defaultOf({ type, default: value }: SchemaNode): string {
  const isTold = value !== undefined && type !== 'object' && !(Array.isArray(value) && value.length === 0);
  return isTold ? `\`${textOf(value)}\`` : '';
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
