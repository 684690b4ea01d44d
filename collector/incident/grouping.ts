/**
 * Which incident an anomaly belongs to. A story goes on where it was told last. One that is new opens an incident of its
 * own, unless it is part of something larger: its peer scans, or many like it begin at the same time.
 */
import type { Anomaly } from '../../common/event.ts';
import type { Breadth, Incident, Store } from '../store/store.ts';
import { manyStories, PEER_FAMILIES, SCAN_FAMILY, storyOf, type StoryOfPeer } from './story.ts';

export interface GroupingLimits {
  /** Past so many unresolved incidents, new stories join one incident for each family of kinds. */
  readonly maxUnresolved: number;
  /** Milliseconds after it was resolved in which an incident opens again for the same story. */
  readonly reopenWithinMs: number;
  /** More stories of one kind and service than these, begun within so many milliseconds, are one incident. */
  readonly burstSubjects: number;
  readonly burstWithinMs: number;
  /** A peer in so many stories at a time scans. */
  readonly scanStories: number;
}

/** Where an anomaly that no unresolved incident knows belongs. */
export type Placement =
  /** The incident tells this story, or told it until it was resolved. */
  | { readonly kind: 'same'; readonly incident: Incident }
  /** The incident becomes broader, absorbs others, and tells this story too. */
  | {
      readonly kind: 'absorbed';
      readonly incident: Incident;
      readonly breadth: Breadth;
      readonly others: readonly Incident[];
    }
  /** It opens one of its own; alone, or one of several like it. */
  | { readonly kind: 'new'; readonly story: StoryOfPeer; readonly isAlone: boolean }
  /** Too many are open: it opens, or joins, the incident for the rest. */
  | { readonly kind: 'many'; readonly incident: Incident | undefined; readonly many: StoryOfPeer };

/** More stories of a peer than these change nothing. */
const MAX_STORIES_OF_PEER = 100;

export function placeAnomaly(
  store: Store,
  anomaly: Anomaly,
  limits: GroupingLimits,
  nowMs: number,
): Placement {
  const story = storyOf(anomaly);
  const last = store.stories.incidentOf(story.fingerprint);
  if (last !== undefined && goesOn(last, limits, nowMs)) return { kind: 'same', incident: last };
  const ofPeer = PEER_FAMILIES.includes(story.family)
    ? store.stories.ofSubject(story.subject, PEER_FAMILIES, MAX_STORIES_OF_PEER)
    : [];
  const isScan = [story, ...ofPeer].some(({ family }) => family === SCAN_FAMILY);
  if (isScan || ofPeer.length + 1 >= limits.scanStories) {
    const incidents = ofPeer.map(({ incident }) => incident).filter(({ breadth }) => breadth !== 'kind');
    const absorbed = absorb(incidents, 'peer');
    if (absorbed !== undefined) return absorbed;
  }
  const alike = store.stories.alike(story, {
    kind: anomaly.kind,
    sinceMs: nowMs - limits.burstWithinMs,
    limit: limits.burstSubjects,
  });
  if (alike.length >= limits.burstSubjects) {
    const incidents = alike.map(({ incident }) => incident);
    // A peer that scans stays a story of its own, unless all of them do.
    const absorbed =
      absorb(
        incidents.filter(({ breadth }) => breadth !== 'peer'),
        'kind',
      ) ?? absorb(incidents, 'kind');
    if (absorbed !== undefined) return absorbed;
  }
  if (store.unresolvedCount() >= limits.maxUnresolved) {
    const many = manyStories(anomaly.kind);
    const known = store.stories.incidentOf(many.fingerprint);
    const incident = known !== undefined && goesOn(known, limits, nowMs) ? known : undefined;
    return { kind: 'many', incident, many };
  }
  return { kind: 'new', story, isAlone: alike.length === 0 && ofPeer.length === 0 };
}

function goesOn(
  { state, resolvedMs, mergedInto }: Incident,
  { reopenWithinMs }: GroupingLimits,
  nowMs: number,
): boolean {
  if (state !== 'resolved') return true;
  return mergedInto === null && resolvedMs !== null && nowMs - resolvedMs <= reopenWithinMs;
}

/** The one that is broad already, or else the oldest, absorbs the others. */
function absorb(incidents: readonly Incident[], breadth: Breadth): Placement | undefined {
  const byId = new Map(incidents.map((incident) => [incident.id, incident]));
  const [incident, ...others] = [...byId.values()].toSorted(
    (a, b) =>
      Number(b.breadth === breadth) - Number(a.breadth === breadth) ||
      a.id.localeCompare(b.id, 'en', { numeric: true }),
  );
  return incident === undefined ? undefined : { kind: 'absorbed', incident, breadth, others };
}
