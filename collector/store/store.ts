/**
 * What the collector remembers, and the interface of whatever remembers it.
 *
 * Calls are synchronous: a call that returned outside a transaction is on the disk, and so is everything within a
 * `transaction` that returned. That is what an acknowledgement to an agent and a notification's outbox stand on.
 * All times are milliseconds since the epoch by the collector's clock, unless a field says otherwise.
 */
import type { ClockShift } from './clock-shift.ts';
import type {
  Anomaly,
  AnomalyKind,
  EvidenceReport,
  FlowState,
  Report,
  Severity,
} from '../../common/event.ts';
import type { AuditTable } from './audit-table.ts';
import type { EnrolmentTable } from './enrolment-table.ts';
import type { RoomLimits } from './fair-removal.ts';
import type { AgentRecord, FleetTable } from './fleet-table.ts';
import type { MemberTable } from './member-table.ts';
import type { ReportSource } from './report-table.ts';
import type { RulesTable } from './rules-table.ts';
import type { SilenceTable } from './silence-table.ts';
import type { StoryTable } from './story-table.ts';
import type { TellingTable } from './telling-table.ts';

/** Whether an incident is silenced is no state of it: that follows from the silences of the moment. */
export const INCIDENT_STATES = ['open', 'acknowledged', 'resolved'] as const;
export type IncidentState = (typeof INCIDENT_STATES)[number];

/**
 * One story; or all that a peer does, because it scans; or one kind of story of many subjects at a time (peers, nodes),
 * because they came in a burst.
 */
export type Breadth = 'story' | 'peer' | 'kind';

/** Anomalies that belong together as a person sees them. */
export interface Incident {
  /** `INC-` and a number that rises. */
  readonly id: string;
  /** Of the story that opened it; at most one unresolved incident has it. It never changes. */
  readonly fingerprint: string;
  readonly state: IncidentState;
  readonly severity: Severity;
  /** The kind of the anomaly that opened it. */
  readonly kind: AnomalyKind;
  readonly title: string;
  /** What it has grown to tell of. */
  readonly breadth: Breadth;
  /** The first stranger's address, or null where the story has none (`blind`), and how many there are. */
  readonly peer: string | null;
  readonly peerCount: number;
  /** The first service, or null where the story has none, and how many there are. */
  readonly service: string | null;
  readonly serviceCount: number;
  /** The first nodes that saw it, at most `MAX_LISTED_NODES`, and how many there are. */
  readonly nodes: readonly string[];
  readonly nodeCount: number;
  /** Anomalies that `count` and `bytes` add up. */
  readonly anomalyCount: number;
  /** Connections (for `blind`: lost packets): the latest count of each anomaly, added up. */
  readonly count: number;
  /** Wire bytes, added up likewise. */
  readonly bytes: number;
  /** Earliest and latest time of the anomalies, RFC 3339 with nanoseconds; by the agents' clocks, unless one is wrong. */
  readonly first: string;
  readonly last: string;
  /** What the agents with the most severe members say of them, each with its name. */
  readonly message: string;
  /** The most severe member of each agent, most severe first; of the first agents only. */
  readonly highlights: readonly Highlight[];
  /** Of a burst: how much its members moved at most, as a power of ten (incident/assessment.ts); else 0. */
  readonly tier: number;
  readonly openedMs: number;
  /** Whether no other story like it began shortly before: one of many is not told at once. */
  readonly isAlone: boolean;
  /** When it was opened again last, and how often; null and 0 when never. */
  readonly reopenedMs: number | null;
  readonly reopenCount: number;
  readonly lastReportMs: number;
  /** Without a report for so long it is resolved. */
  readonly quietMs: number;
  readonly acknowledgedMs: number | null;
  readonly resolvedMs: number | null;
  /** Who resolved it by hand; null where it ended by itself. */
  readonly resolvedBy: string | null;
  /** The incident that absorbed it, and tells its story from then on. */
  readonly mergedInto: string | null;
}

export type NewIncident = Omit<Incident, 'id'>;

/** A member of an incident, as far as titles and messages name it. */
export interface Highlight {
  readonly agent: string;
  readonly anomalyId: string;
  readonly node: string;
  readonly kind: AnomalyKind;
  readonly peer: string | null;
  readonly service: string | null;
  /** Of its first connection. */
  readonly state: FlowState | null;
  readonly severity: Severity;
  readonly dataBytes: number;
  /** The address of the connection's end that is on the node, where the agent tells: the peer itself may run an agent. */
  readonly ownAddress?: string;
  /** What the agent says, fit to be shown: with the agent's name, on one line, cut. */
  readonly text: string;
}

