/**
 * The newest view of each cluster, handed from the agent that reads it at the source to all agents of the cluster.
 *
 * Who reports first is the reporter, and the others rest, because they are handed its view. Another one takes over when
 * the reporter is gone or has been silent. Nothing is kept on disk: after a restart the reporter sends its view again.
 */
import type { CollectorMetrics } from '../metrics.ts';
import type { Clock, Timer } from '../../common/clock.ts';
import type {
  MembersReport,
  MembersWanted,
  SharedMember,
  SharedMembersMessage,
} from '../../common/shared-view.ts';

/** A reporter that said nothing for so long has lost its turn. */
export const REPORTER_SILENT_MS = 15_000;
/** An agent is told no more often. */
const HAND_OUT_INTERVAL_MS = 1000;
const MAX_CLUSTERS = 200;
/** A view that nobody renewed for so long is of a cluster that is no more: Ray gives a new id at each start. */
const FORGET_MS = 3_600_000;

/** One agent's connection. */
export interface Follower {
  readonly agent: string;
  /** Returns whether the message went out; a peer that does not read is told later. */
  readonly send: (message: SharedMembersMessage | MembersWanted) => boolean;
}

/** A view as the API shows it. */
export interface SharedView {
  readonly cluster: string;
  readonly reporter: string;
  readonly asOfMs: number;
  readonly members: readonly SharedMember[];
  readonly followers: number;
}

interface Cluster {
  view: { reporter: Follower; asOfMs: number; heardAtMs: number; members: SharedMember[] } | undefined;
  /** The members that each follower has been told. */
  readonly followers: Map<Follower, readonly SharedMember[] | undefined>;
  /** Runs until the next time that followers may be told. */
  pause: Timer | undefined;
  isNews: boolean;
}

interface SharedViewsOptions {
  readonly clock: Clock;
  readonly metrics: Pick<CollectorMetrics, 'members' | 'membersAsOf'>;
}

export class SharedViews {
  readonly #clock: Clock;
  readonly #metrics: Pick<CollectorMetrics, 'members' | 'membersAsOf'>;
  readonly #clusters = new Map<string, Cluster>();

  constructor({ clock, metrics }: SharedViewsOptions) {
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** Hands the agent what is known of the cluster, now and from now on. */
  follow(follower: Follower, key: string): void {
    const cluster = this.#cluster(key);
    if (cluster === undefined || cluster.followers.has(follower)) return;
    cluster.followers.set(follower, undefined);
    this.#tell(key, cluster, follower);
  }

  /** Takes a view of the reporter, or of another agent where the reporter is silent; others are turned away. */
  report(follower: Follower, { cluster: key, ageMs, members }: MembersReport): void {
    const cluster = this.#cluster(key);
    if (cluster === undefined) return;
    const nowMs = this.#clock.now();
    const { view } = cluster;
    const isReporter = view?.reporter === follower;
    if (view !== undefined && !isReporter && nowMs - view.heardAtMs < REPORTER_SILENT_MS) return;
    const listed = members ?? (isReporter ? view.members : undefined);
    if (listed === undefined) {
      // It was told before, when another agent was the reporter, and not taken then.
      follower.send({ type: 'members-wanted', cluster: key });
      return;
    }
    // A cluster without nodes has no agent that could report it: an empty list is a fault, or a lie.
    if (listed.length === 0) return;
    cluster.view = { reporter: follower, asOfMs: nowMs - ageMs, heardAtMs: nowMs, members: listed };
    this.#forgetOld();
    this.#measure();
    this.#handOut(key, cluster);
  }

  /** The agent's connection has ended. */
  leave(follower: Follower): void {
    for (const [key, cluster] of this.#clusters) {
      cluster.followers.delete(follower);
      if (cluster.view?.reporter !== follower) continue;
      cluster.view.heardAtMs = -Infinity;
      // The next reporter's view goes out at once: until then others may ask the source, too.
      cluster.pause?.cancel();
      cluster.pause = undefined;
      for (const other of cluster.followers.keys()) other.send({ type: 'members-wanted', cluster: key });
    }
  }

  views(): SharedView[] {
    return [...this.#clusters].flatMap(([cluster, { view, followers }]) =>
      view === undefined
        ? []
        : [
            {
              cluster,
              reporter: view.reporter.agent,
              asOfMs: view.asOfMs,
              members: view.members,
              followers: followers.size,
            },
          ],
    );
  }

  stop(): void {
    for (const { pause } of this.#clusters.values()) pause?.cancel();
    this.#clusters.clear();
  }

  /** Undefined where there are too many. */
  #cluster(key: string): Cluster | undefined {
    const known = this.#clusters.get(key);
    if (known !== undefined) return known;
    if (this.#clusters.size >= MAX_CLUSTERS) this.#forgetOld();
    if (this.#clusters.size >= MAX_CLUSTERS) return undefined;
    const cluster: Cluster = { view: undefined, followers: new Map(), pause: undefined, isNews: false };
    this.#clusters.set(key, cluster);
    return cluster;
  }

  #measure(): void {
    const views = this.views();
    this.#metrics.members.set(views.reduce((total, { members }) => total + members.length, 0));
    this.#metrics.membersAsOf.set(
      views.length === 0 ? 0 : Math.min(...views.map(({ asOfMs }) => asOfMs)) / 1000,
    );
  }

  #forgetOld(): void {
    const oldestMs = this.#clock.now() - FORGET_MS;
    for (const [key, cluster] of this.#clusters) {
      if (cluster.view !== undefined && cluster.view.asOfMs < oldestMs) cluster.view = undefined;
      if (cluster.view !== undefined || cluster.followers.size > 0) continue;
      cluster.pause?.cancel();
      this.#clusters.delete(key);
    }
  }

  #handOut(key: string, cluster: Cluster): void {
    if (cluster.pause !== undefined) {
      cluster.isNews = true;
      return;
    }
    cluster.isNews = false;
    for (const follower of cluster.followers.keys()) this.#tell(key, cluster, follower);
    cluster.pause = this.#clock.after(HAND_OUT_INTERVAL_MS, () => {
      cluster.pause = undefined;
      if (cluster.isNews) this.#handOut(key, cluster);
    });
  }

  #tell(key: string, { view, followers }: Cluster, follower: Follower): void {
    if (view === undefined || view.heardAtMs === -Infinity || view.reporter === follower) return;
    const { members } = view;
    const message: SharedMembersMessage = {
      type: 'members',
      cluster: key,
      reporter: view.reporter.agent,
      ageMs: Math.max(0, this.#clock.now() - view.asOfMs),
      ...(followers.get(follower) === members ? {} : { members }),
    };
    if (follower.send(message)) followers.set(follower, members);
  }
}
