/** Incidents as the API answers them. */
import { z } from 'zod';
import { text } from '../collector-client.ts';

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
export type IncidentAnswer = z.output<typeof incidentSchema>;

const actionSchema = z.looseObject({
  actor: text,
  action: text,
  /** Left out by collectors of earlier versions. */
  time: text.optional(),
  details: z.looseObject({ comment: text.optional() }).optional(),
});

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
    first: text,
    verdict: z.looseObject({ rule: text.nullable(), reason: text }).nullable(),
    process: z.looseObject({ pid: count, name: text, executable: text.optional() }).optional(),
    user: z.looseObject({ id: text, name: text.optional() }).optional(),
    orchestrator: z.looseObject({ resource: z.looseObject({ id: text }) }).optional(),
    flow: z
      .looseObject({
        source: z.looseObject({ ip: text, port: count }),
        destination: z.looseObject({ ip: text, port: count }),
        plasmawatch: z.looseObject({ state: text, service: text.nullable() }),
      })
      .nullable(),
  }),
});
export type MemberAnswer = z.output<typeof memberSchema>;

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

/** `GET /api/incidents/:id/evidence` */
export const evidenceAnswer = z.looseObject({
  evidence: z.array(
    z.looseObject({ agent: text, node: text, anomaly: text, packets: count, path: z.string() }),
  ),
});
export type EvidenceAnswer = z.output<typeof evidenceAnswer>['evidence'];

/** The place of an incident in the API. */
export function pathOf(id: string): string {
  return `/api/incidents/${encodeURIComponent(id)}`;
}

/** `open (muted: silence SIL-3)`, `resolved (part of INC-1)` */
export function stateOf({ state, mutedBy, mergedInto }: IncidentAnswer): string {
  if (mergedInto !== null) return `${state} (part of ${mergedInto})`;
  return mutedBy === null ? state : `${state} (muted: ${mutedBy})`;
}
