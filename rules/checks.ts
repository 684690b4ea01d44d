/**
 * What needs more than one place of the rules to judge: names that must exist, names that are given twice, rules that
 * never match, ranges that hold almost everybody, and what this version does not act on.
 */
import type { Diagnostic } from '../common/diagnostic.ts';
import { suggestWord } from '../common/schema-message.ts';
import { problemAt, type Place, type YamlPath } from '../common/yaml-document.ts';
import { asList, type RuleSource } from './compile.ts';
import { CLUSTER_GROUP, KNOWN_SERVICES, parseUntil, type AllowEntry, type RulesFile } from './schema.ts';
import { parseHours } from './hours.ts';
import { findWide, type WideRanges } from './wide.ts';

/** Checks files that have passed the schema, together: they are one allowlist. */
export function checkRules(sources: readonly RuleSource[], nowMs: number): Diagnostic[] {
  const groups = collectNames(sources, 'groups');
  const services = collectNames(sources, 'services');
  const rules = collectRules(sources);
  const knownGroups = [...new Set([CLUSTER_GROUP, ...groups.places.keys()])];
  const knownServices = [...new Set([...KNOWN_SERVICES.keys(), ...services.places.keys()])];
  return [
    ...groups.repeated,
    ...services.repeated,
    ...repeatedRules(rules),
    ...ONCE.flatMap((key) => repeatedKey(sources, key)),
    ...approvalProblems(sources),
    ...sources.flatMap((source) => [
      ...unknownNames(source, 'group', groupReferences(source.content), knownGroups),
      ...unknownNames(source, 'service', serviceReferences(source.content), knownServices),
      ...servicesWithoutPorts(source),
      ...pastRules(source, nowMs),
      ...doubtfulZones(source),
      ...notSupported(source),
      ...wideRanges(source),
      ...wideTunnels(source),
    ]),
    ...widelyOpen(sources),
    ...coveredRules(rules),
  ];
}

/** What has a place in the format and does nothing yet: a rule that is ignored is a hole. An entry goes when its feature comes. */
const NOT_SUPPORTED: readonly { feature: string; find: (content: RulesFile) => YamlPath[] }[] = [
  { feature: '`mode: learn`', find: (content) => rulesWithMode(content, 'learn') },
  { feature: '`mode: audit`', find: (content) => rulesWithMode(content, 'audit') },
  { feature: '`limits`', find: (content) => (content.limits === undefined ? [] : [['limits']]) },
  { feature: '`require`', find: (content) => (content.require === undefined ? [] : [['require']]) },
];

function notSupported({ content, locate }: RuleSource): Diagnostic[] {
  return NOT_SUPPORTED.flatMap(({ feature, find }) =>
    find(content).map((path) =>
      problemAt(locate(path, 'key'), 'error', `${feature}: not supported yet`, 'remove it'),
    ),
  );
}

/** Who would count as a member of the cluster, or be approved as one, by ranges that hold almost everybody. */
function wideRanges({ content, locate }: RuleSource): Diagnostic[] {
  const { groups = {}, approved = {} } = content;
  const holders = [
    ...Object.entries(groups).map(([name, group]) => ({ group, path: ['groups', name] })),
    { group: approved, path: ['approved'] },
  ];
  return holders.flatMap(({ group: { cidr = [], wide }, path }) => {
    const isMembership = path.at(-1) === CLUSTER_GROUP || path.length === 1;
    const found = findWide(cidr);
    if (found === undefined) {
      if (wide === undefined) return [];
      const place = locate([...path, 'wide'], 'key');
      return [problemAt(place, 'warning', '`wide` confirms nothing: the ranges are narrow', 'remove it')];
    }
    if (wide === true) return [];
    const index = cidr.findIndex((range) => findWide([range]) !== undefined);
    const place = index < 0 ? locate([...path, 'cidr'], 'key') : locate([...path, 'cidr', index]);
    return [
      problemAt(
        place,
        isMembership ? 'error' : 'warning',
        `\`cidr\`: the ranges cover ${describeWide(found)}`,
        'write the networks that are meant, or confirm with `wide: true` beside `cidr`',
      ),
    ];
  });
}

/** A tunnel with ends anywhere is one that anybody may forge: its inside would count as plain traffic. */
function wideTunnels({ content, locate }: RuleSource): Diagnostic[] {
  return (content.tunnels ?? []).flatMap(({ ends }, index) => {
    const found = findWide(ends);
    if (found === undefined) return [];
    return [
      problemAt(
        locate(['tunnels', index, 'ends'], 'key'),
        'error',
        `\`ends\`: the ranges cover ${describeWide(found)}`,
        'write the addresses of the hosts that open and end the tunnel',
      ),
    ];
  });
}

