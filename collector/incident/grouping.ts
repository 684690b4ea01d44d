/**
 * Which incident an anomaly belongs to: the one of its correlation key, or one of its own, unless it is part of something
 * larger: its peer scans, or many like it begin at the same time. What nobody answered, and what moved far less, is not
 * like it (story.ts), so neither hides in the other.
 */
import type { Anomaly } from '../../common/event.ts';
import type { Breadth, Incident, Store } from '../store/store.ts';
import type { ToldStory } from '../store/story-table.ts';
import { assess, dataTier } from './assessment.ts';
import { isOverflow, isScanFamily, overflowOf, peerFamilies, type StoryOfPeer } from './story.ts';
import { isWorse } from './severity.ts';

export interface GroupingLimits {
  /** Unresolved incidents that one agent may open; beyond, its anomalies join one incident of it for each family. */
  readonly maxUnresolved: number;
  /** Milliseconds after it was resolved in which an incident opens again for the same story. */
  readonly reopenWithinMs: number;
  /**
   * More activities than these that are alike, begun within so many milliseconds, are one incident: of one agent, or of so
   * many agents.
   */
  readonly burstSubjects: number;
  readonly burstWithinMs: number;
  /** A peer in so many stories at a time scans. */
  readonly scanStories: number;
}

/** Where an anomaly belongs that is not a member of an unresolved incident. */
export type Placement =
  /** The incident has the same correlation key, or had it until it was resolved. */
  | { readonly kind: 'same'; readonly incident: Incident }
  /** The incident becomes broader, absorbs others, and takes this one too. */
  | {
      readonly kind: 'absorbed';
      readonly incident: Incident;
      readonly breadth: Breadth;
      readonly tier: number;
      readonly others: readonly Incident[];
    }
  /**
   * It opens an incident of its own; alone, or one of several like it. Where its agent has its share of incidents
   * already, `displaced`, which is less severe, goes to the agent's overflow.
   */
  | { readonly kind: 'new'; readonly isAlone: boolean; readonly displaced?: Incident }
  /** It goes to its agent's overflow, and opens that where `incident` is undefined. */
  | { readonly kind: 'overflow'; readonly incident: Incident | undefined };

/** More stories of a peer than these change nothing: it is one incident long before. */
const MAX_STORIES_OF_PEER = 100;

/**
 * One agent alone never decides what becomes of another's anomaly. Its burst is its own until as many agents as make a
 * burst report the like, and its share of incidents is its own: what is beyond goes to an incident that names it.
 *
 * @param isOwn whether the collector itself reports it, which has no share
 */
export function placeAnomaly(
  store: Store,
  { anomaly, story, isOwn }: { anomaly: Anomaly; story: StoryOfPeer; isOwn: boolean },
  limits: GroupingLimits,
  nowMs: number,
): Placement {
  const hasShare = isOwn || store.unresolvedOf(story.agent, limits.maxUnresolved) < limits.maxUnresolved;
  const last = store.stories.incidentOf(story.fingerprint);
  if (
    last !== undefined &&
    goesOn(last, limits, nowMs) &&
    (hasShare || last.state !== 'resolved') &&
    isOpenTo(last, story, store, limits)
  ) {
    return { kind: 'same', incident: last };
  }
  const families = peerFamilies(story.family);
  const ofPeer =
    families.length === 0 ? [] : store.stories.othersOfSubject(story, families, MAX_STORIES_OF_PEER);
  const isScan = [story, ...ofPeer].some(({ family }) => isScanFamily(family));
  if (isScan || ofPeer.length + 1 >= limits.scanStories) {
    const incidents = ofPeer.map(({ incident }) => incident).filter(({ breadth }) => breadth !== 'kind');
    const absorbed = absorb(incidents, 'peer', 0);
    if (absorbed !== undefined) return absorbed;
  }
  const since = { sinceMs: nowMs - limits.burstWithinMs, limit: limits.burstSubjects };
  const ofAgent = store.stories.alikeOfAgent(story, since);
  const ofOthers = store.stories.alikeOfOthers(story, since);
  const alike =
    ofAgent.length >= limits.burstSubjects
      ? ofAgent
      : Math.min(ofAgent.length, 1) + ofOthers.length >= limits.burstSubjects
        ? [...ofAgent, ...ofOthers]
        : [];
  const burst = absorbAlike(alike, story.tier);
  if (burst !== undefined) return burst;
  // Another agent alone does not make it one of many, and so does not delay its message.
  const isAlone =
    ofAgent.length === 0 && ofOthers.length <= 1 && ofPeer.every(({ agent }) => agent !== story.agent);
  if (hasShare) return { kind: 'new', isAlone };
  const displaced = store.leastUnresolvedOf(story.agent);
  if (displaced !== undefined && isMoreSevere(anomaly, displaced)) return { kind: 'new', isAlone, displaced };
  const overflow = store.stories.incidentOf(overflowOf(story.family, story.agent).fingerprint);
  const isOpen = overflow !== undefined && goesOn(overflow, limits, nowMs);
  return { kind: 'overflow', incident: isOpen ? overflow : undefined };
}

/** Whether an incident may hold an anomaly no longer: it moved more than what else is in it. */
export function hasOutgrown({ breadth, fingerprint, tier }: Incident, { tier: own }: StoryOfPeer): boolean {
  return (breadth === 'kind' || isOverflow({ fingerprint })) && own > tier;
}

/**
 * Whether an incident of the same key takes the anomaly. A burst of other agents is theirs: what this agent sees would be
 * one of many there, whatever they reported before.
 */
function isOpenTo(
  incident: Incident,
  story: StoryOfPeer,
  store: Store,
  { burstSubjects }: GroupingLimits,
): boolean {
  if (incident.breadth !== 'kind') return true;
  if (hasOutgrown(incident, story)) return false;
  return incident.nodeCount >= burstSubjects || store.memberTable.countOf(incident.id, story.agent) > 0;
}

function goesOn(
  { state, resolvedMs, mergedInto }: Incident,
  { reopenWithinMs }: GroupingLimits,
  nowMs: number,
): boolean {
  if (state !== 'resolved') return true;
  return mergedInto === null && resolvedMs !== null && nowMs - resolvedMs <= reopenWithinMs;
}

function isMoreSevere(anomaly: Anomaly, { severity, highlights }: Incident): boolean {
  const assessment = assess(anomaly);
  if (assessment.severity !== severity) return isWorse(assessment.severity, severity);
  return dataTier(assessment.dataBytes) > dataTier(highlights[0]?.dataBytes ?? 0);
}

/** A peer that scans stays an incident of its own, unless all of them do. */
function absorbAlike(alike: readonly ToldStory[], tier: number): Placement | undefined {
  const incidents = alike.map(({ incident }) => incident);
  const others = incidents.filter(({ breadth }) => breadth !== 'peer');
  return absorb(others, 'kind', tier) ?? absorb(incidents, 'kind', tier);
}

/** The one that is broad already, or else the oldest, absorbs the others. */
function absorb(incidents: readonly Incident[], breadth: Breadth, tier: number): Placement | undefined {
  const byId = new Map(incidents.map((incident) => [incident.id, incident]));
  const [incident, ...others] = [...byId.values()].toSorted(
    (a, b) =>
      Number(b.breadth === breadth) - Number(a.breadth === breadth) ||
      a.id.localeCompare(b.id, 'en', { numeric: true }),
  );
  return incident === undefined ? undefined : { kind: 'absorbed', incident, breadth, tier, others };
}
