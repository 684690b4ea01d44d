/**
 * The life of an incident: it opens, grows, absorbs others, is resolved, and opens again when its story does. Each change
 * is stored and told in the transaction of the report that it follows from.
 *
 * The numbers of an anomaly are totals of its story so far and are reported again as they grow, so an incident adds
 * up the latest numbers of each anomaly.
 */
import type { Anomaly } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import {
  MAX_LISTED_NODES,
  type Breadth,
  type Incident,
  type Member,
  type NewIncident,
  type Store,
} from '../store/store.ts';
import type { Announcer } from './announcer.ts';
import { assess, dataTier } from './assessment.ts';
import { isBefore } from './event-time.ts';
import { merged, messageOf, withMember, withoutMember } from './highlights.ts';
import { familyOf, graverKind, isOverflow, overflowOf, type StoryOfPeer } from './story.ts';
import type { IncidentEvent, Tally } from './tally.ts';
import { isWorse } from './severity.ts';
import { titleOf } from './title.ts';

/**
 * Members of an incident. One more takes the place of the least severe member of the node that has the most, or, where it
 * is less severe itself, only keeps the incident open.
 */
export const MAX_MEMBERS = 10_000;

/**
 * What one member adds to the sums of its incident at most, connections or bytes (100 TB): what an agent claims and takes
 * back leaves the others' part of a sum as it is, because no sum of `MAX_MEMBERS` of these is ever cut.
 */
const MAX_OF_MEMBER = 1e14;
/** Where sums end all the same, though members come and go: a power of two that fits into 64 bits with its sign. */
const MAX_SUM = 2 ** 62;

export interface LifecycleOptions {
  readonly store: Store;
  readonly announcer: Announcer;
  /** An incident without a report for this long is resolved; each time that it opens again, for twice as long. */
  readonly quietMs: number;
  /** At most for so long. */
  readonly maxQuietMs: number;
}

/** One report of an anomaly, as it is being taken. */
export interface Taken {
  readonly agent: string;
  readonly anomaly: Anomaly;
  /** Its correlation key. */
  readonly story: StoryOfPeer;
  readonly nowMs: number;
  readonly tally: Tally;
}

/** What an anomaly brings to the incident that it becomes part of. */
export type NewMember = Omit<Member, 'incidentId'>;

export class Lifecycle {
  readonly #options: LifecycleOptions;

  constructor(options: LifecycleOptions) {
    this.#options = options;
  }

  open(story: StoryOfPeer, isAlone: boolean, member: NewMember, { anomaly, nowMs, tally }: Taken): Incident {
    const { store, quietMs } = this.#options;
    const { fingerprint, peer, service } = story;
    const highlights = withMember([], member);
    const untitled = {
      fingerprint,
      kind: anomaly.kind,
      breadth: 'story' as const,
      peer,
      peerCount: peer === null ? 0 : 1,
      service,
      serviceCount: service === null ? 0 : 1,
      nodes: [anomaly.node],
      nodeCount: 1,
      highlights,
    };
    const incident = store.insertIncident({
      ...untitled,
      title: titleOf(untitled),
      state: 'open',
      severity: member.severity,
      anomalyCount: 1,
      count: grown(anomaly.count, member.baseCount),
      bytes: grown(anomaly.bytes, member.baseBytes),
      first: anomaly.first,
      last: anomaly.last,
      message: messageOf({ highlights }),
      tier: 0,
      openedMs: nowMs,
      isAlone,
      lastReportMs: nowMs,
      quietMs,
      ...UNTOUCHED,
    });
    store.stories.save(story, incident.id, nowMs);
    store.saveMember({ ...member, incidentId: incident.id });
    this.#happened('opened', incident, nowMs, tally);
    return incident;
  }

