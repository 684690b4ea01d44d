/**
 * What plasmawatch says about the network: flow records and anomalies, in the JSON that the command line prints,
 * the agent sends and the collector stores. Field names are those of the Elastic Common Schema where it has one.
 *
 * The schemas are strict and bounded: they are the check of everything that a peer sends. Free text is made plain here,
 * once and for all who show it: no control characters, no line breaks, nothing that turns text around. It is mended and
 * not refused, because a local user chooses the name of a process, and must not be able to cut an agent off by it.
 */
import { z } from 'zod';
import { onOneLine } from './plain-text.ts';
import { TUNNEL_TYPES } from './tunnel.ts';

/** RFC 3339 in UTC with nanoseconds. */
const timestamp = z
  .string()
  .regex(/^\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/, 'an RFC 3339 time in UTC');
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const plainTextOf = (maxLength: number) => z.string().max(maxLength).transform(onOneLine);
const shortText = plainTextOf(256);

/** Stands for every service whose name a collector does not know, so that invented names are one service. */
export const OTHER_SERVICE = 'other';
/** The name of a service as the rules have them: each of Ray's, and those that rules define. */
const serviceName = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a service name: letters, digits and ._- only, at most 64');

/**
 * The state of a TCP connection, as seen by a third party.
 * - `attempt`: SYN without an answer, or answered and not acknowledged
 * - `refused`: SYN answered by RST
 * - `established`: the initiator has acknowledged the answer to its SYN
 * - `half-closed`: one side has sent FIN
 * - `closed`: both sides have sent FIN
 * - `reset`: RST after the handshake
 * - `midstream`: packets without a handshake
 */
export const FLOW_STATES = [
  'attempt',
  'refused',
  'established',
  'half-closed',
  'closed',
  'reset',
  'midstream',
] as const;
export type FlowState = (typeof FLOW_STATES)[number];

const ip = z.union([z.ipv4(), z.ipv6()]);

const endpointSchema = z.strictObject({
  ip,
  port: z.number().int().min(0).max(65_535),
  packets: count,
  /** Whole frames as they were on the wire. */
  bytes: count,
});

/** One TCP connection; `source` is the initiator. */
export const flowRecordSchema = z.strictObject({
  type: z.literal('flow'),
  event: z.strictObject({ start: timestamp, end: timestamp }),
  source: endpointSchema,
  destination: endpointSchema,
  network: z.strictObject({
    transport: z.literal('tcp'),
    type: z.enum(['ipv4', 'ipv6']),
    community_id: shortText,
  }),
  plasmawatch: z.strictObject({
    state: z.enum(FLOW_STATES),
    /** The Ray service at the responder's port, or null where the port is none. */
    service: serviceName.nullable(),
    /** TCP payload by the IP header's length, retransmissions included. */
    payload: z.strictObject({ source: count, destination: count }),
    /** Bytes of the TCP stream that were seen at least once: what is sent again counts once. */
    stream: z.strictObject({ source: count, destination: count }),
    /** Name of the network interface, where the source knows it. */
    interface: shortText.optional(),
    /**
     * The innermost tunnel that the connection's first packet came in, and the two ends of the outermost: `source` is
     * the one on the initiator's side.
     */
    tunnel: z
      .strictObject({
        type: z.enum(TUNNEL_TYPES),
        source: ip,
        destination: ip,
        /** The outermost tunnel's number where it has one: VNI, key, label or tunnel endpoint identifier. */
        id: z.number().int().min(0).max(0xffff_ffff).optional(),
      })
      .optional(),
  }),
});
export type FlowRecord = z.infer<typeof flowRecordSchema>;

export const VERDICT_REASONS = [
  'allowed',
  'no-rule',
  'expired',
  'outside-hours',
  'former-member',
  'wrong-service',
  'not-approved',
] as const;
export type VerdictReason = (typeof VERDICT_REASONS)[number];

export const verdictSchema = z.strictObject({
  allowed: z.boolean(),
  /** The first rule that matched; for an expired or outside-hours verdict the rule that would have. */
  rule: shortText.nullable(),
  reason: z.enum(VERDICT_REASONS),
});
export type Verdict = z.infer<typeof verdictSchema>;

export const ANOMALY_KINDS = [
  'unexpected-peer',
  'unexpected-destination',
  'former-member',
  'new-member',
  'foreign-process',
  'scan',
  'not-ray',
  'volume',
  'connection-attempts',
  'blind',
  'missing',
  'stale-membership',
  'unknown-membership',
  'raylet-conflict',
  'unconfirmed-port',
  'address-conflict',
] as const;
export type AnomalyKind = (typeof ANOMALY_KINDS)[number];

export const SEVERITIES = ['info', 'warning', 'critical'] as const;
export type Severity = (typeof SEVERITIES)[number];

/**
 * The local process at this node's end of a connection, in the field sets of ECS. What could not be found out is left
 * out: without privileges the kernel tells only the user of a socket.
 */