/** Which incidents are asked for; what is left out does not matter. */
export interface IncidentQuery {
  readonly state?: IncidentState | 'unresolved' | undefined;
  readonly severity?: Severity | undefined;
  readonly kind?: AnomalyKind | undefined;
  readonly limit: number;
  /** The cursor that the page before gave. */
  readonly before?: number | undefined;
}

/** How many nodes an incident lists by name. */
export const MAX_LISTED_NODES = 50;

/** One anomaly's part in an incident: its latest report, and what earlier incidents have counted of it already. */
export interface Member {
  readonly agent: string;
  readonly anomalyId: string;
  readonly incidentId: string;
  readonly latest: Anomaly;
  readonly baseCount: number;
  readonly baseBytes: number;
  /** As the collector assesses it; within an incident it never falls. */
  readonly severity: Severity;
  /** Wire bytes of its connections; 0 where nobody answered. */
  readonly dataBytes: number;
}

export const NOTIFICATION_TYPES = [
  'opened',
  'escalated',
  'updated',
  'repeated',
  'reopened',
  'resolved',
] as const;
export type NotificationType = (typeof NOTIFICATION_TYPES)[number];

/** One message about an incident to one receiver; the incident is as it was when the message was written. */
export interface Notification {
  /** The same for every attempt. */
  readonly id: string;
  readonly receiver: string;
  readonly type: NotificationType;
  readonly incident: Incident;
  /** Messages about this incident that the receiver did not get before this one, because of a limit. */
  readonly heldBack: number;
  readonly createdMs: number;
}

/** What limits see of a notification; each is null where a limit does not count it. */
export interface NotificationLimits {
  /** What the flood guard takes for the same. */
  readonly topic: string | null;
  /** The only agent that the incident is reported by. */
  readonly origin: string | null;
  /** The higher, the less it may be lost to make room. */
  readonly rank: number;
}

/** A notification and how far its delivery is. */
export interface OutboxEntry extends Notification {
  readonly state: 'pending' | 'delivered' | 'failed';
  readonly attempts: number;
  /** Not to be tried before. */
  readonly nextAttemptMs: number;
  /** Why the last attempt did not deliver; holds no secret. */
  readonly reason: string | null;
}

export interface StoredReport {
  /** Rises with the order of arrival. */
  readonly id: number;
  readonly agent: string;
  readonly sequence: number;
  readonly receivedMs: number;
  readonly report: Report;
}

/** What a round of removal took away for lack of room. */
export interface RemovedExcess {
  readonly reports: number;
  /** Of those, the latest reports and the evidence of anomalies whose incident is not resolved. */
  readonly unresolved: number;
  /** Of those, the ones that no exporter had read (only where `exporter` was given). */
  readonly unexported: number;
  /** Parts of anomalies in incidents. */
  readonly members: number;
  readonly incidents: number;
  readonly notifications: number;
}

/** What a round of removal took away. */
export interface Removed extends RemovedExcess {
  readonly agents: number;
  readonly silences: number;
}

export interface RemovalLimits extends RoomLimits {
  /** What is older goes. */
  readonly beforeMs: number;
  /** Name of the cursor that reads the reports, to count what it lost. */
  readonly exporter?: string | undefined;
  /** At most so many rows of each table at once, so that a removal never holds others up for long. */
  readonly maxRows: number;
}

export interface Store {
  readonly fleet: FleetTable;
  readonly rules: RulesTable;
  readonly stories: StoryTable;
  /** The members of incidents, by severity; those of one anomaly are found by `member`. */
  readonly memberTable: MemberTable;
  readonly enrolments: EnrolmentTable;
  readonly tellings: TellingTable;
  readonly silences: SilenceTable;
  readonly audit: AuditTable;

  /** All of `work` is on the disk when this returns, or none of it. Not to be nested. */
  transaction<Result>(work: () => Result): Result;

  /** Notes that an agent said hello, and returns the last sequence stored of this epoch (0 for none). */
  greetAgent(agent: Pick<AgentRecord, 'name' | 'epoch' | 'version' | 'capture'>, nowMs: number): number;
  saveHeartbeat(agent: string, counters: Readonly<Record<string, number | null>>, nowMs: number): void;
  agentCount(): number;
  hasAgent(name: string): boolean;