  /** An anomaly that the incident knows is reported again. A report that came late still shows that it goes on. */
  grow(incident: Incident, member: Member, taken: Taken): Incident {
    const { store } = this.#options;
    const { anomaly, story, nowMs, tally } = taken;
    if (isOvertaken(anomaly, member, nowMs)) {
      tally.stale++;
      return this.#update(incident, taken);
    }
    const { baseCount, baseBytes, latest } = member;
    // What an incident was before it was resolved does not make it as severe again.
    const now = memberNow(anomaly, incident.state === 'resolved' ? undefined : member);
    store.saveMember({ ...member, ...now });
    // What moved more than the like of it is no part of their burst, not even if that begins later.
    const isNewTier = dataTier(now.dataBytes) > dataTier(member.dataBytes);
    if (isNewTier && incident.breadth === 'story' && !isOverflow(incident)) {
      store.stories.save(story, incident.id, nowMs);
    }
    return this.#update(
      {
        ...incident,
        count: added(incident.count, grown(anomaly.count, baseCount) - grown(latest.count, baseCount)),
        bytes: added(incident.bytes, grown(anomaly.bytes, baseBytes) - grown(latest.bytes, baseBytes)),
      },
      taken,
      { ...member, ...now },
    );
  }

  /** An anomaly that the incident does not know becomes part of it. */
  join(before: Incident, member: NewMember, taken: Taken): Incident {
    const { store } = this.#options;
    const { anomaly, tally } = taken;
    const isFull = before.anomalyCount >= MAX_MEMBERS;
    const incident = isFull ? this.#makeRoom(before, member, tally) : before;
    if (incident === undefined) {
      tally.uncounted++;
      return this.#update(before, taken);
    }
    const isNewNode = store.memberTable.countOf(incident.id, anomaly.node) === 0;
    const isListed = isNewNode && incident.nodes.length < MAX_LISTED_NODES;
    store.saveMember({ ...member, incidentId: incident.id });
    return this.#update(
      {
        ...incident,
        nodes: isListed ? [...incident.nodes, anomaly.node] : incident.nodes,
        nodeCount: incident.nodeCount + (isNewNode ? 1 : 0),
        anomalyCount: incident.anomalyCount + 1,
        count: added(incident.count, grown(anomaly.count, member.baseCount)),
        bytes: added(incident.bytes, grown(anomaly.bytes, member.baseBytes)),
      },
      taken,
      member,
    );
  }

  /**
   * Takes a member out of an incident, because what it is now belongs elsewhere: somebody answered, or it moved more than
   * all others. Its numbers go with it. The incident may be empty then.
   */
  leave(before: Incident, member: Member): void {
    const { store } = this.#options;
    const { latest, baseCount, baseBytes } = member;
    store.memberTable.remove(member);
    const incident = this.#without(before, member);
    const left: Incident = {
      ...incident,
      anomalyCount: incident.anomalyCount - 1,
      count: added(incident.count, -grown(latest.count, baseCount)),
      bytes: added(incident.bytes, -grown(latest.bytes, baseBytes)),
    };
    store.updateIncident({ ...left, title: titleOf(left), message: messageOf(left) });
  }

  /** Ends an incident that another one replaces: nothing of it is left, or its members are the other one's now. */
  replace(incident: Incident, by: Incident, { nowMs, tally }: Taken): void {
    const { store } = this.#options;
    const ended: Incident = { ...incident, state: 'resolved', resolvedMs: nowMs, mergedInto: by.id };
    store.updateIncident(ended);
    store.stories.markMerged(incident.id, by.id);
    tally.events.push({ type: 'merged', incident: ended });
  }

  /** A burst without the peer of a member that left. */
  losePeer(burst: Incident): void {
    const left = { ...burst, peerCount: burst.peerCount - 1 };
    this.#options.store.updateIncident({ ...left, title: titleOf(left) });
  }

  /** Makes room for a more severe incident of the same agent: the anomalies of one go to the agent's overflow. */
  displace(displaced: Incident, taken: Taken): void {
    const { store, announcer } = this.#options;
    const { nowMs, tally } = taken;
    const key = overflowOf(familyOf(displaced), taken.story.agent);
    const known = store.stories.incidentOf(key.fingerprint);
    const isOpen = known !== undefined && known.state !== 'resolved';
    const target = isOpen ? known : this.#openOverflow(key, displaced, taken);
    store.memberTable.move(displaced.id, target.id);
    this.replace(displaced, target, taken);
    const sum = sumOf(target, displaced);
    const updated = { ...sum, peerCount: 0, serviceCount: 0, title: titleOf(sum), message: messageOf(sum) };
    store.updateIncident(updated);
    announcer.consider(updated, nowMs, tally.written);
  }

  /**
   * Makes others part of an incident, which becomes broader, and a story that is new to it. Returns it as it is then; to be
   * stored with what `join` makes of it.
   */
  absorb(
    incident: Incident,
    { breadth, tier, others }: { breadth: Breadth; tier: number; others: readonly Incident[] },
    { story, nowMs, tally }: Taken,
  ): Incident {
    const { store } = this.#options;
    let broad: Incident = { ...incident, breadth, tier };
    for (const other of others) {
      broad = sumOf(broad, other);
      const absorbed: Incident = { ...other, state: 'resolved', resolvedMs: nowMs, mergedInto: incident.id };
      store.updateIncident(absorbed);
      store.stories.move(other.id, incident.id);
      tally.events.push({ type: 'merged', incident: absorbed });
    }
    if (others.length > 0) {
      const { peerCount } = broad;
      broad = {
        ...broad,
        nodeCount: store.memberTable.nodeCount(incident.id),
        peerCount: breadth === 'kind' && peerCount > 0 ? store.stories.subjectCount(incident.id) : peerCount,
      };
    }
    return this.#adopt(broad, story, nowMs);
  }

  /** @param resolvedBy the person who said so; null where it ended by itself */
  resolve(incident: Incident, resolvedBy: string | null, nowMs: number, tally: Tally): Incident {
    const { store } = this.#options;
    const resolved: Incident = { ...incident, state: 'resolved', resolvedMs: nowMs, resolvedBy };
    store.updateIncident(resolved);
    store.stories.endAbsorbed(incident.id, nowMs);
    this.#happened('resolved', resolved, nowMs, tally);
    return resolved;
  }

  /** As `absorb`, of the story alone. An incident that is full takes its anomalies, but not the story. */
  #adopt(incident: Incident, story: StoryOfPeer, nowMs: number): Incident {
    if (incident.anomalyCount >= MAX_MEMBERS) return incident;
    const { stories } = this.#options.store;
    const { breadth, peerCount, serviceCount } = incident;
    const isNewPeer =
      breadth === 'kind' && story.peer !== null && !stories.hasSubject(incident.id, story.subject);
    stories.save(story, incident.id, nowMs);
    return {
      ...incident,
      peerCount: peerCount + (isNewPeer ? 1 : 0),
      serviceCount: serviceCount + (breadth === 'peer' && story.service !== null ? 1 : 0),
    };
  }

  /** An overflow without members, like the incident that is to be its first part. */
  #openOverflow(key: StoryOfPeer, like: Incident, { nowMs, tally }: Taken): Incident {
    const { store, quietMs } = this.#options;
    const { id: _id, ...rest } = like;
    const empty: NewIncident = {
      ...rest,
      fingerprint: key.fingerprint,
      breadth: 'story',
      state: 'open',
      peer: null,
      peerCount: 0,
      service: null,
      serviceCount: 0,
      nodes: [key.agent],
      nodeCount: 1,
      anomalyCount: 0,
      count: 0,
      bytes: 0,
      tier: 0,
      highlights: [],
      openedMs: nowMs,
      isAlone: false,
      lastReportMs: nowMs,
      quietMs,
      ...UNTOUCHED,
    };
    const overflow = store.insertIncident({ ...empty, title: titleOf(empty) });
    store.stories.save(key, overflow.id, nowMs);
    tally.events.push({ type: 'opened', incident: overflow });
    return overflow;
  }

  /**
   * A full incident without the member that makes room for a new one; undefined where the new one has to give way. The
   * incident goes on adding up what that member has reported.
   */
  #makeRoom(incident: Incident, member: NewMember, tally: Tally): Incident | undefined {
    const { memberTable } = this.#options.store;
    const least = memberTable.mostDispensable(incident.id);
    if (least === undefined) return undefined;
    const { member: victim, ofNode } = least;
    const isFewer = memberTable.countOf(incident.id, member.latest.node) + 1 < ofNode;
    const isWorseThan =
      isWorse(member.severity, victim.severity) ||
      (member.severity === victim.severity && member.dataBytes > victim.dataBytes);
    if (!isFewer && !isWorseThan) return undefined;
    memberTable.remove(victim);
    tally.dropped++;
    return { ...this.#without(incident, victim), anomalyCount: incident.anomalyCount - 1 };
  }

  /** An incident that names a member, or its node, no longer, after the member was removed. */
  #without(incident: Incident, member: Member): Incident {
    const { memberTable } = this.#options.store;
    const { node } = member.latest;
    const next = memberTable.mostSevereOf(incident.id, node);
    const isGone = next === undefined;
    const nodes = isGone ? incident.nodes.filter((each) => each !== node) : incident.nodes;
    return {
      ...incident,
      // An incident was seen by somebody, also when nothing of it is left.
      nodes: nodes.length === 0 ? incident.nodes : nodes,
      nodeCount: Math.max(1, incident.nodeCount - (isGone ? 1 : 0)),
      highlights: withoutMember(incident.highlights, member, next),
    };
  }

  /**
   * Stores an incident that had a report: what is common to all reports, late ones included.
   * @param member what the report made of a member; left out where it changed none
   */
  #update(before: Incident, { anomaly, nowMs, tally }: Taken, member?: NewMember): Incident {
    const isAgain = before.state === 'resolved';
    const incident = isAgain ? this.#reopened(before, assess(anomaly).severity, nowMs) : before;
    const highlights = member === undefined ? incident.highlights : withMember(incident.highlights, member);
    const isEscalated = member !== undefined && isWorse(member.severity, incident.severity);
    const kind = member === undefined ? incident.kind : graverKind(incident.kind, anomaly.kind);
    const now = { ...incident, kind, highlights };
    const updated: Incident = {
      ...now,
      ...(member === undefined ? {} : timesWith(incident, anomaly, nowMs)),
      title: titleOf(now),
      message: messageOf(now),
      severity: isEscalated ? member.severity : incident.severity,
      lastReportMs: nowMs,
    };
    this.#options.store.updateIncident(updated);
    if (isAgain) this.#happened('reopened', updated, nowMs, tally);
    else if (isEscalated) this.#happened('escalated', updated, nowMs, tally);
    else this.#options.announcer.consider(updated, nowMs, tally.written);
    return updated;
  }

  /** As severe as what comes now, and in its words: not as what there was before. */
  #reopened(incident: Incident, severity: Incident['severity'], nowMs: number): Incident {
    const { maxQuietMs } = this.#options;
    return {
      ...incident,
      state: 'open',
      severity,
      highlights: [],
      acknowledgedMs: null,
      resolvedMs: null,
      resolvedBy: null,
      reopenedMs: nowMs,
      reopenCount: incident.reopenCount + 1,
      quietMs: Math.max(incident.quietMs, Math.min(2 * incident.quietMs, maxQuietMs)),
    };
  }

  #happened(type: IncidentEvent['type'], incident: Incident, nowMs: number, tally: Tally): void {
    tally.events.push({ type, incident });
    this.#options.announcer.consider(incident, nowMs, tally.written);
  }
}

