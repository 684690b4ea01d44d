/**
 * Who belongs to a cluster, as one agent has read it of the source (Ray's head, or the Kubernetes API) and the collector
 * hands it to the others, so that a thousand agents do not ask one head.
 *
 * Times are told as ages: the clocks of the machines differ. A view without `members` says that the last one over the
 * same connection still holds.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { parseAddress } from './address.ts';

/** With all ports and texts at their usual length so many fit into one message; a larger cluster is not shared. */
export const MAX_SHARED_MEMBERS = 3000;

const address = z
  .string()
  .max(45)
  .refine((text) => parseAddress(text) !== undefined, 'expected an IP address');
const port = z.number().int().min(1).max(65_535);

/** Names a cluster: what its own nodes agree on and no other cluster has. */
export const clusterKeySchema = z
  .string()
  .regex(/^[\w.:[\]/-]{1,200}$/, 'a cluster id, the address of a GCS, or the key of a set of pods');

const PODS_PREFIX = 'kubernetes/';

/** The key of the pods that a selector finds in a namespace. @param server what no other API server has */
export function keyOfPods(server: string, namespace: string, selector: string): string {
  return `${PODS_PREFIX}${shortHash(server)}/${namespace}/${shortHash(selector)}`;
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

/**
 * The key under which agents tell the addresses of their own nodes, and follow those of others. It is no cluster: each entry
 * is what one agent says of its node, whose name the collector puts there. The first address is the one by which sources
 * know the node, the others belong to it. A message holds entries that are new or changed; the rest stands. An agent says
 * nothing before the collector has answered under this key: an older one would take it for a cluster.
 */
export const NODES_KEY = 'nodes/v1';
/** The group of an entry whose addresses count for nothing yet: they are a hint for people. */
export const CLAIMED = 'claimed';
/** Addresses of one node. */
export const MAX_NODE_ADDRESSES = 16;

/** Where a view of this key comes from. */
export function sourceOfKey(cluster: string): 'ray' | 'kubernetes' {
  return cluster.startsWith(PODS_PREFIX) ? 'kubernetes' : 'ray';
}

const sharedMemberSchema = z.strictObject({
  id: z.string().min(1).max(128),
  addresses: z.array(address).min(1).max(MAX_NODE_ADDRESSES),
  role: z.enum(['head', 'worker']).optional(),
  group: z.string().max(64).optional(),
  isShared: z.literal(true).optional(),
  ports: z.array(z.tuple([z.string().regex(/^[a-z-]{1,32}$/), z.array(port).max(16)])).max(16),
});
export type SharedMember = z.infer<typeof sharedMemberSchema>;

const viewFields = {
  type: z.literal('members'),
  cluster: clusterKeySchema,
  /** How long ago the source said so, in ms. */
  ageMs: z.number().nonnegative().max(86_400_000),
  members: z.array(sharedMemberSchema).max(MAX_SHARED_MEMBERS).optional(),
};

/** Agent to collector: what the source said. */
export const membersReportSchema = z.strictObject(viewFields);
/** Agent to collector: hand me the views of this cluster; and, said again, have it read now: somebody unknown talks. */
export const followMembersSchema = z.strictObject({
  type: z.literal('follow-members'),
  cluster: clusterKeySchema,
  /** Where this node's own raylet has the head of the cluster: what an agent there reads needs no other's word. */
  heads: z.array(address).max(MAX_NODE_ADDRESSES).optional(),
});
/** Collector to agent: what another agent has read. */
export const sharedMembersSchema = z.strictObject({ ...viewFields, reporter: z.string().max(128) });
/**
 * Collector to agent: to a reader, that others ask for a view that is read now; to anybody else, that nobody reads it any more, so
 * that it is to ask the source itself.
 */
export const membersWantedSchema = z.strictObject({
  type: z.literal('members-wanted'),
  cluster: clusterKeySchema,
});

export type MembersReport = z.infer<typeof membersReportSchema>;
export type FollowMembers = z.infer<typeof followMembersSchema>;
export type SharedMembersMessage = z.infer<typeof sharedMembersSchema>;
export type MembersWanted = z.infer<typeof membersWantedSchema>;
