/**
 * The view of each cluster, handed from the agents that read it at the source to all agents of the cluster.
 *
 * One agent's word makes nobody a member elsewhere, unless the agent is on the head. A view is handed out where an admin named its
 * reader, where two agents of different nodes list the same addresses, and to those whose raylet has its head where the reader is;
 * until then it waits, and whoever can reads the source by itself. The readers go on
 * reading, and the others rest, because they are handed the view. Nothing is kept on disk: after a restart the readers send
 * their views again.
 */
import type { Logger } from '../../common/log.ts';
import type { CollectorMetrics } from '../metrics.ts';
import type { Clock } from '../../common/clock.ts';
import { NODES_KEY, type MembersReport, type SharedMembersMessage } from '../../common/shared-view.ts';
import {
  anyHeadView,
  cancelTimers,
  dropFollower,
  headView,
  isRead,
  makeRoomForPlace,
  newCluster,
  type Cluster,
} from './cluster.ts';
import { NodeAddresses, type NodeEntry } from './node-addresses.ts';
import {
  confirmedView,
  fingerprintOf,
  sameOr,
  viewOf,
  waitingView,
  type AcceptedView,
  type Follower,
  type Report,
  type SharedView,
} from './view.ts';

/** A reader that said nothing for so long is none any more. */
export const REPORTER_SILENT_MS = 15_000;
/** A reader asks a source of large answers no less often than this. */
const LONGEST_READ_INTERVAL_MS = 60_000;
/** The shortest time between two messages to an agent, in ms. */
const HAND_OUT_INTERVAL_MS = 1000;
/** The readers of a cluster are asked to read it now no more often. */
const REFRESH_INTERVAL_MS = 1000;
/** Clusters whose views are kept. */
const MAX_CLUSTERS = 200;
/** Clusters of which one agent may report, and which it may follow: it has a raylet or two, and a few groups of pods. */
const MAX_CLUSTERS_OF_AGENT = 8;
/** Views of one cluster that are kept at a time: two that agree are enough. */
const MAX_REPORTS = 8;
/** Two readers do not see a node that joins at the same moment: so long they are waited for before others take their turn. */
const DISAGREE_MS = 10_000;
/** A view that nobody renewed for so long is of a cluster that is no more: Ray gives a new id at each start. */
const FORGET_MS = 3_600_000;

/** An agent whose view counts without another's, of the clusters named, or of all. */
export interface NamedReporter {
  readonly agent: string;
  readonly clusters?: readonly string[] | undefined;
}

interface SharedViewsOptions {
  readonly clock: Clock;
  readonly logger?: Pick<Logger, 'warn' | 'info'> | undefined;
  readonly metrics: Pick<CollectorMetrics, 'members' | 'membersAsOf'>;
  /** Whom an admin named, the preferred one first. */
  readonly reporters?: readonly NamedReporter[];
  /** Whether an address is the unknown peer of an incident that is not resolved. */
  readonly isUnknownPeer?: ((address: string) => boolean) | undefined;
}

export class SharedViews {
  readonly #clock: Clock;
  readonly #logger: SharedViewsOptions['logger'];
  readonly #metrics: SharedViewsOptions['metrics'];
  readonly #reporters: readonly NamedReporter[];
  readonly #clusters = new Map<string, Cluster>();
  readonly #nodes: NodeAddresses;

  constructor({ clock, metrics, logger, reporters = [], isUnknownPeer }: SharedViewsOptions) {
    this.#nodes = new NodeAddresses({ clock, logger, isUnknownPeer });
    this.#clock = clock;
    this.#metrics = metrics;
    this.#logger = logger;
    this.#reporters = reporters;
  }

  /** Hands the agent what is known of the cluster, now and from now on; said again, it asks for a view that is read from now on. */
  follow(follower: Follower, key: string, heads: readonly string[] = []): void {
    if (key === NODES_KEY) {
      this.#nodes.follow(follower);
      return;
    }
    const cluster = this.#clusters.get(key) ?? this.#add(key);
    const isNew = !cluster.followers.has(follower);
    if (isNew) this.#makeRoomFor(follower);
    if (isNew) cluster.followers.set(follower, undefined);
    cluster.agentsAt = undefined;
    cluster.heads.set(follower, heads);
    if (isNew) this.#tell(key, cluster, follower);
    else this.#refresh(key, cluster, follower);
  }

