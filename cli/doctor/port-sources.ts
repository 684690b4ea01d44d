/**
 * Where sources tell different ports of one service of one node: which said what, and which of them counts. The order is that
 * of the docs ("Where sources disagree"), and what agents do (agent/membership/services.ts).
 */
import type { SourceState } from '../../agent/membership/membership.ts';
import type { Member } from '../../agent/membership/provider.ts';
import { formatAddress } from '../../common/address.ts';
import { CLUSTER_GROUP, type ServicePorts } from '../../rules/schema.ts';
import { check, type Check } from './check.ts';

/** Nodes that are named; of more, their number is given. */
const MAX_NAMED = 20;

interface Word {
  readonly who: string;
  readonly ports: readonly number[];
  /** Whether it is a claim, that counts only where nothing else is known. */
  readonly isClaim: boolean;
}

/** A finding for each watched service of a node of which sources tell different ports; none where the rules name them. */
export function findPortDisagreements(
  states: readonly SourceState[],
  services: ReadonlyMap<string, ServicePorts>,
): Check[] {
  const found = [...services].flatMap(([service, ports]) =>
    ports === 'auto' ? [...wordsOf(states, service)].flatMap(describe(service)) : [],
  );
  const more = found.length - MAX_NAMED;
  return [
    ...found.slice(0, MAX_NAMED).map((detail) => check('ports', true, detail)),
    ...(more > 0
      ? [check('ports', true, `and ${more} more nodes of which sources tell different ports`)]
      : []),
  ];
}

/** By address: who tells which ports. */
function wordsOf(states: readonly SourceState[], service: string): Map<string, Word[]> {
  const words = new Map<string, Word[]>();
  for (const { group, source, members } of states) {
    if (group !== CLUSTER_GROUP) continue;
    for (const member of members) {
      const told = [
        { who: whoOf(member, source), ports: member.ports.get(service) ?? [], isClaim: false },
        { who: source, ports: member.claimedPorts?.get(service) ?? [], isClaim: true },
      ].filter(({ ports }) => ports.length > 0);
      for (const address of member.addresses.map(formatAddress))
        words.set(address, [...(words.get(address) ?? []), ...told]);
    }
  }
  return words;
}

function whoOf({ isLocal, role }: Member, source: string): string {
  if (isLocal !== true) return source;
  return role === 'head' ? 'the raylet of this node, of its head' : 'the raylet of this node';
}

function describe(service: string): (entry: readonly [string, readonly Word[]]) => string[] {
  return ([address, words]) => {
    const ports = new Set(words.map((word) => word.ports.toSorted((a, b) => a - b).join(' ')));
    if (ports.size < 2) return [];
    const hasKnown = words.some(({ isClaim }) => !isClaim);
    const parts = words.map(({ who, ports: numbers, isClaim }) => {
      const standing = isClaim && hasKnown ? 'a claim, watched where no other service is' : 'counts';
      return `${numbers.join(' ')} by ${who} (${standing})`;
    });
    return [`${service} of ${address}: ${parts.join(', ')}`];
  };
}
