/**
 * The life of an incident: it opens, grows, absorbs others, is resolved, and opens again when its story does. Each change
 * is stored and told in the transaction of the report that it follows from.
 *
 * The numbers of an anomaly are totals of its story so far and are reported again as they grow, so an incident adds
 * up the latest numbers of each anomaly.
 */
import type { Anomaly } from '../../common/event.ts';
import { MAX_LISTED_NODES, type Breadth, type Incident, type Member, type Store } from '../store/store.ts';
import type { Announcer } from './announcer.ts';
import { isBefore } from './event-time.ts';
import { titleOf, type StoryOfPeer } from './story.ts';
import type { IncidentEvent, Tally } from './tally.ts';
import { isWorse } from './timing.ts';

/** An incident adds up at most so many anomalies; more only keep it open. */
export const MAX_MEMBERS = 10_000;

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
  readonly anomaly: Anomaly;
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
    };
    const incident = store.insertIncident({
      ...untitled,
      title: titleOf(untitled),
      state: 'open',
      severity: anomaly.severity,
      anomalyCount: 1,
      count: grown(anomaly.count, member.baseCount),
      bytes: grown(anomaly.bytes, member.baseBytes),
      first: anomaly.first,
      last: anomaly.last,
      message: anomaly.message,
      openedMs: nowMs,
      isAlone,
      reopenedMs: null,
      reopenCount: 0,
      lastReportMs: nowMs,
      quietMs,
      acknowledgedMs: null,
      resolvedMs: null,
      resolvedBy: null,
      mergedInto: null,
    });
    store.stories.save(story, incident.id, nowMs);
    store.saveMember({ ...member, incidentId: incident.id });
    this.#happened('opened', incident, nowMs, tally);
    return incident;
  }

  /** An anomaly that the incident knows is reported again. A report that came late still shows that the story goes on. */
  grow(incident: Incident, member: Member, taken: Taken): void {
    const { anomaly, tally } = taken;
    if (isOvertaken(anomaly, member.latest)) {
      tally.stale++;
      this.#update(incident, taken);
      return;
    }
    const { baseCount, baseBytes, latest } = member;
    this.#options.store.saveMember({ ...member, latest: anomaly });
    this.#update(
      {
        ...incident,
        count: added(incident.count, grown(anomaly.count, baseCount) - grown(latest.count, baseCount)),
        bytes: added(incident.bytes, grown(anomaly.bytes, baseBytes) - grown(latest.bytes, baseBytes)),
      },
      taken,
    );
  }

  /** An anomaly that the incident does not know becomes part of it. */
  join(incident: Incident, member: NewMember, taken: Taken): void {
    const { store } = this.#options;
    const { anomaly, tally } = taken;
    if (incident.anomalyCount >= MAX_MEMBERS) {
      tally.uncounted++;
      this.#update(incident, taken);
      return;
    }
    const isNewNode = !store.hasNode(incident.id, anomaly.node);
    const isListed = isNewNode && incident.nodes.length < MAX_LISTED_NODES;
    store.saveMember({ ...member, incidentId: incident.id });
    this.#update(
      {
        ...incident,
        nodes: isListed ? [...incident.nodes, anomaly.node] : incident.nodes,
        nodeCount: incident.nodeCount + (isNewNode ? 1 : 0),
        anomalyCount: incident.anomalyCount + 1,
        count: added(incident.count, grown(anomaly.count, member.baseCount)),
        bytes: added(incident.bytes, grown(anomaly.bytes, member.baseBytes)),
      },
      taken,
    );
  }

  /**
   * Makes others part of an incident, which becomes broader, and a story that is new to it. Returns it as it is then; to be
   * stored with what `join` makes of it.
   */
  absorb(
    incident: Incident,
    breadth: Breadth,
    others: readonly Incident[],
    story: StoryOfPeer,
    { nowMs, tally }: Taken,
  ): Incident {
    const { store } = this.#options;
    let broad: Incident = { ...incident, breadth };
    for (const other of others) {
      broad = sumOf(broad, other);
      const merged: Incident = { ...other, state: 'resolved', resolvedMs: nowMs, mergedInto: incident.id };
      store.updateIncident(merged);
      store.stories.move(other.id, incident.id);
      tally.events.push({ type: 'merged', incident: merged });
    }
    if (others.length > 0) {
      const { peerCount } = broad;
      broad = {
        ...broad,
        nodeCount: store.nodeCount(incident.id),
        peerCount: breadth === 'kind' && peerCount > 0 ? store.stories.subjectCount(incident.id) : peerCount,
      };
    }
    return this.adopt(broad, story, nowMs);
  }

  /** Makes the incident tell a story that is new to it; as `absorb`. One that is full takes its anomalies, but not the story. */
  adopt(incident: Incident, story: StoryOfPeer, nowMs: number): Incident {
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

  /** @param resolvedBy the person who said so; null where it ended by itself */
  resolve(incident: Incident, resolvedBy: string | null, nowMs: number, tally: Tally): Incident {
    const { store } = this.#options;
    const resolved: Incident = { ...incident, state: 'resolved', resolvedMs: nowMs, resolvedBy };
    store.updateIncident(resolved);
    store.stories.endAbsorbed(incident.id, nowMs);
    this.#happened('resolved', resolved, nowMs, tally);
    return resolved;
  }

  /** Stores an incident that had a report: what is common to all reports, late ones included. */
  #update(before: Incident, { anomaly, nowMs, tally }: Taken): void {
    const isAgain = before.state === 'resolved';
    const incident = isAgain ? this.#reopened(before, anomaly, nowMs) : before;
    const isLater = isBefore(incident.last, anomaly.last);
    const isEscalated = isWorse(anomaly.severity, incident.severity);
    const updated: Incident = {
      ...incident,
      title: titleOf(incident),
      severity: isEscalated ? anomaly.severity : incident.severity,
      first: isBefore(anomaly.first, incident.first) ? anomaly.first : incident.first,
      last: isLater ? anomaly.last : incident.last,
      message: isLater ? anomaly.message : incident.message,
      lastReportMs: nowMs,
    };
    this.#options.store.updateIncident(updated);
    if (isAgain) this.#happened('reopened', updated, nowMs, tally);
    else if (isEscalated) this.#happened('escalated', updated, nowMs, tally);
    else this.#options.announcer.consider(updated, nowMs, tally.written);
  }

  /** As severe as what comes now, not as what there was before. */
  #reopened(incident: Incident, { severity }: Anomaly, nowMs: number): Incident {
    const { maxQuietMs } = this.#options;
    return {
      ...incident,
      state: 'open',
      severity,
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

/** Whether a report tells nothing that a later one of the same anomaly has not told: it came late. */
export function isOvertaken(anomaly: Anomaly, latest: Anomaly): boolean {
  if (anomaly.ended && !latest.ended) return false;
  return (
    !isBefore(latest.last, anomaly.last) && anomaly.count <= latest.count && anomaly.bytes <= latest.bytes
  );
}

/** An incident with the numbers of another one that it absorbs; nodes and peers are counted anew. */
function sumOf(incident: Incident, other: Incident): Incident {
  const isLater = isBefore(incident.last, other.last);
  return {
    ...incident,
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
    message: isLater ? other.message : incident.message,
    quietMs: Math.max(incident.quietMs, other.quietMs),
  };
}

/** What a total has grown by since an earlier incident; a total that fell has begun anew. */
function grown(total: number, base: number): number {
  return total >= base ? total - base : total;
}

function added(sum: number, more: number): number {
  return Math.min(Math.max(sum + more, 0), Number.MAX_SAFE_INTEGER);
}
