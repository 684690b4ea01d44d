/**
 * Which incidents a silence, a mute time or a route is about. What is left out does not matter; all that is given must
 * match, each by one of its values.
 */
import { z } from 'zod';
import { parseFlowAddress, parsePrefix, prefixContains } from '../../common/address.ts';
import { ANOMALY_KINDS, SEVERITIES, type AnomalyKind } from '../../common/event.ts';
import { checkedText } from '../../common/text-field.ts';
import { cidr, labelKey, labelValue, name } from '../../rules/schema.ts';
import type { Incident } from '../store/store.ts';

const MAX_VALUES = 100;
const MAX_LABELS = 16;

/** An agent's name in which `*` stands for any text. */
export const nodePattern = checkedText(
  'the name of a node such as `w1` or `gpu-*`',
  /^[A-Za-z0-9._:*-]{1,128}$/,
);
export const labels = z
  .record(labelKey, labelValue)
  .refine((record) => Object.keys(record).length <= MAX_LABELS, {
    error: `expected at most ${MAX_LABELS} labels`,
  });

const fields = {
  kind: oneOrMany(z.enum(ANOMALY_KINDS)).optional().describe('Kinds of incidents.'),
  severity: oneOrMany(z.enum(SEVERITIES)).optional().describe('Severities: exactly these.'),
  peer: oneOrMany(cidr).optional().describe("Ranges of the peer's address."),
  service: oneOrMany(name).optional().describe('Services that the incident is about.'),
  node: oneOrMany(nodePattern).optional().describe('Names of nodes; `*` stands for any text.'),
};

const something = {
  error: 'expected one of `kind`, `severity`, `peer`, `service` or `node` at least',
};

/** As a person gives them to a silence. */
export const matchersSchema = z.strictObject(fields).refine(hasMatcher, something);
export type Matchers = z.output<typeof matchersSchema>;

/** As the settings have them: nodes may be named by their labels, too. */
export const labelledMatchersSchema = z
  .strictObject({
    ...fields,
    labels: labels.optional().describe('Labels of the nodes, all of them (see `nodeLabels`).'),
  })
  .refine(hasMatcher, { error: something.error.replace('or `node`', '`node` or `labels`') });
export type LabelledMatchers = z.output<typeof labelledMatchersSchema>;

/** What matchers look at. */
export type Subject = Pick<
  Incident,
  'kind' | 'breadth' | 'severity' | 'peer' | 'peerCount' | 'service' | 'serviceCount' | 'nodes' | 'nodeCount'
>;

export type Labels = Readonly<Record<string, string>>;

export interface Matching {
  /**
   * How much of an incident must be what is asked for. `all`: it is about nothing else, which nobody knows of one with more
   * peers, services or nodes than it names: what is told to nobody must not hide what else happened. `any`: also that.
   */
  readonly extent: 'all' | 'any';
  readonly labelsOf: (node: string) => Labels;
}

/** The matchers as a question; made once, because ranges and names are parsed. */
export function compileMatchers(
  { kind, severity, peer, service, node, labels: wanted }: LabelledMatchers,
  { extent, labelsOf }: Matching,
): (subject: Subject) => boolean {
  const isKind = oneOf(kind);
  const isService = oneOf(service);
  const isPeer = peer === undefined ? undefined : within(peer);
  const named = node?.map(compilePattern);
  const isNode = (name: string): boolean =>
    (named === undefined || named.some((matches) => matches(name))) &&
    (wanted === undefined || hasAll(labelsOf(name), wanted));
  const asksForNodes = named !== undefined || wanted !== undefined;
  /** Of `count` values that an incident has, it names these. */
  const covers = <Value>(
    isAsked: ((value: Value) => boolean) | undefined,
    values: readonly Value[],
    count: number,
  ): boolean => {
    if (isAsked === undefined) return true;
    if (extent === 'any') return values.some(isAsked);
    return values.length > 0 && values.length === count && values.every(isAsked);
  };
  return (subject) => {
    const kinds = kindsOf(subject);
    return (
      (severity === undefined || severity.includes(subject.severity)) &&
      covers(isKind, kinds, kinds.length) &&
      covers(isService, listOf(subject.service), subject.serviceCount) &&
      covers(isPeer, listOf(subject.peer), subject.peerCount) &&
      covers(asksForNodes ? isNode : undefined, subject.nodes, subject.nodeCount)
    );
  };
}

/** What an incident has become counts as much as what it began as: a peer that is in many stories scans. */
function kindsOf({ kind, breadth }: Subject): AnomalyKind[] {
  return breadth === 'peer' && kind !== 'scan' ? [kind, 'scan'] : [kind];
}

function oneOf<Value>(values: readonly Value[] | undefined): ((value: Value) => boolean) | undefined {
  return values === undefined ? undefined : (value) => values.includes(value);
}

function listOf<Value>(value: Value | null): Value[] {
  return value === null ? [] : [value];
}

/** Whether a name is one that the pattern stands for; in time linear in the name for each part of the pattern. */
export function compilePattern(pattern: string): (name: string) => boolean {
  const [first = '', ...others] = pattern.split('*');
  const last = others.pop();
  if (last === undefined) return (name) => name === first;
  return (name) => {
    if (name.length < first.length + last.length) return false;
    if (!name.startsWith(first) || !name.endsWith(last)) return false;
    const end = name.length - last.length;
    let position = first.length;
    for (const part of others) {
      const found = name.indexOf(part, position);
      if (found < 0 || found + part.length > end) return false;
      position = found + part.length;
    }
    return true;
  };
}

function within(ranges: readonly string[]): (address: string) => boolean {
  const prefixes = ranges.map(parsePrefix).filter((prefix) => prefix !== undefined);
  return (text) => {
    const address = parseFlowAddress(text);
    if (address === undefined) return false;
    const { w0, w1, w2, w3 } = address;
    return prefixes.some((prefix) => prefixContains(prefix, w0, w1, w2, w3));
  };
}

function hasAll(given: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => Object.hasOwn(given, key) && given[key] === value);
}

function hasMatcher(matchers: object): boolean {
  return Object.values(matchers).some((value) => value !== undefined);
}

/** A value, or a list of them; a list when parsed. */
function oneOrMany<Entry extends z.ZodType>(entry: Entry) {
  return z
    .union([entry, z.array(entry).min(1).max(MAX_VALUES)])
    .transform((value) => (Array.isArray(value) ? (value as z.output<Entry>[]) : [value as z.output<Entry>]));
}