/** What nobody has done to an incident that is new. */
const UNTOUCHED = {
  reopenedMs: null,
  reopenCount: 0,
  acknowledgedMs: null,
  resolvedMs: null,
  resolvedBy: null,
  mergedInto: null,
} as const;

/** What a report makes of a member; `known` is what it was before, which it is at least. */
export function memberNow(
  anomaly: Anomaly,
  known?: Pick<Member, 'severity' | 'dataBytes'>,
): Pick<Member, 'latest' | 'severity' | 'dataBytes'> {
  const { severity, dataBytes } = assess(anomaly);
  return {
    latest: anomaly,
    severity: known !== undefined && isWorse(known.severity, severity) ? known.severity : severity,
    dataBytes: Math.max(dataBytes, known?.dataBytes ?? 0),
  };
}

/**
 * Whether a report says nothing that a later one of the same anomaly has not said: it came late. Where the later one is of a
 * time that is yet to come, the clock has been set back since, and its time proves nothing.
 */
export function isOvertaken(
  anomaly: Anomaly,
  { latest, severity }: Pick<Member, 'latest' | 'severity'>,
  nowMs: number,
): boolean {
  if (anomaly.ended && !latest.ended) return false;
  if (isWorse(assess(anomaly).severity, severity)) return false;
  const isSetBack = isToCome(latest.last, nowMs) && !isToCome(anomaly.last, nowMs);
  const isLater = isSetBack || isBefore(latest.last, anomaly.last);
  return !isLater && anomaly.count <= latest.count && anomaly.bytes <= latest.bytes;
}

