/**
 * Messages between agent and collector: JSON text over one WebSocket that the agent opens.
 *
 * The agent says `hello`, the collector answers `welcome` with the last sequence number it has on disk. Then the
 * agent sends `reports` in order, the collector acknowledges the highest one after its commit, and `heartbeat`
 * carries the agent's counters. `ask-time`, which the collector sends before the welcome and now and then afterwards,
 * is answered with `time`: so it knows how far the agent's clock is from its own. Beside that, `members` hands views of
 * the cluster about (shared-view.ts), and `rules` those of the collector (handed-rules.ts). An agent that is stopped says `goodbye`: its silence is then no alarm. A message
 * that fails its schema, or reports of a node other than the agent's own, end the connection with close code 1008 (policy
 * violation); another protocol version with 4001.
 */
import { z } from 'zod';
import { reportSchema } from './event.ts';
import { followRulesSchema, handedRulesSchema, rulesInUseSchema } from './handed-rules.ts';
import { parseJson } from './json.ts';
import { onOneLine } from './plain-text.ts';
import {
  followMembersSchema,
  membersReportSchema,
  membersWantedSchema,
  sharedMembersSchema,
} from './shared-view.ts';

export const PROTOCOL_VERSION = 1;
/** The path of the WebSocket on the collector. */
export const INGEST_PATH = '/v1/agent';
/** No message may be longer; both sides set it as `ws`'s maxPayload. Bytes. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;
/** No message may carry more reports. */
export const MAX_BATCH_REPORTS = 500;
export const CLOSE_WRONG_VERSION = 4001;
export const CLOSE_POLICY_VIOLATION = 1008;

const sequence = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
/** The identity of an agent: letters, digits and `._:-`, so that it is safe in a path, a label and a log. */
export const agentNameSchema = z
  .string()
  .regex(/^[A-Za-z0-9._:-]{1,128}$/, 'letters, digits and ._:- only, at most 128');

/** Milliseconds since the epoch, up to the year 9999. */
const time = z.number().int().nonnegative().max(253_402_300_799_999);

export const helloSchema = z.strictObject({
  type: z.literal('hello'),
  protocol: z.number().int(),
  agent: agentNameSchema,
  /** Identity of the agent's spool: a new spool starts a new sequence. */
  epoch: z.uuid(),
  version: z.string().max(64).transform(onOneLine),
  /** How packets are captured: `ring`, `cap`, `file`. */
  capture: z.string().max(64).transform(onOneLine),
  /** SHA-256 of the agent's own key, in hex, while it presents the one-time token that it exchanges for that. */
  keyDigest: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
});

export const reportsSchema = z.strictObject({
  type: z.literal('reports'),
  reports: z
    .array(z.strictObject({ sequence, report: reportSchema }))
    .min(1)
    .max(MAX_BATCH_REPORTS),
});

export const heartbeatSchema = z.strictObject({
  type: z.literal('heartbeat'),
  /** Counters by name; null where the capture cannot know (`dropped` with libpcap's binding). */
  counters: z
    .record(z.string().regex(/^[a-z][a-z0-9_]{0,63}$/), z.number().nonnegative().nullable())
    .refine((counters) => Object.keys(counters).length <= 64, 'at most 64 counters'),
  /** What the agent runs. */
  rules: rulesInUseSchema.optional(),
});

/** Somebody stops the agent. */
export const goodbyeSchema = z.strictObject({ type: z.literal('goodbye') });

/** The agent's answer to `ask-time`, with the times of RFC 5905, section 8. */
export const timeSchema = z.strictObject({
  type: z.literal('time'),
  /** Of the question that is answered. */
  originMs: time,
  /** When the question came and when this leaves, by the agent's clock. */
  receivedMs: time,
  sentMs: time,
});

export const agentMessageSchema = z.discriminatedUnion('type', [
  helloSchema,
  reportsSchema,
  heartbeatSchema,
  goodbyeSchema,
  timeSchema,
  membersReportSchema,
  followMembersSchema,
  followRulesSchema,
]);
export type Hello = z.infer<typeof helloSchema>;
export type Reports = z.infer<typeof reportsSchema>;
export type Heartbeat = z.infer<typeof heartbeatSchema>;
export type TimeAnswer = z.infer<typeof timeSchema>;
export type AgentMessage = z.infer<typeof agentMessageSchema>;

export const collectorMessageSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('welcome'), protocol: z.number().int(), lastSequence: sequence }),
  z.strictObject({ type: z.literal('ack'), sequence }),
  /** What time is it there? With the collector's own. */
  z.strictObject({ type: z.literal('ask-time'), originMs: time }),
  sharedMembersSchema,
  membersWantedSchema,
  handedRulesSchema,
]);
export type CollectorMessage = z.infer<typeof collectorMessageSchema>;

export type ParsedMessage<Message> = { ok: true; message: Message } | { ok: false; problem: string };

/** Parses and checks one message; the problem is one short line and quotes nothing of the content. */
export function parseMessage<Schema extends z.ZodType>(
  schema: Schema,
  text: string,
): ParsedMessage<z.infer<Schema>> {
  const value = parseJson(text);
  if (value === undefined) return { ok: false, problem: 'not JSON' };
  const result = schema.safeParse(value);
  if (result.success) return { ok: true, message: result.data };
  return { ok: false, problem: describeIssue(result.error.issues[0]) };
}

/** Where and what, without the peer's words: the names of unknown fields and of counters are the peer's. */
function describeIssue(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return 'invalid';
  const path = issue.path[0] === 'counters' ? 'counters' : issue.path.join('.');
  const what = issue.code === 'unrecognized_keys' ? 'an unknown field' : issue.message;
  return `${path === '' ? 'message' : path}: ${what}`.slice(0, 120);
}