const socketOwnerFields = {
  process: z
    .strictObject({
      pid: z.number().int().positive().max(Number.MAX_SAFE_INTEGER),
      /** With the pid it names one process for ever. */
      start: timestamp.optional(),
      /** The kernel's name for it, which a program can change. */
      name: shortText,
      /** The file that runs, as the process has it mounted. */
      executable: plainTextOf(512).optional(),
      /** Cut, and without what looks like a secret. */
      command_line: plainTextOf(512).optional(),
    })
    .optional(),
  user: z.strictObject({ id: shortText, name: shortText.optional() }).optional(),
  container: z.strictObject({ id: shortText }).optional(),
  orchestrator: z
    .strictObject({
      type: z.literal('kubernetes'),
      resource: z.strictObject({ type: z.literal('pod'), id: shortText }),
    })
    .optional(),
};
const socketOwnerSchema = z.strictObject(socketOwnerFields);
export type SocketOwner = z.infer<typeof socketOwnerSchema>;

/** How many prefixes and ports an aggregate of attempts lists at most. */
export const MAX_LISTED_ATTEMPTS = 16;

/** Connection attempts without an answer, or refused, that are reported in one sum: where they came from and went to. */
export const attemptsSchema = z.strictObject({
  /** Sources by prefix (/24 of IPv4, /64 of IPv6), the most frequent first; the rest is the difference to `count`. */
  sources: z.array(z.strictObject({ prefix: plainTextOf(64), count })).max(MAX_LISTED_ATTEMPTS),
  /** Destination ports, the most frequent first. */
  ports: z
    .array(z.strictObject({ port: z.number().int().min(0).max(65_535), count }))
    .max(MAX_LISTED_ATTEMPTS),
});
export type Attempts = z.infer<typeof attemptsSchema>;

/**
 * What an agent reports. One anomaly is one story on one node (this peer, this service); the agent repeats it
 * with the same `id` and higher counts while the story goes on.
 */
export const anomalySchema = z.strictObject({
  type: z.literal('anomaly'),
  /** The same in all reports of one story; unique for an agent's lifetime. */
  id: shortText,
  kind: z.enum(ANOMALY_KINDS),
  severity: z.enum(SEVERITIES),
  /** The node that saw it. */
  node: shortText,
  /** The address that the story is about, where there is no flow to say so (`new-member`). */
  peer: ip.optional(),
  /** Null where no connection was judged (`blind`, `missing`, `stale-membership`, `unconfirmed-port` …). */
  verdict: verdictSchema.nullable(),
  /** The first connection of the story as it stands now; null where there is none. */
  flow: flowRecordSchema.nullable(),
  /** Which end of the flow is the node's own; left out where neither is, or nobody knows. */
  localEnd: z.enum(['source', 'destination']).optional(),
  /** Who has this node's end of one of the story's connections: the first that could be looked up. */
  ...socketOwnerFields,
  /** What a sum of connection attempts is made of (`connection-attempts`). */
  attempts: attemptsSchema.optional(),
  /** Connections in the story so far (for `blind`: lost packets; for `unknown-membership`: peers; for `missing` and `stale-membership`: 0). */
  count,
  /** Wire bytes of all connections in the story so far. */
  bytes: count,
  first: timestamp,
  last: timestamp,
  /** One sentence for a person. */
  message: plainTextOf(1024),
  /**
   * The story is over, and nothing follows: only of kinds that end by themselves (`blind`, `missing`,
   * `stale-membership`, `unknown-membership`).
   */
  ended: z.literal(true).optional(),
});
export type Anomaly = z.infer<typeof anomalySchema>;

/** An anomaly that is not about a connection: of a node, or of the cluster. */
export function anomalyWithoutFlow(
  details: Omit<Anomaly, 'type' | 'verdict' | 'flow' | 'count' | 'bytes'> & { readonly count?: number },
): Anomaly {
  return { type: 'anomaly', verdict: null, flow: null, count: 0, bytes: 0, ...details };
}

/** A flow with its verdict, as the agent sends it when a watched connection ends or at intervals. */
export const flowReportSchema = z.strictObject({
  type: z.literal('flow-report'),
  node: shortText,
  flow: flowRecordSchema,
  verdict: verdictSchema,
  /** Who has this node's end of it, where that was looked up. */
  ...socketOwnerFields,
});
export type FlowReport = z.infer<typeof flowReportSchema>;

/** Enough for 64 packets with all their headers and some payload; in base64. */
export const MAX_EVIDENCE_BYTES = 131_072;

/** The first packets of an anomaly's connection: headers, and payload only as the rules say. Sent once. */
export const evidenceReportSchema = z.strictObject({
  type: z.literal('evidence'),
  node: shortText,
  /** The `id` of the anomaly, which was reported before. */
  anomaly: shortText,
  packets: count,
  /** A pcapng section in base64. */
  pcapng: z.base64().max(MAX_EVIDENCE_BYTES),
});
export type EvidenceReport = z.infer<typeof evidenceReportSchema>;

export const reportSchema = z.discriminatedUnion('type', [
  anomalySchema,
  flowReportSchema,
  evidenceReportSchema,
]);
/** What travels from agent to collector. */
export type Report = z.infer<typeof reportSchema>;