/** The times of an incident with another report. A last time that is yet to come is of a wrong clock, and gives way. */
function timesWith(
  incident: Incident,
  { first, last }: Anomaly,
  nowMs: number,
): Pick<Incident, 'first' | 'last'> {
  return {
    first: isBefore(first, incident.first) ? first : incident.first,
    last: isToCome(incident.last, nowMs) || isBefore(incident.last, last) ? last : incident.last,
  };
}

function isToCome(time: string, nowMs: number): boolean {
  return isBefore(formatMilliseconds(nowMs), time);
}

/** An incident with the numbers of another one that it absorbs; nodes and peers are counted anew. */
function sumOf(incident: Incident, other: Incident): Incident {
  const isLater = isBefore(incident.last, other.last);
  return {
    ...incident,
    kind: graverKind(incident.kind, other.kind),
    severity: isWorse(other.severity, incident.severity) ? other.severity : incident.severity,
    serviceCount:
      incident.breadth === 'peer'
        ? incident.serviceCount + other.serviceCount
        : Math.max(incident.serviceCount, other.serviceCount),
    nodes: [...new Set([...incident.nodes, ...other.nodes])].slice(0, MAX_LISTED_NODES),
    anomalyCount: incident.anomalyCount + other.anomalyCount,
    count: added(incident.count, other.count),
    bytes: added(incident.bytes, other.bytes),
    first: isBefore(other.first, incident.first) ? other.first : incident.first,
    last: isLater ? other.last : incident.last,
    highlights: merged(incident.highlights, other.highlights),
    quietMs: Math.max(incident.quietMs, other.quietMs),
  };
}

/** What a total has grown by since an earlier incident; a total that fell has begun anew. */
function grown(total: number, base: number): number {
  return Math.min(total >= base ? total - base : total, MAX_OF_MEMBER);
}

function added(sum: number, more: number): number {
  return Math.min(Math.max(sum + more, 0), MAX_SUM);
}
