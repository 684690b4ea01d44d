/**
 * One connection that several anomalies are about: a program of a node that calls another cluster's object manager is a
 * foreign process and an unexpected destination for the agent there, and an unexpected peer for the agent at the other end.
 * They are one incident where that is certain, so that a person gets one message.
 *
 * It is certain for the first connection of each anomaly only, seen by the right agents at the same time: an anomaly that
 * goes on to further connections is an incident of its own again. And nobody hears less for it: the incident must be
 * as severe, be muted by nothing, and reach everybody whom the anomaly's own would reach.
 */
import type { Anomaly } from '../../common/event.ts';
import type { Incident, Member, Store } from '../store/store.ts';
import { isBefore } from './event-time.ts';
import { isOverflow, storyOf, familyOf, type StoryOfPeer } from './story.ts';

/** Reports of one connection come from both ends within this time. */
const WITHIN_MS = 10_000;
/** Between the first packets that two agents saw, by the collector's clock. */
const STARTS_WITHIN_MS = 2000;
/** The newest incidents that are looked at: in a flood of others there is no correlation. */
const MAX_INCIDENTS = 20;
/** A connection is an anomaly of three families at most. */
const MAX_MEMBERS = 3;

/** Where an agent stands that reports of the family: at the end that called, or at the one that was called. */
const ENDS: Readonly<Record<string, 'caller' | 'called'>> = {
  leak: 'caller',
  'foreign-process': 'caller',
  contact: 'called',
};

/** The incident about the connection of an anomaly that has no incident yet; undefined where that is not certain. */
export function incidentOfConnection(
  store: Store,
  { agent, anomaly, story }: { agent: string; anomaly: Anomaly; story: StoryOfPeer },
  nowMs: number,
): Incident | undefined {
  if (
    ENDS[story.family] === undefined ||
    anomaly.count !== 1 ||
    anomaly.flow?.plasmawatch.tunnel !== undefined
  )
    return undefined;
  const { incidents } = store.incidents({ state: 'unresolved', limit: MAX_INCIDENTS });
  return incidents.find((incident) => {
    const { openedMs, breadth, anomalyCount } = incident;
    const isNew = Math.abs(nowMs - openedMs) <= WITHIN_MS && incident.reopenedMs === null;
    if (!isNew || breadth !== 'story' || anomalyCount >= MAX_MEMBERS || isOverflow(incident)) return false;
    const { members } = store.memberTable.page(incident.id, { limit: MAX_MEMBERS });
    return members.length > 0 && members.every((member) => isOtherView(member, agent, anomaly, story.family));
  });
}

/** Whether an anomaly is in an incident for its first connection only, and has gone on to others. */
export function hasGoneOn(
  incident: Incident,
  { anomaly, story }: { anomaly: Anomaly; story: StoryOfPeer },
): boolean {
  const family = familyOf(incident);
  const isOfConnection =
    family !== story.family && ENDS[family] !== undefined && ENDS[story.family] !== undefined;
  return isOfConnection && incident.breadth === 'story' && !isOverflow(incident) && anomaly.count > 1;
}

/** Whether a member tells of the same connection, from another point of view. */
function isOtherView(member: Member, agent: string, anomaly: Anomaly, family: string): boolean {
  const other = member.latest;
  const otherFamily = storyOf(other).family;
  const [end, otherEnd] = [ENDS[family], ENDS[otherFamily]];
  if (family === otherFamily || otherEnd === undefined || other.count !== 1) return false;
  // The ends are on two nodes; what is said of one end comes from one agent.
  if ((end === otherEnd) !== (member.agent === agent)) return false;
  return isSameFlow(anomaly.flow, other.flow) && isSameStart(anomaly.first, other.first);
}

/** By its ends and not by the community id alone, which is a text that an agent writes. */
function isSameFlow(a: Anomaly['flow'], b: Anomaly['flow']): boolean {
  if (a === null || b === null || b.plasmawatch.tunnel !== undefined) return false;
  return (
    a.network.community_id === b.network.community_id &&
    a.source.ip === b.source.ip &&
    a.source.port === b.source.port &&
    a.destination.ip === b.destination.ip &&
    a.destination.port === b.destination.port
  );
}

function isSameStart(a: string, b: string): boolean {
  const [early, late] = isBefore(a, b) ? [a, b] : [b, a];
  return Date.parse(late) - Date.parse(early) <= STARTS_WITHIN_MS;
}
