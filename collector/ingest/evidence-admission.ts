/**
 * Which evidence is stored: packets are the largest thing that an agent sends, and nobody finds those of an anomaly that no
 * incident has. So evidence is taken once, for an anomaly that the same agent has reported before and that is part of an
 * incident. What is refused is acknowledged all the same: the agent would send it for ever.
 */
import type { EvidenceReport } from '../../common/event.ts';
import type { Store } from '../store/store.ts';

/** No incident has such an anomaly of that agent; or there is evidence of it already. */
export type EvidenceRefusal = 'unknown' | 'repeated';

/** Why the evidence is not to be stored; undefined where it is. */
export function refusalOf(
  { anomaly }: EvidenceReport,
  agent: string,
  store: Pick<Store, 'member' | 'hasEvidence'>,
): EvidenceRefusal | undefined {
  if (store.member(agent, anomaly) === undefined) return 'unknown';
  return store.hasEvidence(agent, anomaly) ? 'repeated' : undefined;
}
