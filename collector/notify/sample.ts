/** A made-up incident: what `notify test` sends, and what templates are tried with. */
import { randomUUID } from 'node:crypto';
import {
  NOTIFICATION_TYPES,
  type Incident,
  type Notification,
  type NotificationType,
} from '../store/store.ts';

/** A documentation address (RFC 5737): nobody's. */
const PEER = '192.0.2.66';

/** An incident as it is told when it opens. */
export function sampleIncident(nowMs: number): Incident {
  const now = new Date(nowMs).toISOString().replace('Z', '000000Z');
  return {
    id: 'INC-0',
    fingerprint: JSON.stringify(['sample', nowMs]),
    state: 'open',
    severity: 'info',
    kind: 'unexpected-peer',
    title: `Test: unexpected peer ${PEER} talks to the object manager on a-node`,
    breadth: 'story',
    peer: PEER,
    peerCount: 1,
    service: 'object-manager',
    serviceCount: 1,
    nodes: ['a-node'],
    nodeCount: 1,
    anomalyCount: 1,
    count: 3,
    bytes: 4200,
    first: now,
    last: now,
    message: 'This is a test of the receiver; nothing has happened',
    highlights: [],
    tier: 0,
    openedMs: nowMs,
    isAlone: true,
    reopenedMs: null,
    reopenCount: 0,
    lastReportMs: nowMs,
    quietMs: 0,
    acknowledgedMs: null,
    resolvedMs: null,
    resolvedBy: null,
    mergedInto: null,
  };
}

/** A sample and its end, so that nothing stays open where the receiver keeps a state. */
export function sampleStory(receiver: string, nowMs: number): Notification[] {
  const opened = sampleIncident(nowMs);
  const resolved: Incident = { ...opened, state: 'resolved', resolvedMs: nowMs };
  const message = (type: NotificationType, incident: Incident): Notification => {
    return { id: `msg_${randomUUID()}`, receiver, type, incident, heldBack: 0, createdMs: nowMs };
  };
  return [message('opened', opened), message('resolved', resolved)];
}

/** Notifications of every type, with and without the values that may be missing. */
export function sampleNotifications(): Notification[] {
  const incident = sampleIncident(0);
  const bare: Incident = {
    ...incident,
    kind: 'blind',
    peer: null,
    peerCount: 0,
    service: null,
    serviceCount: 0,
  };
  return [incident, bare].flatMap((each) =>
    NOTIFICATION_TYPES.map((type) => ({
      id: 'msg_00000000-0000-4000-8000-000000000000',
      receiver: 'sample',
      type,
      incident: each,
      heldBack: 0,
      createdMs: 0,
    })),
  );
}