  /** Takes what an agent has read, and hands the view out where it counts. */
  report(follower: Follower, { cluster: key, ageMs, members }: MembersReport): void {
    if (key === NODES_KEY) {
      this.#nodes.report(follower, members);
      return;
    }
    const cluster = this.#clusterToReport(key, follower);
    if (cluster === undefined) return;
    const nowMs = this.#clock.monotonic();
    const before = cluster.reports.get(follower.agent);
    const listed = members ?? before?.members;
    if (listed === undefined) {
      // It was told before, and not kept.
      follower.send({ type: 'members-wanted', cluster: key });
      return;
    }
    // A cluster without nodes has no agent that could report it: an empty list is a fault, or a lie.
    if (listed.length === 0) return;
    const fingerprint = members === undefined && before ? before.fingerprint : fingerprintOf(listed);
    // Whoever changes its list gives the turn to those who agree.
    if (before?.fingerprint !== fingerprint) cluster.reports.delete(follower.agent);
    if (before?.follower !== follower) cluster.agentsAt = undefined;
    cluster.reports.set(follower.agent, {
      follower,
      asOfMs: nowMs - ageMs,
      heardAtMs: nowMs,
      members: before === undefined ? listed : sameOr(before, { members: listed }),
      fingerprint,
    });
    this.#accept(key, cluster);
    this.#measure();
  }

  /** The agent's connection has ended. */
  leave(follower: Follower): void {
    this.#nodes.leave(follower);
    for (const [key, cluster] of this.#clusters) {
      // Before it is forgotten: whose view it was, and who rested on it.
      const resting = [...cluster.followers.keys()].filter(
        (other) => other !== follower && this.#viewFor(cluster, other)?.readers.includes(follower) === true,
      );
      dropFollower(cluster, follower);
      const { reports } = cluster;
      if (reports.get(follower.agent)?.follower === follower) reports.delete(follower.agent);
      if (resting.length > 0) {
        // The next reader's view goes out at once: until then others may ask the source, too.
        cluster.pause?.cancel();
        cluster.pause = undefined;
        for (const other of resting) other.send({ type: 'members-wanted', cluster: key });
      }
      this.#drop(key, cluster);
    }
  }

