/** When a receiver is told what of an incident: the whole of it, without a store and without a clock. */
import type { Incident, NotificationType } from '../store/store.ts';
import type { Telling, Told } from '../store/telling-table.ts';
import { dataTier } from './assessment.ts';
import { isWorse } from './severity.ts';
import { familyOf, isAttemptFamily, isOverflow } from './story.ts';

/** Milliseconds. */
export interface Timing {
  /** What is not critical, or one of many, waits so long, so that its first message has all that came with it. */
  readonly groupWaitMs: number;
  /** From one message about an incident to the next that only has higher numbers, at least. */
  readonly updateIntervalMs: number;
  /** What nobody has acknowledged is told again after so long. */
  readonly repeatIntervalMs: number;
}

/** To be told now; or to be looked at again then, or (null) when something happens. */
export type Decision = { readonly tell: NotificationType } | { readonly waitUntilMs: number | null };

/** An incident that became so many times larger is worse, not only larger. */
const LEAP = 10;
/** An incident that moved 1 GB is worse than one that did not; `LEAP` times so many bytes worse again. */
const MANY_BYTES = 1e9;
/** What a connection moves without any transfer: a handshake, a few headers, keep-alives. */
const LEAST_BYTES = 1000;
/** What moved data waits for others no longer than this: a person is to know of a theft within two seconds. */
const PROMPT_WAIT_MS = 1000;
/** Of a burst, one more node, and one more peer that moved data, is told at once, but not more often than this. */
const PEER_INTERVAL_MS = 20_000;

/** What a receiver is to be told of an incident as it stands. */
export function decide(
  incident: Incident,
  { told, dueMs }: Pick<Telling, 'told' | 'dueMs'>,
  timing: Timing,
  nowMs: number,
): Decision {
  const { updateIntervalMs, repeatIntervalMs } = timing;
  const isCritical = incident.severity === 'critical';
  const isTheft = isCritical && dataTier(incident.highlights[0]?.dataBytes ?? 0) > 0;
  const groupWaitMs =
    isTheft || (isCritical && told !== null && hasOutstanding(incident, told))
      ? Math.min(timing.groupWaitMs, PROMPT_WAIT_MS)
      : timing.groupWaitMs;
  const tellAt = (type: NotificationType, atMs: number): Decision =>
    nowMs >= atMs ? { tell: type } : { waitUntilMs: atMs };
  if (incident.state === 'resolved') {
    return told === null || told.type === 'resolved' ? { waitUntilMs: null } : { tell: 'resolved' };
  }
  if (told === null || told.type === 'resolved') {
    const isUrgent = isCritical && incident.isAlone;
    const sinceMs = incident.reopenedMs ?? incident.openedMs;
    return tellAt(told === null ? 'opened' : 'reopened', isUrgent ? nowMs : sinceMs + groupWaitMs);
  }
  if (isWorse(incident.severity, told.severity)) return { tell: 'escalated' };
  // What was due before is due no later for it.
  if (hasLeapt(incident, told)) return tellAt('escalated', Math.min(dueMs ?? Infinity, nowMs + groupWaitMs));
  if (
    hasNodeWithMore(incident, told) ||
    (isTheft && hasMorePeers(incident, told)) ||
    (isCritical && hasMoreNodes(incident, told))
  ) {
    return tellAt('escalated', told.atMs + PEER_INTERVAL_MS);
  }
  if (isCritical && isBurstLarger(incident, told)) return tellAt('updated', told.atMs + updateIntervalMs);
  if (hasDoubled(incident, told)) return tellAt('updated', told.atMs + updateIntervalMs);
  if (incident.state === 'acknowledged') return { waitUntilMs: null };
  return tellAt('repeated', told.atMs + repeatIntervalMs);
}

/** Attempts cost nothing and prove nothing, so more of them are only more. */
function hasLeapt(incident: Incident, told: Told): boolean {
  if (isAttemptFamily(familyOf(incident))) return false;
  return (
    incident.breadth !== told.breadth ||
    isConfirmed(incident, told) ||
    hasOutstanding(incident, told) ||
    isTimes(LEAP, incident, told, ['nodeCount', 'peerCount']) ||
    orderOfBytes(incident.bytes) > orderOfBytes(told.bytes)
  );
}

/** Whether a burst of answered peers has one that nobody was told of. */
function hasMorePeers(incident: Incident, told: Told): boolean {
  return isAnsweredBurst(incident, told) && incident.peerCount > told.peerCount;
}

/** Whether such a burst reached a node of which nobody was told: its agent has something to tell for the first time. */
function hasMoreNodes(incident: Incident, told: Told): boolean {
  return incident.peerCount > 0 && isBurstLarger(incident, told) && incident.nodeCount > told.nodeCount;
}

/** Whether it has a peer or a node more; of what nodes say of themselves, too. */
function isBurstLarger(incident: Incident, told: Told): boolean {
  return (
    hasMorePeers(incident, told) || (isAnsweredBurst(incident, told) && incident.nodeCount > told.nodeCount)
  );
}

function isAnsweredBurst(incident: Incident, told: Told): boolean {
  return incident.breadth === 'kind' && told.breadth === 'kind' && !isAttemptFamily(familyOf(incident));
}

/** Whether one of many has moved so much more than any that people were told of that it is another matter. */
function hasOutstanding(incident: Incident, { mostBytes = 0 }: Told): boolean {
  if (incident.breadth !== 'kind' && !isOverflow(incident)) return false;
  return (incident.highlights[0]?.dataBytes ?? 0) >= LEAP * Math.max(mostBytes, LEAST_BYTES);
}

/** Whether a second agent sees now what one alone had said of a peer. */
function isConfirmed({ peer, nodeCount }: Incident, told: Told): boolean {
  return peer !== null && told.nodeCount === 1 && nodeCount > 1;
}

/**
 * Whether much more was moved at one node than people were told of. Compared node by node, because what one agent claims
 * must not make small what another one sees.
 */
function hasNodeWithMore(incident: Incident, { ordersByNode: told }: Told): boolean {
  if (told === undefined) return false;
  return Object.entries(ordersByNode(incident)).some(([node, order]) => order > (told[node] ?? 0));
}

/** How often `MANY_BYTES` was reached at each node that stands out; nodes where it was not are left out. */
export function ordersByNode({ highlights }: Pick<Incident, 'highlights'>): Record<string, number> {
  const orders = highlights.map(({ node, dataBytes }) => [node, orderOfBytes(dataBytes)] as const);
  return Object.fromEntries(orders.filter(([, order]) => order > 0));
}

/** How often `MANY_BYTES` was reached: 0 below it, 1 from it on, 2 from ten times so many on. */
function orderOfBytes(bytes: number): number {
  return bytes < MANY_BYTES ? 0 : 1 + Math.floor(Math.log10(bytes / MANY_BYTES));
}

/** More bytes are news only from an object's size on: below, they are the rest of the connection that people know of. */
function hasDoubled(incident: Incident, told: Told): boolean {
  if (isTimes(2, incident, told, ['nodeCount', 'peerCount', 'count'])) return true;
  return dataTier(incident.bytes) > 0 && isTimes(2, incident, told, ['bytes']);
}

function isTimes(
  times: number,
  incident: Incident,
  told: Told,
  numbers: readonly ('nodeCount' | 'peerCount' | 'count' | 'bytes')[],
): boolean {
  return numbers.some((number) => incident[number] > 0 && incident[number] >= times * told[number]);
}
