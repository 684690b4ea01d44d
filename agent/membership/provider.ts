/**
 * Who belongs to the cluster, as one source of that knowledge tells it.
 *
 * A provider publishes its whole view whenever it changes; `Membership` compares it with the one before. A
 * provider that cannot look at the moment publishes nothing, so that the last good view stays.
 */
import type { Address, Prefix } from '../../common/address.ts';

/** A node of the cluster. */
export interface Member {
  /** Ray's node id, a pod's name, or the address where there is nothing better. */
  readonly id: string;
  readonly addresses: readonly Address[];
  /** `head` or `worker`, where the source knows. */
  readonly role?: string;
  /** Ports by service, as far as the source knows them: `object-manager` to [43800]. */
  readonly ports: ReadonlyMap<string, readonly number[]>;
  /** Which provider said so: `file nodes.yaml`, `ray`. */
  readonly source: string;
}

/** What a group consists of at one moment. */
export interface GroupView {
  readonly members: readonly Member[];
  /** Address ranges that belong to the group without being single members. */
  readonly prefixes: readonly Prefix[];
}

export interface Provider {
  /** For logs and messages: `cidr`, `file nodes.yaml`. */
  readonly name: string;
  /**
   * Starts to watch, and resolves after the first view was published, or after the first look failed (which the
   * provider logs). `publish` may be called at any time until `stop`.
   */
  start(publish: (view: GroupView) => void): Promise<void>;
  /** Resolves when nothing of the provider runs any more. */
  stop(): Promise<void>;
}