  views(): SharedView[] {
    // Views age by the monotonic clock, and people read when they are of by the wall clock.
    const aheadMs = this.#clock.now() - this.#clock.monotonic();
    return [...this.#clusters].flatMap(([cluster, known]) => {
      const { view, reports, followers } = known;
      const shown = view ?? anyHeadView(known) ?? waitingView([...reports.values()]);
      if (shown === undefined) return [];
      const { reporter, state, asOfMs, members } = shown;
      return [
        {
          cluster,
          reporter,
          state,
          asOfMs: Math.round(asOfMs + aheadMs),
          members,
          followers: followers.size,
        },
      ];
    });
  }

  /** What each agent says of the addresses of its node, and what counts of it. */
  nodes(): NodeEntry[] {
    return this.#nodes.nodes();
  }

  stop(): void {
    this.#nodes.stop();
    for (const cluster of this.#clusters.values()) cancelTimers(cluster);
    this.#clusters.clear();
  }

  /** Ray gives a cluster a new id at each start: an agent that follows one more has no use for the first any longer. */
  #makeRoomFor(follower: Follower): void {
    const followed = [...this.#clusters].filter(([, { followers }]) => followers.has(follower));
    for (const [key, cluster] of followed.slice(
      0,
      Math.max(0, followed.length - MAX_CLUSTERS_OF_AGENT + 1),
    )) {
      dropFollower(cluster, follower);
      this.#drop(key, cluster);
    }
  }

  /** Undefined where there are too many: of this agent, of the cluster, or of all. */
  #clusterToReport(key: string, follower: Follower): Cluster | undefined {
    const { agent } = follower;
    const known = this.#clusters.get(key);
    if (known?.reports.has(agent) === true) return known;
    this.#forgetOld();
    if (this.#countOf(({ reports }) => reports.has(agent)) >= MAX_CLUSTERS_OF_AGENT) return undefined;
    const isFull = known !== undefined && known.reports.size >= MAX_REPORTS && !this.#isNamed(agent, key);
    if (isFull && !makeRoomForPlace(known, follower)) return undefined;
    if (known === undefined || known.reports.size === 0) {
      if (this.#countOf(isRead) >= MAX_CLUSTERS && !this.#dropOneThatWaits()) return undefined;
    }
    // What was there may have been forgotten just now.
    return this.#clusters.get(key) ?? this.#add(key);
  }

  #add(key: string): Cluster {
    const cluster = newCluster();
    this.#clusters.set(key, cluster);
    return cluster;
  }

  /** Finds the view that counts, and hands it out; what counted before stays for those who are new, until it is old. */
  #accept(key: string, cluster: Cluster): void {
    this.#dropSilent(cluster);
    const reports = [...cluster.reports.values()];
    const named = this.#namedView(key, reports);
    if (named === undefined && this.#mayAgreeAgain(key, cluster)) return;
    const view = named ?? confirmedView(reports);
    if (view === undefined) {
      if (anyHeadView(cluster) === undefined) this.#sayThatItWaits(key, cluster);
      else this.#handOut(key, cluster);
      return;
    }
    if (cluster.isWaitingSaid)
      this.#logger?.info({ cluster: key, reader: view.reporter }, 'members confirmed');
    cluster.isWaitingSaid = false;
    const isSame = cluster.view?.fingerprint === view.fingerprint;
    // What is unchanged is the same list, so that it is not sent again.
    cluster.view = isSame && cluster.view ? { ...view, members: sameOr(cluster.view, view) } : view;
    this.#handOut(key, cluster);
  }

  /** Whether the readers differ, but not for long: who agrees with one of them must not displace the other for that. */
  #mayAgreeAgain(key: string, cluster: Cluster): boolean {
    const fingerprints = (cluster.view?.readers ?? []).map(
      ({ agent }) => cluster.reports.get(agent)?.fingerprint,
    );
    const doDiffer = !fingerprints.includes(undefined) && new Set(fingerprints).size > 1;
    if (!doDiffer) {
      cluster.disagreeSinceMs = undefined;
      return false;
    }
    const nowMs = this.#clock.monotonic();
    if (cluster.disagreeSinceMs === undefined) {
      // What one has seen the other, which may read once a minute only, is to see as well.
      const newest = [...cluster.reports.values()].at(-1)?.follower;
      const others = cluster.view?.readers.filter((reader) => reader !== newest);
      this.#askReaders(key, cluster, others);
    }
    cluster.disagreeSinceMs ??= nowMs;
    return nowMs - cluster.disagreeSinceMs < DISAGREE_MS;
  }

  #namedView(key: string, reports: readonly Report[]): AcceptedView | undefined {
    for (const { agent } of this.#reporters) {
      const report = reports.find(({ follower }) => follower.agent === agent);
      if (report !== undefined && this.#isNamed(agent, key)) return viewOf('named', [report]);
    }
    return undefined;
  }

  #isNamed(agent: string, key: string): boolean {
    return this.#reporters.some(
      (named) => named.agent === agent && (named.clusters === undefined || named.clusters.includes(key)),
    );
  }

  /** The view that counts for an agent, of readers that still read. */
  #viewFor(cluster: Cluster, follower: Follower): AcceptedView | undefined {
    const { view, reports } = cluster;
    const isRead = view?.readers.every((reader) => reports.get(reader.agent)?.follower === reader) ?? false;
    return isRead ? view : headView(cluster, follower);
  }

  #sayThatItWaits(key: string, cluster: Cluster): void {
    const isFresh =
      cluster.view !== undefined &&
      this.#clock.monotonic() - cluster.view.asOfMs < LONGEST_READ_INTERVAL_MS + REPORTER_SILENT_MS;
    if (cluster.isWaitingSaid || isFresh) return;
    cluster.isWaitingSaid = true;
    this.#logger?.warn(
      { cluster: key, agents: [...cluster.reports.keys()] },
      'members not handed out: they wait for a second agent that reads the same (or membership.reporters)',
    );
  }

  #dropSilent(cluster: Cluster | undefined): void {
    const nowMs = this.#clock.monotonic();
    for (const [agent, { heardAtMs }] of cluster?.reports ?? [])
      if (nowMs - heardAtMs >= REPORTER_SILENT_MS) cluster?.reports.delete(agent);
  }

  /** Makes room for a cluster, at the cost of one of which nothing was ever confirmed. */
  #dropOneThatWaits(): boolean {
    for (const [key, cluster] of this.#clusters) {
      if (cluster.view !== undefined || cluster.reports.size === 0) continue;
      cluster.reports.clear();
      this.#drop(key, cluster);
      return true;
    }
    return false;
  }

  #countOf(isMeant: (cluster: Cluster) => boolean): number {
    let count = 0;
    for (const cluster of this.#clusters.values()) if (isMeant(cluster)) count++;
    return count;
  }

  #measure(): void {
    const views = this.views().filter(({ state }) => state !== 'waiting');
    this.#metrics.members.set(views.reduce((total, { members }) => total + members.length, 0));
    this.#metrics.membersAsOf.set(
      views.length === 0 ? 0 : Math.min(...views.map(({ asOfMs }) => asOfMs)) / 1000,
    );
  }

  #forgetOld(): void {
    const oldestMs = this.#clock.monotonic() - FORGET_MS;
    for (const [key, cluster] of this.#clusters) {
      this.#dropSilent(cluster);
      if (cluster.view !== undefined && cluster.view.asOfMs < oldestMs) cluster.view = undefined;
      this.#drop(key, cluster);
    }
  }

  /** Forgets a cluster of which there is nothing. */
  #drop(key: string, cluster: Cluster): void {
    if (isRead(cluster) || cluster.followers.size > 0) return;
    cancelTimers(cluster);
    this.#clusters.delete(key);
  }

  /** Has the readers read the source now for a follower that has met somebody unknown, once a second for all of them. */
  #refresh(key: string, cluster: Cluster, follower: Follower): void {
    if (this.#viewFor(cluster, follower) === undefined) {
      follower.send({ type: 'members-wanted', cluster: key });
      return;
    }
    cluster.askers.set(follower, this.#clock.monotonic());
    if (cluster.refreshPause !== undefined) {
      cluster.isRefreshDue = true;
      return;
    }
    this.#askReaders(key, cluster);
  }

  /** Not within a second after the last time. */
  #askReaders(key: string, cluster: Cluster, readers: readonly Follower[] = this.#readersFor(cluster)): void {
    if (cluster.refreshPause !== undefined) return;
    cluster.isRefreshDue = false;
    for (const reader of readers) reader.send({ type: 'members-wanted', cluster: key });
    cluster.refreshPause = this.#clock.after(REFRESH_INTERVAL_MS, () => {
      cluster.refreshPause = undefined;
      if (cluster.isRefreshDue && cluster.askers.size > 0) this.#askReaders(key, cluster);
    });
  }

  /** Who reads the views of those that have met somebody unknown. */
  #readersFor(cluster: Cluster): Follower[] {
    const views = [...cluster.askers.keys()].map((asker) => this.#viewFor(cluster, asker));
    return [...new Set(views.flatMap((view) => view?.readers ?? []))];
  }

  /** Answers those that asked before the view was read, without waiting for the next message to all. */
  #answerAskers(key: string, cluster: Cluster): void {
    for (const [asker, sinceMs] of cluster.askers) {
      const view = this.#viewFor(cluster, asker);
      if (view === undefined || view.asOfMs < sinceMs) continue;
      cluster.askers.delete(asker);
      this.#tell(key, cluster, asker);
    }
  }

  #handOut(key: string, cluster: Cluster): void {
    this.#answerAskers(key, cluster);
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

  /** The readers are not told what they read: they go on reading. */
  #tell(key: string, cluster: Cluster, follower: Follower): void {
    const { followers, reports } = cluster;
    const view = this.#viewFor(cluster, follower);
    if (view === undefined || view.readers.includes(follower)) return;
    const { members } = view;
    const message: SharedMembersMessage = {
      type: 'members',
      cluster: key,
      reporter: view.reporter,
      ageMs: Math.max(0, this.#clock.monotonic() - view.asOfMs),
      ...(followers.get(follower) === members ? {} : { members: [...members] }),
    };
    if (!follower.send(message)) return;
    followers.set(follower, members);
    // It rests from now on, and what it has read before confirms nothing later.
    if (reports.get(follower.agent)?.follower === follower) reports.delete(follower.agent);
  }
}
