/** Incidents as the API answers them, and as lines for people. */
import { z } from 'zod';
import { shortTime } from '../common/time.ts';
import { formatSize } from '../common/units.ts';
import { text } from './collector-client.ts';
import { countedConnections } from './output.ts';
import { formatTable } from './table.ts';

const count = z.number().min(0);

const incidentSchema = z.looseObject({
  id: text,
  state: text,
  severity: text,
  kind: text,
  title: text,
  nodes: z.array(text),
  nodeCount: count,
  count,
  bytes: count,
  first: text,
  last: text,
  message: text,
  mutedBy: text.nullable(),
  opened: text,
  acknowledged: text.nullable(),
  resolved: text.nullable(),
  resolvedBy: text.nullable(),
  reopened: text.nullable(),
  mergedInto: text.nullable(),
});
type IncidentAnswer = z.output<typeof incidentSchema>;

const actionSchema = z.looseObject({ actor: text, action: text });

const notificationSchema = z.looseObject({
  receiver: text,
  type: text,
  state: text,
  attempts: count,
  reason: text.nullable(),
  created: text,
});

/** `GET /api/incidents` */
export const incidentPage = z.looseObject({
  incidents: z.array(incidentSchema),
  nextCursor: z.string().nullable(),
});

const memberSchema = z.looseObject({
  agent: text,
  severity: text,
  anomaly: z.looseObject({
    id: text,
    kind: text,
    count,
    bytes: count,
    last: text,
    message: text,
    peer: text.optional(),
    flow: z
      .looseObject({
        source: z.looseObject({ ip: text }),
        destination: z.looseObject({ ip: text }),
        plasmawatch: z.looseObject({ state: text, service: text.nullable() }),
      })
      .nullable(),
  }),
});
type MemberAnswer = z.output<typeof memberSchema>;

/** What follows from an action on an incident. */
export const incidentAnswer = z.looseObject({ incident: incidentSchema });

/** `GET /api/incidents/:id` */
export const incidentDetails = incidentAnswer.extend({
  anomalies: z.array(memberSchema),
  nextCursor: z.string().nullable(),
  notifications: z.array(notificationSchema),
  actions: z.array(actionSchema),
});
export type IncidentDetails = z.output<typeof incidentDetails>;

const COLUMNS = [
  { name: 'incident' },
  { name: 'severity' },
  { name: 'state' },
  { name: 'last seen' },
  { name: 'what' },
];

/** A line for each incident, below a headline. */
export function incidentTable(incidents: readonly IncidentAnswer[]): string[] {
  return formatTable(
    COLUMNS,
    incidents.map((incident) => {
      const { id, severity, last, title } = incident;
      return [id, severity, stateOf(incident), shortTime(last), title];
    }),
  );
}

/** All that is known of one incident: what it is, then what happened when. */
export function describeIncident(details: IncidentDetails): string[] {
  const { id, severity, kind, title, message, nodes, nodeCount, bytes } = details.incident;
  const others = nodeCount - nodes.length;
  return [
    `${id} (${kind}, ${severity}) is ${stateOf(details.incident)}`,
    title,
    message,
    `seen by ${nodes.join(', ')}${others > 0 ? ` and ${others} more` : ''}`,
    `${countedConnections(details.incident.count)}, ${formatSize(bytes)}`,
    '',
    ...memberLines(details.anomalies),
    '',
    ...timelineOf(details).map(({ time, what }) => `${shortTime(time)}  ${what}`),
  ];
}

const MEMBER_COLUMNS = [
  { name: 'severity' },
  { name: 'data' },
  { name: 'connections' },
  { name: 'from' },
  { name: 'to' },
  { name: 'service' },
  { name: 'state' },
  { name: 'reported by' },
  { name: 'last seen' },
];

/** A line for each member below a headline, in the order of the API: the most severe first. */
function memberLines(members: readonly MemberAnswer[]): string[] {
  return formatTable(
    MEMBER_COLUMNS,
    members.map(({ agent, severity, anomaly }) => {
      const { flow, peer = '', bytes } = anomaly;
      return [
        severity,
        formatSize(bytes),
        String(anomaly.count),
        flow?.source.ip ?? peer,
        flow?.destination.ip ?? '',
        flow?.plasmawatch.service ?? '',
        flow?.plasmawatch.state ?? anomaly.kind,
        agent,
        shortTime(anomaly.last),
      ];
    }),
  );
}

interface Moment {
  /** RFC 3339 in UTC, nanoseconds: such texts sort as their times do. */
  readonly time: string;
  readonly what: string;
}

function timelineOf({ incident, notifications, actions }: IncidentDetails): Moment[] {
  const { first, last, opened, reopened, acknowledged, resolved, resolvedBy } = incident;
  const acknowledgedBy = actions.find(({ action }) => action === 'incident.acknowledge')?.actor;
  const moments: Moment[] = [
    { time: first, what: 'first seen' },
    { time: last, what: 'last seen' },
    { time: opened, what: 'opened' },
    ...(reopened === null ? [] : [{ time: reopened, what: 'opened again' }]),
    ...(acknowledged === null ? [] : [{ time: acknowledged, what: by('acknowledged', acknowledgedBy) }]),
    ...(resolved === null ? [] : [{ time: resolved, what: by('resolved', resolvedBy) }]),
    ...notifications.map(({ created, receiver, type, state, attempts, reason }) => {
      const tries = attempts > 1 ? ` after ${attempts} attempts` : '';
      const why = reason === null ? '' : `: ${reason}`;
      return { time: created, what: `"${type}" to ${receiver}: ${state}${tries}${why}` };
    }),
  ];
  return moments.toSorted((a, b) => (a.time < b.time ? -1 : Number(a.time > b.time)));
}

/** `open (muted: silence SIL-3)`, `resolved (part of INC-1)` */
function stateOf({ state, mutedBy, mergedInto }: IncidentAnswer): string {
  if (mergedInto !== null) return `${state} (part of ${mergedInto})`;
  return mutedBy === null ? state : `${state} (muted: ${mutedBy})`;
}

function by(what: string, actor: string | null | undefined): string {
  return actor === null || actor === undefined ? what : `${what} by ${actor}`;
}