/** Rules that hold at other hours than most people would say who read them. */
function doubtfulZones({ content, locate }: RuleSource): Diagnostic[] {
  return (content.allow ?? []).flatMap(({ hours }, index) => {
    if (hours === undefined) return [];
    const parsed = parseHours(hours);
    if (parsed.problem !== undefined || parsed.doubt === undefined) return [];
    return [problemAt(locate(['allow', index, 'hours']), 'warning', parsed.doubt)];
  });
}

function describeWide({ family, bits }: WideRanges): string {
  return bits === 0 ? `all of ${family}` : `as much of ${family} as a /${bits}`;
}

/** Rules whose groups are narrow each, and wide together. */
function widelyOpen(sources: readonly RuleSource[]): Diagnostic[] {
  const ranges = new Map<string, readonly string[]>();
  for (const { content } of sources) {
    for (const [name, { cidr = [], wide }] of Object.entries(content.groups ?? {})) {
      if (wide === undefined && findWide(cidr) === undefined) ranges.set(name, cidr);
    }
  }
  if (findWide([...ranges.values()].flat()) === undefined) return [];
  return sources.flatMap(({ content, locate }) =>
    (content.allow ?? []).flatMap(({ from }, index) => {
      if (typeof from === 'string') return [];
      const found = findWide(from.flatMap((name) => ranges.get(name) ?? []));
      if (found === undefined) return [];
      return [
        problemAt(
          locate(['allow', index, 'from'], 'key'),
          'warning',
          `\`from\`: the groups together cover ${describeWide(found)}`,
          'write the networks that are meant, or confirm each group with `wide: true`',
        ),
      ];
    }),
  );
}

function groupsWith(content: RulesFile, source: 'ray'): YamlPath[] {
  return Object.entries(content.groups ?? {})
    .filter(([, group]) => group[source] !== undefined)
    .map(([name]) => ['groups', name, source]);
}

function rulesWithMode(content: RulesFile, mode: string): YamlPath[] {
  return (content.allow ?? []).flatMap((rule, index) =>
    rule.mode === mode ? [['allow', index, 'mode']] : [],
  );
}

/** Unknown names of a file that are told: each is compared with all that are known, which may be many thousands. */
const MAX_UNKNOWN = 100;

/** A name in use, and where. */
interface Reference {
  readonly name: string;
  readonly path: YamlPath;
}

function groupReferences({ allow = [], limits = [] }: RulesFile): Reference[] {
  return [
    ...allow.flatMap((rule, index) => references(rule.from, ['allow', index, 'from'])),
    ...limits.flatMap((limit, index) => references(limit.from, ['limits', index, 'from'])),
  ];
}

function serviceReferences({ allow = [], limits = [], require = [] }: RulesFile): Reference[] {
  return [
    ...allow.flatMap((rule, index) => references(rule.to, ['allow', index, 'to'])),
    ...limits.flatMap((limit, index) => references(limit.to ?? [], ['limits', index, 'to'])),
    ...require.flatMap((demand, index) => references(demand.on, ['require', index, 'on'])),
  ];
}

function references(names: string | readonly string[], path: YamlPath): Reference[] {
  if (typeof names === 'string') return [{ name: names, path }];
  return names.map((name, index) => ({ name, path: [...path, index] }));
}

function unknownNames(
  { locate }: RuleSource,
  kind: 'group' | 'service',
  uses: readonly Reference[],
  known: readonly string[],
): Diagnostic[] {
  const isKnown = new Set(known);
  return uses
    .filter(({ name }) => !isKnown.has(name))
    .slice(0, MAX_UNKNOWN)
    .map(({ name, path }) => {
      const key = path.findLast((step) => typeof step === 'string') ?? kind;
      const message = `\`${key}\`: unknown ${kind} \`${name}\`${suggestWord(name, known)}`;
      const hint = `define it under \`${kind}s\``;
      return problemAt(locate(path), 'error', message, hint);
    });
}

/** Where each group or service is defined, and those that two files define. */
function collectNames(
  sources: readonly RuleSource[],
  section: 'groups' | 'services',
): { places: Map<string, Place>; repeated: Diagnostic[] } {
  const places = new Map<string, Place>();
  const repeated: Diagnostic[] = [];
  for (const { content, locate } of sources) {
    for (const name of Object.keys(content[section] ?? {})) {
      const place = locate([section, name], 'key');
      const first = places.get(name);
      if (first === undefined) places.set(name, place);
      else repeated.push(twice(`${section.slice(0, -1)} \`${name}\``, place, first));
    }
  }
  return { places, repeated };
}

interface PlacedRule {
  readonly entry: AllowEntry;
  /** Of its name. */
  readonly place: Place;
}

function collectRules(sources: readonly RuleSource[]): PlacedRule[] {
  return sources.flatMap(({ content, locate }) =>
    (content.allow ?? []).map((entry, index) => ({ entry, place: locate(['allow', index, 'name']) })),
  );
}