  /** Stores a report; false when this (agent, epoch, sequence) is here, or was here before. */
  insertReport(source: ReportSource, report: Report, nowMs: number): boolean;
  /** Whether a report is here, or was here before. */
  hasReport(source: ReportSource): boolean;
  /** Remembers that a report came which is not stored, so that its agent does not send it again. */
  noteSequence(source: ReportSource): void;
  /** The last sequence stored of an agent's epoch; 0 for none. */
  lastSequence(agent: string, epoch: string): number;
  /** Reports in order of arrival, after `id`. */
  reportsAfter(id: number, limit: number): StoredReport[];
  /** How far a reader of reports got; 0 before its first. */
  cursor(name: string): number;
  saveCursor(name: string, id: number): void;
  /** How many reports a reader has before it, at most: some of them may have been removed. */
  waitingFor(name: string): number;

  insertIncident(incident: NewIncident): Incident;
  updateIncident(incident: Incident): void;
  incident(id: string): Incident | undefined;
  unresolvedCount(): number;
  /**
   * Whether an incident that is not resolved accuses this address, as an unknown peer or a destination. Attempts that nobody
   * answered accuse nobody: anybody can send them in any name.
   */
  hasUnresolvedPeer(address: string): boolean;
  /** Unresolved incidents that an agent's report opened; counts no further than to `limit`. */
  unresolvedOf(agent: string, limit: number): number;
  /** The least of those by severity, then by bytes, then the oldest; overflows and those of several agents left out. */
  leastUnresolvedOf(agent: string): Incident | undefined;
  /** Newest first. */
  incidents(query: IncidentQuery): { incidents: Incident[]; next: number | null };
  /** Unresolved incidents without a report for as long as each may be quiet, not counting the time before `sinceMs`. */
  quietIncidents(times: { sinceMs: number; nowMs: number }, limit: number): Incident[];

  /** The latest incident that an anomaly is part of. */
  member(agent: string, anomalyId: string): Member | undefined;
  saveMember(member: Member): void;
  /** Whether an anomaly of the incident has not said that it is over. */
  hasOngoing(incidentId: string): boolean;
  /** The first packets of an anomaly's connection, while reports of that time are kept. */
  evidence(agent: string, anomalyId: string): EvidenceReport | undefined;
  hasEvidence(agent: string, anomalyId: string): boolean;

  /** @param limits what limits see of it; none counts it when not given */
  enqueue(notification: Notification, limits?: NotificationLimits): void;
  /**
   * When the message was written that is the n-th latest of its topic, or of its origin, for a receiver; undefined where
   * there are fewer.
   */
  nthLatestMs(
    receiver: string,
    by: { readonly topic: string } | { readonly origin: string },
    n: number,
  ): number | undefined;
  /** Gives up the oldest of the pending notifications of the lowest rank, if that is below `rank`; whether there was one. */
  dropPending(receiver: string, rank: number, reason: string): boolean;
  /** The oldest notifications that wait for a receiver, in order. */
  pending(receiver: string, limit: number): OutboxEntry[];
  pendingCount(receiver: string): number;
  /** When the newest that waits was written; undefined where none waits. */
  newestPendingMs(receiver: string): number | undefined;
  /** Unresolved incidents of which the receiver was told, oldest first; `after` is the last id of the page before. */
  toldUnresolved(receiver: string, page: { limit: number; after?: string | undefined }): Incident[];
  updateDelivery(entry: Pick<OutboxEntry, 'id' | 'state' | 'attempts' | 'nextAttemptMs' | 'reason'>): void;
  /** Marks what waits for a receiver (or for all but the named ones) as failed; returns how many. */
  failPending(which: { receiver: string } | { allBut: readonly string[] }, reason: string): number;
  notifications(incidentId: string, limit: number): OutboxEntry[];

  /** Moves the times that decide when the clock was set; within a transaction (see clock-shift.ts). */
  shiftTimes(shift: ClockShift): void;
  /** Writes a little, to see whether the disk takes it. */
  tryWrite(nowMs: number): void;
  /** Bytes of the database that hold something, indexes included. */
  usedBytes(): number;
  /** Whether there is more than these limits allow. */
  isFull(limits: RoomLimits): boolean;
  /** Removes what is too old or too much. */
  remove(limits: RemovalLimits): Removed;
  /** Removes what is too much, in the order of fair-removal.ts. */
  removeExcess(limits: Omit<RemovalLimits, 'beforeMs'>): RemovedExcess;
  close(): void;
}
