/** Where sources that each list the nodes of a group do not tell of the same ones: one of them is wrong, or behind. */
import type { SourceState } from '../../agent/membership/membership.ts';
import { formatAddress } from '../../common/address.ts';
import { check, type Check } from './check.ts';

/** Sources that list everybody; ranges, hosts and files add to them. */
const LISTING = /^(ray|kubernetes|dns)\b/;
/** Addresses that are named; of more, their number is told. */
const MAX_NAMED = 20;

/** A finding for each group of which its sources tell differently; what this node knows by itself counts for none. */
export function findDisagreements(states: readonly SourceState[]): Check[] {
  const groups = new Set(states.map(({ group }) => group));
  return [...groups].flatMap((group) => {
    const listing = states.filter(
      (state) => state.group === group && state.hasAnswered && LISTING.test(state.source),
    );
    if (listing.length < 2) return [];
    const differences = differencesOf(listing);
    if (differences.length === 0) return [];
    const more = differences.length > MAX_NAMED ? `, and ${differences.length - MAX_NAMED} more` : '';
    const detail = `${group}: the sources disagree: ${differences.slice(0, MAX_NAMED).join(', ')}${more}`;
    return [
      check('membership', false, detail, 'ask again in a minute; what stays is known to one source alone'),
    ];
  });
}

function differencesOf(listing: readonly SourceState[]): string[] {
  const tellers = new Map<string, string[]>();
  for (const { source, members } of listing) {
    const addresses = members
      .filter(({ isLocal }) => isLocal !== true)
      .flatMap((member) => member.addresses.map(formatAddress));
    for (const address of new Set(addresses)) {
      tellers.set(address, [...(tellers.get(address) ?? []), source]);
    }
  }
  return [...tellers]
    .filter(([, sources]) => sources.length < listing.length)
    .map(([address, sources]) => `${address} by ${sources.join(' and ')} only`)
    .toSorted();
}
