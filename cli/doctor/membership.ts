/** Who belongs to the cluster as seen from here: which sources the rules name, which answer, and what they tell. */
import { createMembership, type MembershipDependencies } from '../../agent/membership/from-rules.ts';
import type { SourceState } from '../../agent/membership/membership.ts';
import type { Member } from '../../agent/membership/provider.ts';
import { ServiceLocator } from '../../agent/membership/services.ts';
import { formatAddress } from '../../common/address.ts';
import { createWarningLogger, type Logger } from '../../common/log.ts';
import type { Ruleset } from '../../rules/match.ts';
import { KEEP_MS } from '../../rules/membership.ts';
import { findDisagreements } from './disagreement.ts';
import { findPortDisagreements } from './port-sources.ts';
import { check, type Check, type Finding, type MemberFinding } from './check.ts';
import { examinePort } from './port.ts';

const HOUR_MS = 3_600_000;

/** What is missing while a source has never answered, and what helps, by the first word of its name. */
const WITHOUT: Readonly<Record<string, { readonly means: string; readonly fix: string }>> = {
  ray: {
    means: 'only this node and the head count as members',
    fix: "let this machine reach the head's dashboard (`ray start --dashboard-host`), or name the nodes in the rules as `cidr`, `file` or `dns`",
  },
  kubernetes: {
    means: 'no pod is in the group',
    fix: 'run where the rights of deploy/kubernetes/agent.yaml hold, or with a KUBECONFIG that may list pods',
  },
  dns: {
    means: 'nobody is in the group through this name',
    fix: 'correct the name; with a dot at its end it is taken as it is',
  },
  file: { means: 'nobody is in the group through this file', fix: 'create or mend the file' },
};

/**
 * Asks every source of the rules once, and tells what it knows.
 * @param isRayExpected whether a raylet runs on this machine (`ray.expected`); left out, nobody asks whether its port is confirmed
 */
export async function examineMembership(
  ruleset: Ruleset,
  sources: (logger: Logger) => MembershipDependencies,
  isRayExpected?: boolean,
): Promise<Finding[]> {
  const warnings: Check[] = [];
  const logger = createWarningLogger(({ msg, host, head, reason, problem }) => {
    const words = [msg, host ?? head, reason ?? problem].filter((word) => typeof word === 'string');
    warnings.push(check('membership', false, words.join(': ')));
  });
  const dependencies = sources(logger);
  const membership = createMembership(ruleset, dependencies);
  try {
    await membership.start();
    const states = membership.sources(dependencies.clock.monotonic());
    const locator = new ServiceLocator({ services: ruleset.services, membership });
    const ranges = locator
      .ports()
      .ranges()
      .map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));
    return [
      ...warnings,
      ...states.flatMap(describeState),
      ...findDisagreements(states),
      ...findPortDisagreements(states, ruleset.services),
      check('ports', ranges.length > 0, `watched: ${ranges.join(', ')}`),
      ...(isRayExpected === undefined
        ? []
        : [await examinePort({ ruleset, membership, locator, dependencies, isRayExpected })]),
    ];
  } finally {
    await membership.stop();
  }
}

function describeState(state: SourceState): Finding[] {
  const nodes = nodesOf(state.members);
  return [describeSource(state, nodes.length), ...nodes.map((member) => toFinding(state, member))];
}

/** Without what this node knows by itself of a node that the source lists as well, and whoever has no address yet. */
function nodesOf(members: readonly Member[]): Member[] {
  const listed = new Set(
    members
      .filter(({ isLocal }) => isLocal !== true)
      .flatMap(({ addresses }) => addresses.map(formatAddress)),
  );
  return members.filter(
    ({ isLocal, addresses }) =>
      addresses.length > 0 &&
      (isLocal !== true || !addresses.map(formatAddress).some((text) => listed.has(text))),
  );
}

function describeSource({ group, source, ranges, hasAnswered, ageMs }: SourceState, nodes: number): Check {
  const name = `${group}, ${source}`;
  const without = WITHOUT[source.split(' ')[0] ?? ''];
  if (!hasAnswered) {
    const means = without === undefined ? '' : `: ${without.means}`;
    return check('membership', false, `${name} does not tell all it should${means}`, without?.fix);
  }
  const told = [
    ...(nodes === 0 && ranges > 0 ? [] : [counted(nodes, 'member')]),
    ...(ranges === 0 ? [] : [counted(ranges, 'range')]),
  ].join(' and ');
  // Ranges stand in the rules and cannot fail.
  const ifSilent =
    without === undefined
      ? ''
      : `, ${Math.round(ageMs / 1000)} s old; silent, it keeps them for ${KEEP_MS / HOUR_MS} h, and who joins is a stranger`;
  return check('membership', true, `${name}: ${told}${ifSilent}`);
}

function toFinding({ group, source }: SourceState, { id, role, addresses, ports }: Member): MemberFinding {
  return {
    type: 'member',
    group,
    source,
    id,
    role: role ?? null,
    addresses: addresses.map(formatAddress),
    ports: Object.fromEntries(ports),
  };
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
