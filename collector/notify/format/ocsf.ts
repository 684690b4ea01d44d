/**
 * Events of the Open Cybersecurity Schema Framework (https://schema.ocsf.io/1.3.0): a Detection Finding (2004) for
 * whoever follows incidents, a Network Activity (4001) for whoever collects connections.
 */
import type { Severity } from '../../../common/event.ts';
import { parseEventTime } from '../../incident/event-time.ts';
import { isOutbound } from '../../incident/story.ts';
import type { Incident, Notification, NotificationType } from '../../store/store.ts';

const OCSF_VERSION = '1.3.0';

/** `severity_id`: Informational 1, Medium 3, Critical 5. */
const SEVERITY_IDS: Readonly<Record<Severity, number>> = { info: 1, warning: 3, critical: 5 };
const TCP = 6;
/** Network Activity's `activity_id` for a summary of what was exchanged. */
const TRAFFIC = 6;

/** A finding is created, updated or closed. */
export function toOcsfFinding(notification: Notification): object {
  const { type, incident, createdMs } = notification;
  const { id, title, message, kind, peer, nodes, openedMs } = incident;
  const activityId = findingActivity(type);
  const connection = peer === null ? undefined : connectionOf(incident, peer);
  return {
    ...common(notification, { categoryUid: 2, classUid: 2004, activityId }),
    message: title,
    is_alert: activityId !== 3,
    status_id: findingStatus(incident),
    confidence_id: 3,
    finding_info: {
      uid: id,
      title,
      desc: message,
      types: [kind],
      created_time: openedMs,
      modified_time: createdMs,
      first_seen_time: milliseconds(incident.first, openedMs),
      last_seen_time: milliseconds(incident.last, createdMs),
      analytic: { type_id: 1, name: kind },
    },
    evidences: connection === undefined ? [] : [connection],
    resources: nodes.map((name) => ({ type: 'Ray node', name })),
  };
}

/** The traffic of the incident's stranger; a finding where the story has no stranger, and so no traffic. */
export function toOcsfNetworkActivity(notification: Notification): object {
  const { incident } = notification;
  if (incident.peer === null) return toOcsfFinding(notification);
  return {
    ...common(notification, { categoryUid: 4, classUid: 4001, activityId: TRAFFIC }),
    message: incident.title,
    ...connectionOf(incident, incident.peer),
    traffic: { bytes: incident.bytes },
    ...(incident.service === null ? {} : { app_name: incident.service }),
  };
}

interface EventClass {
  readonly categoryUid: number;
  readonly classUid: number;
  readonly activityId: number;
}

function common(
  { id, incident, createdMs }: Notification,
  { categoryUid, classUid, activityId }: EventClass,
): object {
  return {
    activity_id: activityId,
    category_uid: categoryUid,
    class_uid: classUid,
    type_uid: classUid * 100 + activityId,
    time: createdMs,
    severity_id: SEVERITY_IDS[incident.severity],
    count: incident.count,
    start_time: milliseconds(incident.first, incident.openedMs),
    end_time: milliseconds(incident.last, createdMs),
    metadata: {
      version: OCSF_VERSION,
      uid: id,
      correlation_uid: incident.id,
      product: { name: 'plasmawatch', vendor_name: 'plasmawatch' },
    },
  };
}

function connectionOf(incident: Incident, peer: string): object {
  const node = {
    hostname: incident.nodes[0] ?? 'unknown',
    ...(incident.service === null ? {} : { svc_name: incident.service }),
  };
  const stranger = { ip: peer };
  const isToStranger = isOutbound(incident.kind);
  return {
    src_endpoint: isToStranger ? node : stranger,
    dst_endpoint: isToStranger ? stranger : node,
    connection_info: { protocol_num: TCP, protocol_name: 'tcp', direction_id: isToStranger ? 2 : 1 },
  };
}

/** Create 1, Update 2, Close 3. */
function findingActivity(type: NotificationType): number {
  if (type === 'opened') return 1;
  return type === 'resolved' ? 3 : 2;
}

/** New 1, In Progress 2, Suppressed 3, Resolved 4. */
function findingStatus({ state }: Incident): number {
  return { open: 1, acknowledged: 2, silenced: 3, resolved: 4 }[state];
}

function milliseconds(time: string, fallbackMs: number): number {
  const nanoseconds = parseEventTime(time);
  return nanoseconds === undefined ? fallbackMs : Number(nanoseconds / 1_000_000n);
}
