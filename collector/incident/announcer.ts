/**
 * Tells receivers of incidents, at the times that timing.ts says: within the transaction in which an incident
 * changes, and later for what was to wait. What was told stands in the store, so a restart tells nothing twice.
 */
import { randomUUID } from 'node:crypto';
import type { Clock, Timer } from '../../common/clock.ts';
import { SEVERITIES } from '../../common/event.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { StoreGuard } from '../store/health.ts';
import type { Incident, NotificationLimits, NotificationType, Store } from '../store/store.ts';
import type { Telling } from '../store/telling-table.ts';
import { dataTier } from './assessment.ts';
import { named } from './highlights.ts';
import { familyOf } from './story.ts';
import { decide, ordersByNode, type Timing } from './timing.ts';

/** So many notifications may wait for one receiver. */
export const MAX_PENDING_NOTIFICATIONS = 10_000;
const TICK_MS = 1000;
/** So many tellings are looked at in one transaction, so that none is long. */
const PORTION = 100;
/** What was muted or found no room is looked at again after so long. */
const LOOK_AGAIN_MS = 15_000;
const HOUR_MS = 3_600_000;
/** An agent may bring about as many messages as so many topics: more than that is a flood, whatever it is about. */
const ORIGIN_TOPICS = 20;
/** A message about many names so many of the most severe members, and so many of the latest. */
const NAMED_MEMBERS = 5;

export interface AnnouncerOptions {
  readonly store: Store;
  /** For what timers start. */
  readonly guard: StoreGuard;
  readonly clock: Clock;
  readonly metrics: CollectorMetrics;
  readonly timing: Timing;
  /**
   * The flood guard: so many messages about one subject, of one kind and severity, go to a receiver in an hour, ends not
   * counted; and twenty times as many about all that one agent alone reports.
   */
  readonly messagesPerHour: number;
  /** The names of all receivers. */
  readonly receivers: readonly string[];
  /** Who is told of an incident as it stands: some of `receivers`. */
  readonly receiversOf: (incident: Incident) => readonly string[];
  /** Why an incident is told to nobody now; undefined where nothing mutes it. Its end is told all the same to whoever knows of it. */
  readonly mutedBy: (incident: Incident, nowMs: number) => string | undefined;
  /** Called after each commit that wrote notifications. */
  readonly onWritten: () => void;
}

/** What a transaction wrote for receivers; counted only once it is on the disk. */
export class Written {
  notifications = 0;
  /** Receivers for which a notification found no room, one for each. */
  readonly turnedAway: string[] = [];
  /** Likewise those that the flood guard held back. */
  readonly heldBack: string[] = [];
}

