/**
 * Who belongs to the cluster, as one source of that knowledge tells it.
 *
 * A provider publishes its whole view after every good look, changed or not, so that its age is known; `Membership`
 * compares it with the one before. What a provider is told stands as long as nothing newer is known: a source that
 * fails or lies empties nothing.
 */
import type { Address, Prefix } from '../../common/address.ts';
import type { PortRange } from '../../rules/schema.ts';

/** A node of the cluster. */
export interface Member {
  /** Ray's node id, a pod's name, or one of the addresses where there is nothing better. */
  readonly id: string;
  /** The same node has another id after each start, as Ray's have: its addresses tell whether it was there before. */
  readonly hasFleetingId?: true;
  readonly addresses: readonly Address[];
  /** `head` or `worker`, where the source knows. */
  readonly role?: string;
  /** The group of nodes that it was started in (KubeRay's worker group), where the source vouches for it. */
  readonly group?: string;
  /** Ports by service, as far as the source knows them: `object-manager` to [43800]. */
  readonly ports: ReadonlyMap<string, readonly number[]>;
  /**
   * Ports by service that somebody claims whose word is not proven: other agents, a raylet that could be anybody's. They are
   * watched as well, and take nothing away from what is watched without them.
   */
  readonly claimedPorts?: ReadonlyMap<string, readonly number[]>;
  /** Each of its workers listens at a port of this range, where the source knows. */
  readonly workerPorts?: PortRange;
  /**
   * Since when it is one, in ms since the epoch, where the source tells it; else the time of the first view with it.
   */
  readonly sinceMs?: number;
  /** Which provider said so: `file nodes.yaml`, `ray`. */
  readonly source: string;
  /** Its addresses are those of its host, and of whatever else runs there: a pod with `hostNetwork`. */
  readonly isShared?: true;
  /**
   * Known from this node itself, whatever the source says: its own addresses, and the head that its raylet belongs to.
   */
  readonly isLocal?: true;
  /** It is of this node's knowledge, but no address of this machine: where members need approval, it does, too. */
  readonly needsApproval?: true;
  /** The agents that read the source, where others did: their first list is news as well. */
  readonly readBy?: string;
}

/** What a group consists of at one moment. */
export interface GroupView {
  readonly members: readonly Member[];
  /** Address ranges that belong to the group without being single members. */
  readonly prefixes: readonly Prefix[];
  /**
   * When the source said so, in ms since the epoch: of an answer that is shown again because there is no newer one, the
   * time of that answer. Left out by sources that never age, such as ranges in the rules.
   */
  readonly asOfMs?: number;
  /** Members are missing for a reason that the provider knows: its source has not answered yet. */
  readonly isPartial?: true;
  /** Ids of members that the source says have ended. The others that are missing may have been left out by mistake. */
  readonly ended?: readonly string[];
  /** Host names that the source tells of and that do not resolve at the moment. */
  readonly unresolvedNames?: readonly string[];
}

/** How a look ended: with an answer of the source, or without one although it has answered before. */
export type LookResult = 'answered' | 'failed';

export interface Provider {
  /** For logs and messages: `cidr`, `file nodes.yaml`. */
  readonly name: string;
  /**
   * The rules themselves name its members, or the file with them: they need no further approval. What stands in the
   * rules is void when they change.
   */
  readonly given?: 'in the rules' | 'in a file';
  /**
   * Starts to watch, and resolves after the first view was published, or after the first look failed (which the
   * provider logs). `publish` may be called at any time until `stop`.
   */
  start(publish: (view: GroupView) => void): Promise<void>;
  /**
   * Looks again now, past every cache, because somebody unknown talks; resolves after the view was published.
   * Called at most once a second. A source of which nothing new can be learnt (ranges) has no such method, and one
   * that never gave an answer to wait for resolves with `answered`.
   */
  refresh?(): Promise<LookResult>;
  /** Resolves when nothing of the provider runs any more. */
  stop(): Promise<void>;
}