function repeatedRules(rules: readonly PlacedRule[]): Diagnostic[] {
  const firsts = new Map<string, Place>();
  const repeated: Diagnostic[] = [];
  for (const { entry, place } of rules) {
    const first = firsts.get(entry.name);
    if (first === undefined) firsts.set(entry.name, place);
    else repeated.push(twice(`a rule named \`${entry.name}\``, place, first));
  }
  return repeated;
}

/** What holds for the whole allowlist can stand in one file only. */
const ONCE = ['members', 'approved', 'evidence'] as const;

function repeatedKey(sources: readonly RuleSource[], key: (typeof ONCE)[number]): Diagnostic[] {
  const [first, ...others] = sources
    .filter(({ content }) => content[key] !== undefined)
    .map(({ locate }) => locate([key], 'key'));
  return first === undefined ? [] : others.map((place) => twice(`\`${key}\``, place, first));
}

/** Approvals that cannot do what their writer expects. */
function approvalProblems(sources: readonly RuleSource[]): Diagnostic[] {
  const isAsked = sources.some(({ content }) => content.members === 'approved');
  const cluster = sources.find(({ content }) => content.groups?.[CLUSTER_GROUP] !== undefined)?.content;
  const hasPods = cluster?.groups?.[CLUSTER_GROUP]?.kubernetes !== undefined;
  return sources.flatMap(({ content, locate }) => [
    ...(content.approved === undefined || isAsked
      ? []
      : [
          problemAt(
            locate(['approved'], 'key'),
            'error',
            '`approved` decides nothing: whoever a source lists is a member',
            'write `members: approved`, or remove it',
          ),
        ]),
    ...(content.approved?.nodeGroups === undefined || hasPods
      ? []
      : [
          problemAt(
            locate(['approved', 'nodeGroups'], 'key'),
            'warning',
            `\`nodeGroups\` approve nobody: only Kubernetes tells in which group a node was started`,
            `add \`kubernetes\` to the group \`${CLUSTER_GROUP}\``,
          ),
        ]),
    ...(isAsked ? groupsWith(content, 'ray').filter(isOtherGroup) : []).map((path) =>
      problemAt(
        locate(path, 'key'),
        'error',
        `\`ray\`: with \`members: approved\` the members stand in the group \`${CLUSTER_GROUP}\` alone`,
        `name \`${CLUSTER_GROUP}\` in the rules instead of \`${path[1]}\``,
      ),
    ),
  ]);
}

function isOtherGroup([, name]: YamlPath): boolean {
  return name !== CLUSTER_GROUP;
}

function twice(what: string, place: Place, first: Place): Diagnostic {
  return problemAt(place, 'error', `${what} is defined twice; first in ${whereFrom(place, first)}`);
}

/** How a message at one place names another. */
function whereFrom(here: Place, { file, line, column }: Place): string {
  return file === here.file ? `line ${line}` : `${file}:${line}:${column}`;
}

function servicesWithoutPorts({ content, locate }: RuleSource): Diagnostic[] {
  return Object.entries(content.services ?? {})
    .filter(([name, ports]) => ports === 'auto' && !KNOWN_SERVICES.has(name))
    .map(([name]) => {
      const suggestion = suggestWord(name, [...KNOWN_SERVICES.keys()]);
      const message = `\`${name}\`: ports of a service that is not Ray's cannot be found by themselves${suggestion}`;
      return problemAt(locate(['services', name]), 'error', message, 'write its port instead of `auto`');
    });
}

function pastRules({ content, locate }: RuleSource, nowMs: number): Diagnostic[] {
  return (content.allow ?? []).flatMap(({ name, until }, index) => {
    if (until === undefined || (parseUntil(until) ?? Infinity) > nowMs) return [];
    const message = `\`until\`: rule \`${name}\` has expired and allows nothing any more`;
    return [
      problemAt(locate(['allow', index, 'until']), 'warning', message, 'remove the rule or move its end'),
    ];
  });
}

/** Rules that never decide, because an earlier one that always holds matches everything they do. */
function coveredRules(rules: readonly PlacedRule[]): Diagnostic[] {
  // The rules that cover a pair of group and service for ever, by that pair: one look for each pair of a later rule.
  const always = new Map<string, PlacedRule>();
  const covered: Diagnostic[] = [];
  for (const rule of rules) {
    const pairs = asList(rule.entry.from).flatMap((from) =>
      asList(rule.entry.to).map((to) => `${from} ${to}`),
    );
    const covering = pairs.map((pair) => always.get(pair));
    const last = covering.at(-1);
    if (last !== undefined && covering.every((earlier) => earlier !== undefined)) {
      const message = `rule \`${rule.entry.name}\` never decides: \`${last.entry.name}\` in ${whereFrom(rule.place, last.place)} already allows all of it`;
      covered.push(problemAt(rule.place, 'warning', message, 'remove it, or put it first'));
    }
    const isAlways = rule.entry.hours === undefined && rule.entry.until === undefined;
    for (const pair of isAlways ? pairs : []) if (!always.has(pair)) always.set(pair, rule);
  }
  return covered;
}
