/**
 * What follows from a story that is told already: the node that is not heard of is also said to be blind, and a blind
 * node does not see who its members are.
 *
 * Only what one node alone says of itself is muted, and only below critical. A story about a peer never is: the stranger
 * may be the reason why the node is blind.
 */
import type { AnomalyKind } from '../../common/event.ts';
import type { Store } from '../store/store.ts';
import type { MutedBy } from './muting.ts';

/** Stories of a node that mute others of it, and in which words. */
const CAUSES: Readonly<Partial<Record<AnomalyKind, string>>> = { missing: 'is missing', blind: 'is blind' };

export function inhibition({ fleet }: Pick<Store, 'fleet'>): MutedBy {
  return ({ kind, severity, peer, nodes, nodeCount }) => {
    const [node] = nodes;
    if (node === undefined || nodeCount > 1 || peer !== null || severity === 'critical') return undefined;
    const cause = causesOf(kind).find((each) => fleet.isOngoing(each, node));
    return cause === undefined ? undefined : `node ${node} ${CAUSES[cause] ?? cause}`;
  };
}

/** What an agent that works would say of its own node. */
const SEEN_BY_THE_AGENT: ReadonlySet<AnomalyKind> = new Set<AnomalyKind>([
  'stale-membership',
  'unknown-membership',
  'unconfirmed-port',
]);

/** A missing node explains that it is blind, not the other way round; and neither explains what others do to it. */
function causesOf(kind: AnomalyKind): AnomalyKind[] {
  if (kind === 'blind') return ['missing'];
  return SEEN_BY_THE_AGENT.has(kind) ? ['missing', 'blind'] : [];
}