export class Announcer {
  readonly #options: AnnouncerOptions;
  #timer: Timer | undefined;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Begins with what became due while the collector did not run. */
  start(): void {
    const { guard, clock } = this.#options;
    this.receiversChanged();
    this.#timer = clock.every(TICK_MS, () => {
      guard(() => this.tellDue());
    });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** `receivers` holds others now: what stands of those that are gone is forgotten. */
  receiversChanged(): void {
    const { store, guard, receivers } = this.#options;
    guard(() => store.tellings.keepOnly(receivers));
  }

  /** Tells of an incident what is to be told now; to be called in the transaction in which the incident was stored. */
  consider(incident: Incident, nowMs: number, written: Written): void {
    const { store, receiversOf } = this.#options;
    const known = new Map(store.tellings.of(incident.id).map((telling) => [telling.receiver, telling]));
    const concerned = new Set(receiversOf(incident));
    for (const receiver of new Set([...concerned, ...known.keys()])) {
      const telling = known.get(receiver) ?? untold(incident, receiver);
      this.#considerFor(incident, telling, concerned.has(receiver), nowMs, written);
    }
  }

  /** Whether an incident is told to everybody who would be told of another one in its place, and muted by nothing. */
  reachesNoFewer(incident: Incident, other: Incident, nowMs: number): boolean {
    const { receiversOf, mutedBy } = this.#options;
    if (mutedBy(incident, nowMs) !== undefined) return false;
    const receivers = new Set(receiversOf(incident));
    return receiversOf(other).every((receiver) => receivers.has(receiver));
  }

  /**
   * Tells what was to wait until now.
   * @throws PlasmawatchError PW_STORE
   */
  tellDue(): void {
    const { store, clock, receiversOf } = this.#options;
    const nowMs = clock.now();
    for (;;) {
      const written = new Written();
      const found = store.transaction(() => {
        const due = store.tellings.due(nowMs, PORTION);
        for (const { incident, telling } of due) {
          const isConcerned = receiversOf(incident).includes(telling.receiver);
          this.#considerFor(incident, telling, isConcerned, nowMs, written);
        }
        return due.length;
      });
      this.publish(written);
      if (found < PORTION) return;
    }
  }

  /** Counts what is on the disk now, and says that it is to be delivered. */
  publish({ notifications, turnedAway, heldBack }: Written): void {
    const { metrics, onWritten } = this.#options;
    for (const receiver of heldBack) metrics.notificationsHeldBack.inc({ receiver });
    for (const receiver of turnedAway) metrics.notificationsTurnedAway.inc({ receiver });
    if (notifications > 0) onWritten();
  }

  /** @param isConcerned whether the receiver is one of those who are told; whoever was told of it is told of its end */
  #considerFor(
    incident: Incident,
    telling: Telling,
    isConcerned: boolean,
    nowMs: number,
    written: Written,
  ): void {
    const { timing, mutedBy } = this.#options;
    const decision =
      isConcerned || incident.state === 'resolved'
        ? decide(incident, telling, timing, nowMs)
        : { waitUntilMs: null };
    if (!('tell' in decision)) {
      // After an end that nobody was to be told of, the next message counts anew.
      const held = incident.state === 'resolved' ? null : telling.held;
      this.#lookAgain(telling, decision.waitUntilMs, held);
      return;
    }
    const { tell: type } = decision;
    const limits = limitsOf(incident, type);
    const guardedUntilMs = this.#guardedUntilMs(telling.receiver, limits);
    if (type !== 'resolved' && mutedBy(incident, nowMs) !== undefined) {
      this.#lookAgain(telling, nowMs + LOOK_AGAIN_MS);
    } else if (guardedUntilMs > nowMs) {
      this.#holdBack(telling, type, guardedUntilMs, written.heldBack);
    } else if (!this.#hasRoom(telling.receiver, limits.rank, written)) {
      this.#holdBack(telling, type, nowMs + LOOK_AGAIN_MS, written.turnedAway);
    } else {
      this.#tell(incident, telling, { type, limits }, nowMs, written);
    }
  }

  /** When the flood guard lets a message through again; a time that is over where it does now. */
  #guardedUntilMs(receiver: string, { topic, origin }: NotificationLimits): number {
    const { store, messagesPerHour } = this.#options;
    const ofTopic = topic === null ? undefined : store.nthLatestMs(receiver, { topic }, messagesPerHour);
    const ofOrigin =
      origin === null ? undefined : store.nthLatestMs(receiver, { origin }, ORIGIN_TOPICS * messagesPerHour);
    return Math.max(ofTopic ?? -Infinity, ofOrigin ?? -Infinity) + HOUR_MS;
  }

  /**
   * An incident of many as a message shows it: with its most severe members and its latest ones, in all and of each node,
   * so that neither those that came before nor those that came after hide one, nor the many that one node reports.
   */
  #withMembers(incident: Incident): Incident {
    if (incident.anomalyCount <= incident.highlights.length) return incident;
    const { memberTable } = this.#options.store;
    const { members } = memberTable.page(incident.id, { limit: NAMED_MEMBERS });
    const latest = memberTable.latestOf(incident.id, NAMED_MEMBERS);
    const ofNodes = memberTable.latestByNode(incident.id, NAMED_MEMBERS);
    return { ...incident, highlights: named(incident.highlights, [...members, ...latest, ...ofNodes]) };
  }

  /** Whether one more may wait for a receiver; what is less severe than it makes room. */
  #hasRoom(receiver: string, rank: number, written: Written): boolean {
    const { store } = this.#options;
    if (store.pendingCount(receiver) < MAX_PENDING_NOTIFICATIONS) return true;
    if (!store.dropPending(receiver, rank, 'it made room for a more severe one')) return false;
    written.turnedAway.push(receiver);
    return true;
  }

  #lookAgain(telling: Telling, dueMs: number | null, held = telling.held): void {
    if (dueMs === telling.dueMs && held === telling.held) return;
    this.#options.store.tellings.save({ ...telling, dueMs, held });
  }

  /** Counted once, however often it is tried. */
  #holdBack(telling: Telling, type: NotificationType, dueMs: number, counted: string[]): void {
    const isNew = telling.held !== type;
    const heldBack = telling.heldBack + (isNew ? 1 : 0);
    if (isNew) counted.push(telling.receiver);
    this.#options.store.tellings.save({ ...telling, heldBack, held: type, dueMs });
  }

  #tell(
    incident: Incident,
    telling: Telling,
    { type, limits }: { type: NotificationType; limits: NotificationLimits },
    nowMs: number,
    written: Written,
  ): void {
    const { store, timing } = this.#options;
    const { receiver, heldBack } = telling;
    const id = `msg_${randomUUID()}`;
    const named = this.#withMembers(incident);
    store.enqueue({ id, receiver, type, incident: named, heldBack, createdMs: nowMs }, limits);
    written.notifications++;
    const { severity, breadth, peerCount, nodeCount, count, bytes } = incident;
    const mostBytes = incident.highlights[0]?.dataBytes ?? 0;
    const numbers = { severity, breadth, peerCount, nodeCount, count, bytes, mostBytes };
    const told = { type, atMs: nowMs, ...numbers, ordersByNode: ordersByNode(incident) };
    const next = decide(incident, { told, dueMs: null }, timing, nowMs);
    const dueMs = 'tell' in next ? null : next.waitUntilMs;
    store.tellings.save({ ...telling, told, heldBack: 0, held: null, dueMs });
  }
}

/**
 * What the flood guard counts a message under: what happened, to which peer or node, how severe, and whether it is one of
 * many. A message about what is worse never waits for messages about what is less. What one agent alone reports counts
 * for that agent only: it cannot use up what another one has to tell of the same peer. One more agent counts anew.
 */
function limitsOf(incident: Incident, type: NotificationType): NotificationLimits {
  const { severity, breadth, peer, nodes, nodeCount, highlights } = incident;
  const tier = dataTier(highlights[0]?.dataBytes ?? 0);
  const rank = SEVERITIES.indexOf(severity) * 100 + tier;
  if (type === 'resolved') return { topic: null, origin: null, rank };
  const [node = null] = nodes;
  const isOfOne = nodeCount === 1;
  const tellers = isOfOne ? node : nodeCount;
  return {
    topic: JSON.stringify([
      familyOf(incident),
      incident.kind,
      breadth,
      peer ?? node,
      tellers,
      severity,
      tier,
    ]),
    origin: isOfOne ? JSON.stringify([node, severity, tier]) : null,
    rank,
  };
}

function untold({ id }: Incident, receiver: string): Telling {
  return { incidentId: id, receiver, told: null, heldBack: 0, held: null, dueMs: null };
}
