/**
 * Why a connection would be allowed or not, in words: the same verdict as on the live path, with what led to it and
 * what would have to change.
 */
import { formatAddress, type Address } from '../common/address.ts';
import type { Verdict } from '../common/event.ts';
import { listWords } from '../common/schema-message.ts';
import type { MembershipView, Rule, Ruleset } from './match.ts';
import { CLUSTER_GROUP } from './schema.ts';

/** A connection that nobody has to open. */
export interface Question {
  readonly source: Address;
  readonly destination: Address;
  /** A port, or the name of a service. */
  readonly target: number | string;
  /** When, ms since the epoch. */
  readonly timeMs: number;
}

interface ExplainDependencies {
  readonly ruleset: Ruleset;
  readonly membership: MembershipView;
  /** The services that a member of the cluster offers at a port; empty for everybody else. */
  readonly servicesAt: (address: Address, port: number, timeMs: number) => readonly string[];
}

export interface Explanation {
  readonly verdict: Verdict;
  /** The rule of the verdict. */
  readonly rule: Rule | undefined;
  /** Groups that the source is in. */
  readonly groups: readonly string[];
  readonly isToMember: boolean;
  /** Whether a node talks to itself, which no rule has to allow. */
  readonly isWithinNode: boolean;
  /** Services of the destination endpoint. */
  readonly services: readonly string[];
  /** Which of the two a source lists as a member that the rules do not approve of. */
  readonly unapproved: readonly Address[];
  /** What would be needed, a sentence each; empty when the connection is allowed. */
  readonly needed: readonly string[];
}

/** Judges a connection and says why. */
export function explain(question: Question, dependencies: ExplainDependencies): Explanation {
  const { source, destination, target, timeMs } = question;
  const { ruleset, membership, servicesAt } = dependencies;
  const isToMember = membership.inGroup(CLUSTER_GROUP, destination, timeMs);
  const atPort = typeof target === 'number' ? servicesAt(destination, target, timeMs) : [target];
  const services = isToMember ? atPort : [];
  const verdict = ruleset.judge({ source, destination, services, timeMs }, membership);
  const rule = ruleset.rules.find(({ name }) => name === verdict.rule);
  const groups = [...ruleset.groups.keys()].filter((group) => membership.inGroup(group, source, timeMs));
  const unapproved = [source, destination].filter((address) => membership.isUnapproved(address, timeMs));
  const isWithinNode = membership.isOneNode?.(source, destination, timeMs) === true;
  const found = { verdict, rule, groups, isToMember, isWithinNode, services, unapproved };
  return { ...found, needed: neededFor(found, question, ruleset) };
}

function neededFor(
  { verdict, rule, groups, isToMember, services, unapproved }: Omit<Explanation, 'needed'>,
  { source, destination, target }: Question,
  { rules }: Ruleset,
): string[] {
  if (verdict.allowed) return [];
  if (rule !== undefined && verdict.reason === 'expired') {
    return [`rule \`${rule.name}\` ended ${new Date(rule.untilMs).toISOString()}: move its \`until\``];
  }
  if (rule !== undefined && verdict.reason === 'outside-hours') {
    return [`rule \`${rule.name}\` holds ${rule.hoursText ?? ''} only: wait, or widen its \`hours\``];
  }
  if (verdict.reason === 'not-approved') return unapproved.map(neededApproval);
  if (!isToMember) {
    return [
      `${formatAddress(destination)} is no member of \`${CLUSTER_GROUP}\` as seen from here, and rules allow connections ` +
        `to members only: if it is a node of yours, add it to that group`,
    ];
  }
  if (services.length === 0) {
    return [`no watched service is at port ${target}: name it under \`services\`, and a rule \`to\` it`];
  }
  return neededRule(formatAddress(source), groups, services, rules);
}

/** The line of the rules that makes an address that a source lists a member of the cluster. */
function neededApproval(address: Address): string {
  const text = formatAddress(address);
  return `${text} is listed as a member, and \`members: approved\` asks for more: write \`approved: { hosts: [${text}] }\``;
}

/** A member and a service, and no rule: either the source joins a group that is let in, or a rule is added. */
function neededRule(
  source: string,
  groups: readonly string[],
  services: readonly string[],
  rules: readonly Rule[],
): string[] {
  const words = listWords(services.map((service) => `\`${service}\``));
  const admitted = rules.filter(({ to }) => services.some((service) => to.includes(service)));
  const joins = admitted.map(
    ({ name, from }) =>
      `${source} in ${listWords(from.map((group) => `\`${group}\``))}, for rule \`${name}\``,
  );
  const others = groups.filter((group) => !admitted.some(({ from }) => from.includes(group)));
  const subject = others.length === 0 ? `a group with ${source}` : listWords(others.map((g) => `\`${g}\``));
  return [...joins, `a rule from ${subject} to ${words}`];
}
