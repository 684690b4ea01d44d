/** Rule files that were checked, made into a `Ruleset`. */
import { dirname, resolve } from 'node:path';
import { parsePrefix } from '../common/address.ts';
import type { TrustedTunnel } from '../common/tunnel.ts';
import type { Locate } from '../common/yaml-document.ts';
import { parseHours } from './hours.ts';
import { DEFAULT_EVIDENCE, Ruleset, type EvidenceLimits, type Rule } from './match.ts';

import {
  CLUSTER_GROUP,
  OBJECT_MANAGER,
  parseUntil,
  toPortRanges,
  type AllowEntry,
  type Approvals,
  type GroupSources,
  type RulesFile,
  type ServicePorts,
} from './schema.ts';

/** One rule file that has passed the schema. */
export interface RuleSource {
  readonly file: string;
  readonly content: RulesFile;
  readonly locate: Locate;
}

/** Compiles files that have passed `checkRules`; rules keep the order of the files and of the lines. */
export function compileRules(sources: readonly RuleSource[]): Ruleset {
  const rules = sources.flatMap(({ file, content, locate }) =>
    (content.allow ?? []).map((entry, index) => compileRule(entry, file, locate(['allow', index]).line)),
  );
  const services = compileServices(sources, rules);
  return new Ruleset({
    rules,
    services,
    groups: compileGroups(sources),
    approvals: compileApprovals(sources),
    evidence: compileEvidence(sources),
    tunnels: compileTunnels(sources),
  });
}

/** A name or a list of names as a list. */
export function asList(names: string | readonly string[]): readonly string[] {
  return typeof names === 'string' ? [names] : names;
}

function compileRule(entry: AllowEntry, file: string, line: number): Rule {
  return {
    name: entry.name,
    from: asList(entry.from),
    to: asList(entry.to),
    hours: entry.hours === undefined ? undefined : hoursOf(entry.hours),
    hoursText: entry.hours,
    untilMs: entry.until === undefined ? Infinity : (parseUntil(entry.until) ?? 0),
    mode: entry.mode ?? 'alert',
    owner: entry.owner,
    reason: entry.reason,
    file,
    line,
  };
}

function hoursOf(text: string): Rule['hours'] {
  const parsed = parseHours(text);
  if (parsed.problem !== undefined) throw new Error(`unchecked hours: ${parsed.problem}`);
  return parsed.hours;
}

function compileServices(sources: readonly RuleSource[], rules: readonly Rule[]): Map<string, ServicePorts> {
  const services = new Map<string, ServicePorts>([[OBJECT_MANAGER, 'auto']]);
  for (const { content } of sources) {
    for (const [name, ports] of Object.entries(content.services ?? {})) {
      services.set(name, ports === 'auto' ? 'auto' : toPortRanges(ports));
    }
  }
  for (const name of rules.flatMap(({ to }) => to)) {
    if (!services.has(name)) services.set(name, 'auto');
  }
  return services;
}

function compileApprovals(sources: readonly RuleSource[]): Approvals | undefined {
  if (!sources.some(({ content }) => content.members === 'approved')) return undefined;
  return sources.find(({ content }) => content.approved !== undefined)?.content.approved ?? {};
}

function compileEvidence(sources: readonly RuleSource[]): EvidenceLimits {
  const evidence = sources.find(({ content }) => content.evidence !== undefined)?.content.evidence ?? {};
  const { packets = DEFAULT_EVIDENCE.packets, payload = DEFAULT_EVIDENCE.payloadBytes } = evidence;
  return { packets, payloadBytes: payload };
}

function compileTunnels(sources: readonly RuleSource[]): TrustedTunnel[] {
  return sources
    .flatMap(({ content }) => content.tunnels ?? [])
    .map(({ type, id, ends }) => ({
      type,
      id,
      ends: ends.map(parsePrefix).filter((prefix) => prefix !== undefined),
    }));
}

function compileGroups(sources: readonly RuleSource[]): Map<string, GroupSources> {
  const groups = new Map<string, GroupSources>();
  for (const { file, content } of sources) {
    for (const [name, group] of Object.entries(content.groups ?? {})) {
      const members = group.file;
      groups.set(name, members === undefined ? group : { ...group, file: resolve(dirname(file), members) });
    }
  }
  if (!groups.has(CLUSTER_GROUP)) groups.set(CLUSTER_GROUP, { ray: 'auto' });
  return groups;
}
