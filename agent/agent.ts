/** Joins capture, pipeline, rules, membership and uplink; starts and stops them; has no logic of its own. */
import { CaptureLoop } from './capture/loop.ts';
import { PacketTime, wallAheadMs } from './capture/packet-time.ts';
import type { PacketSource, PortSet } from './capture/source.ts';
import type { ProcessFinder } from './detect/attribution.ts';
import { BlindDetector, type Unrecorded } from './detect/blind.ts';
import { FirstList } from './detect/first-list.ts';
import { KnownMembers, type MembersStore } from './detect/known-members.ts';
import { reportNewMembers } from './detect/new-members.ts';
import { RayletConflictDetector } from './detect/raylet-conflict.ts';
import type { Reporting } from './detect/reporting.ts';
import { StaleMembershipDetector } from './detect/stale-membership.ts';
import { SETTLE_MS, type Look } from './detect/unexpected.ts';
import { UnknownMembershipDetector, type MembershipState } from './detect/unknown-membership.ts';
import { UnseenConnections } from './detect/unseen.ts';
import type { TunnelInterface } from './capture/linux/tunnel-interfaces.ts';
import { FreshLook } from './membership/fresh-look.ts';
import { createMembership, type MembershipDependencies } from './membership/from-rules.ts';
import type { Membership } from './membership/membership.ts';
import { isConfirmed, portInWords, type OwnPort } from './membership/own-port.ts';
import { OwnPortWatch } from './own-port-watch.ts';
import type { LookResult } from './membership/provider.ts';
import { agentCounters, type AgentCounters } from './metrics.ts';
import { Pipeline, type PipelineTotals } from './pipeline.ts';
import type { SocketRoles } from './process/socket-roles.ts';
import type { SocketOwnerCounters } from './process/socket-owners.ts';
import { inWallTime } from './report-times.ts';
import type { ProcessSocket } from './ray/sockets.ts';
import type { Uplink } from './uplink/client.ts';
import { importanceOf, type Importance } from './uplink/importance.ts';
import { ReportQueue } from './uplink/report-queue.ts';
import type { Spool } from './uplink/spool.ts';
import type { Address } from '../common/address.ts';
import { ClockWatch } from '../common/clock-watch.ts';
import type { Timer } from '../common/clock.ts';
import { PlasmawatchError } from '../common/errors.ts';
import type { Anomaly, Report } from '../common/event.ts';
import type { Ruleset } from '../rules/match.ts';
import { DEFAULT_TIMES, FIRST_LIST_MS } from '../rules/membership.ts';
import { OBJECT_MANAGER } from '../rules/schema.ts';

const TICK_INTERVAL_MS = 1000;
/** How often losses are looked at, and long connections reported. */
const SURVEY_INTERVAL_MS = 10_000;
const STALE_AFTER_MS = 300_000;

export interface AgentOptions {
  /** This node's name in reports. */
  readonly node: string;
  readonly ruleset: Ruleset;
  /** Bound of the flow table. */
  readonly maxFlows: number;
  /** Whether packets are captured on all interfaces; so it is when left out. */
  readonly isCapturedEverywhere?: boolean;
  /** The age past which it is reported that nobody tells who is a member, in ms; five minutes when left out. */
  readonly staleAfterMs?: number;
  /** Whether a raylet runs on this machine; so it is when left out. */
  readonly isRayExpected?: boolean;
  /** The time without a confirmed object-manager port past which it is reported, in ms; five minutes when left out. */
  readonly confirmWithinMs?: number;
}

export interface AgentDependencies extends MembershipDependencies {
  /** Every address of this machine. */
  readonly localAddresses: () => readonly string[];
  /** Opens a packet source for these ports; a source that tells tunnels apart by itself uses the seed. */
  readonly openSource: (ports: PortSet, tunnelSeed: number) => Promise<PacketSource>;
  /** Stays the caller's: to be closed after `stop`. */
  readonly spool: Spool;
  /** Makes the uplink once the way of capture is known. */
  readonly createUplink: (capture: string, counters: () => AgentCounters) => Uplink;
  /** The processes at this node's ends of connections, and how many looks that took. */
  readonly processes: ProcessFinder;
  /** Who opened the connections of this node's sockets. */
  readonly socketRoles?: Pick<SocketRoles, 'of'>;
  /** The interfaces of this machine that end tunnels. */
  readonly tunnelInterfaces?: () => readonly TunnelInterface[];
  readonly processCounters: () => SocketOwnerCounters;
  /**
   * The TCP connections that this node's raylets opened; the same list as before where none was made since. Rejects where the
   * raylets cannot be looked for.
   */
  readonly rayletSockets: () => Promise<readonly ProcessSocket[]>;
  /** Whether somebody listens at an endpoint of this machine; left out where that cannot be seen. */
  readonly isListenedAt?: (address: Address, port: number) => Promise<boolean>;
  /** The name of a user of this machine; undefined where it has none, or none is asked for. */
  readonly userName?: (userId: number) => Promise<string | undefined>;
  /** This machine's addresses with the length of their network; `localAddresses` where left out. */
  readonly localNetworks?: () => readonly string[];
  /** Keeps who is known as a member over a restart; left out, nobody is. */
  readonly membersStore?: MembersStore;
  /** Unique ids of anomalies. */
  readonly createId: () => string;
  /** Numbers from 0 up to 1. */
  readonly random: () => number;
  /** How many rules of the collector were refused. */
  readonly rulesRefused: () => number;
  /** Called with each anomaly that reached the disk. */
  readonly onAnomaly: (anomaly: Anomaly) => void;
}

export class Agent {
  readonly #dependencies: AgentDependencies;
  readonly #pipeline: Pipeline;
  readonly #capture: CaptureLoop;
  /** What the detectors report with. */
  readonly #reporting: Reporting;
  readonly #blind: BlindDetector;
  readonly #stale: StaleMembershipDetector;
  readonly #unknown: UnknownMembershipDetector;
  readonly #firstList: FirstList;
  readonly #ownPort: OwnPortWatch;
  readonly #conflict: RayletConflictDetector;
  readonly #unseen: UnseenConnections;
  readonly #known: KnownMembers;
  readonly #freshLook: FreshLook;
  readonly #queue: ReportQueue;
  readonly #timers: Timer[] = [];
  readonly #clockWatch: ClockWatch;
  readonly #clockCounts = { steps: 0, pauses: 0 };
  #membership: Membership;
  #ruleset: Ruleset;
  /** As the log said it last. */
  #isMembershipUnknown = false;
  #uplink: Uplink | undefined;
  /** Whether the last look at the raylets still runs: however long it takes, there is one at a time. */
  #isLookingAtRaylets = false;
  #socketLook: Promise<void> = Promise.resolve();
  /** The last list of the raylets' connections. */
  #rayletSockets: readonly ProcessSocket[] | undefined;
  /** Reports of anomalies that reached the disk. */
  #anomalies = 0;
  /** Up to the last survey. */
  #turnedAwayEvidence = 0;

  /** @param membership that of `options.ruleset`, started; the agent stops it */
  private constructor(
    options: AgentOptions,
    { membership, known }: { readonly membership: Membership; readonly known: KnownMembers },
    dependencies: AgentDependencies,
  ) {
    const { node, ruleset, maxFlows } = options;
    const { clock, logger, spool, createId } = dependencies;
    this.#dependencies = dependencies;
    this.#membership = membership;
    this.#ruleset = ruleset;
    this.#queue = new ReportQueue({ spool, clock, logger, stored: (reports) => this.#stored(reports) });
    const aheadMs = () => wallAheadMs(clock);
    const push = (report: Report, importance?: Importance) =>
      this.#queue.push(inWallTime(report, aheadMs()), importance);
    this.#reporting = { node, createId, report: push, wallAheadMs: aheadMs };
    this.#blind = new BlindDetector(this.#reporting);
    const staleAfterMs = options.staleAfterMs ?? STALE_AFTER_MS;
    this.#stale = new StaleMembershipDetector(this.#reporting, staleAfterMs);
    this.#unknown = new UnknownMembershipDetector(this.#reporting, staleAfterMs);
    const { graceMs, firstListMs = FIRST_LIST_MS } = dependencies.times ?? DEFAULT_TIMES;
    // The membership is another one after each change of the rules.
    const currentMembership = (): Membership => this.#membership;
    this.#firstList = new FirstList({
      membership: {
        get hasList() {
          return currentMembership().hasList;
        },
        get awaitedSinceMs() {
          return currentMembership().awaitedSinceMs;
        },
      },
      longestMs: firstListMs,
      settleMs: SETTLE_MS,
      graceMs,
      localNetworks: dependencies.localNetworks ?? dependencies.localAddresses,
      knownAddresses: () => this.#membership.members().flatMap(({ addresses }) => addresses),
    });
    this.#ownPort = new OwnPortWatch({
      clock,
      logger,
      reporting: this.#reporting,
      isRayExpected: options.isRayExpected,
      confirmWithinMs: options.confirmWithinMs,
      findRaylets: dependencies.findRaylets,
      localAddresses: dependencies.localAddresses,
      isListenedAt: dependencies.isListenedAt,
      services: () => this.#ruleset.services,
      members: () => this.#membership.members(),
      guessed: () => this.#pipeline.services.commonPorts(OBJECT_MANAGER).map(({ first }) => first),
    });
    this.#conflict = new RayletConflictDetector({
      ...this.#reporting,
      userName: dependencies.userName ?? (() => Promise.resolve(undefined)),
    });
    this.#clockWatch = new ClockWatch({
      clock,
      logger,
      stepped: () => {
        this.#clockCounts.steps++;
        return true;
      },
      paused: () => {
        this.#clockCounts.pauses++;
      },
    });
    this.#known = known;
    const hashSeed = Math.floor(dependencies.random() * 2 ** 32);
    this.#pipeline = new Pipeline({
      node,
      maxFlows,
      createId,
      policy: { ruleset, membership },
      reportAnomaly: (anomaly, phase) => push(anomaly, importanceOf(anomaly, phase)),
      reportFlow: push,
      reportEvidence: push,
      wallAheadMs: aheadMs,
      wantPackets: (direction, packets) => this.#capture.wantPackets(direction, packets),
      interfaceName: (index) => this.#capture.interfaceName(index),
      processes: dependencies.processes,
      ...(dependencies.socketRoles === undefined ? {} : { socketRoles: dependencies.socketRoles }),
      tunnels: {
        interfaces: dependencies.tunnelInterfaces ?? (() => []),
        isLocal: (address) => dependencies.processes.isLocal(address),
        isUnwrappedSeen: options.isCapturedEverywhere ?? true,
      },
      reportedLater: () => this.#queue.flush(),
      countOnOneInterface: true,
      hashSeed,
      waiting: {
        clock,
        graceMs,
        ask: () => this.#freshLook.ask(),
        firstList: this.#firstList,
      },
    });
    this.#freshLook = new FreshLook({
      clock,
      settleMs: SETTLE_MS,
      look: () => this.#lookAtMembers(),
      decide: (look) => this.#decideHeld(look),
    });
    this.#unseen = new UnseenConnections({
      watchedPorts: () => this.#capture.ports,
      isKnown: (connection) => this.#pipeline.knows(connection),
    });
    this.#capture = new CaptureLoop({
      open: (ports) => dependencies.openSource(ports, hashSeed),
      sink: new PacketTime(
        {
          frame: (frame) => this.#pipeline.frame(frame),
          counts: (counts) => this.#pipeline.counts(counts),
          blockEnd: () => this.#queue.flush(),
        },
        clock,
      ),
      clock,
      logger,
    });
  }

  /**
   * Starts an agent: membership first, so that the first packet is judged by it, then the capture, then the uplink.
   * @throws PlasmawatchError when nothing can be captured here
   */
  static async start(options: AgentOptions, dependencies: AgentDependencies): Promise<Agent> {
    const membership = createMembership(options.ruleset, dependencies);
    await membership.start();
    const known = new KnownMembers(dependencies.membersStore);
    const { keepMs } = dependencies.times ?? DEFAULT_TIMES;
    const { clock } = dependencies;
    const aheadMs = wallAheadMs(clock);
    const lists = known.lastLists(clock.now(), keepMs);
    membership.recall(
      lists.map(({ source, members, asOfMs }) => ({ source, members, asOfMs: asOfMs - aheadMs })),
    );
    const agent = new Agent(options, { membership, known }, dependencies);
    try {
      await agent.#begin();
      return agent;
    } catch (error) {
      await agent.stop();
      throw error;
    }
  }

  /** The name of the packet source: `ring`, `cap`, `file`. */
  get captureName(): string {
    return this.#capture.name;
  }

  /** The ports that are watched now. */
  get ports(): PortSet {
    return this.#pipeline.services.ports();
  }

  /** This node's object-manager port, and who says so. */
  get ownPort(): OwnPort | undefined {
    return this.#ownPort.port;
  }

  /** The cluster members that are known by name now. */
  get membership(): Membership {
    return this.#membership;
  }

  /** Takes over new rules: open connections are judged again, the capture follows the ports. */
  async setRules(ruleset: Ruleset): Promise<void> {
    const membership = createMembership(ruleset, this.#dependencies);
    const before = this.#membership;
    membership.inherit(before);
    await membership.start();
    this.#membership = membership;
    this.#ruleset = ruleset;
    membership.onChange(() => this.#membershipChanged());
    this.#reportNewMembers();
    this.#pipeline.setPolicy({ ruleset, membership });
    this.#followPorts();
    await before.stop();
  }

  /** What the agent does now, in a few words; and why it does not do its work, where a new start may help. */
  state(): { readonly status: string; readonly fault: string | undefined } {
    const ports = this.ports.size;
    const members = this.#membership.nodeCount();
    const { pending } = this.#dependencies.spool.counters();
    const isConnected = this.#uplink?.counters().connected === 1;
    const { ownPort } = this;
    return {
      status: [
        this.#capture.isCapturing ? `watching ${counted(ports, 'port')}` : 'blind: nothing is captured',
        // What is guessed must not look like what is known.
        ...(ownPort === undefined || isConfirmed(ownPort) ? [] : [portInWords(ownPort)]),
        counted(members, 'member'),
        ...(this.#membership.awaitedSinceMs === undefined ? [] : ['membership not known yet']),
        isConnected ? 'collector connected' : 'no connection to the collector',
        ...(pending === 0 ? [] : [`${counted(pending, 'report')} pending`]),
      ].join(', '),
      fault: this.#capture.isStuck ? 'the packet source cannot be opened again' : undefined,
    };
  }

  counters(): AgentCounters {
    const { spool } = this.#dependencies;
    return agentCounters({
      capture: this.#capture.counters(),
      isCapturing: this.#capture.isCapturing,
      restarts: this.#capture.restarts,
      pipeline: this.#pipeline.totals(),
      processes: this.#dependencies.processCounters(),
      spool: spool.counters(),
      uplink: this.#uplink?.counters() ?? { connected: 0, connections: 0, failures: 0, reportsSent: 0 },
      anomalies: this.#anomalies,
      queue: this.#queue.counters(),
      rulesRefused: this.#dependencies.rulesRefused(),
      ownPort: this.#ownPort.port,
      members: this.#membership.nodeCount(),
      clock: this.#clockCounts,
      membershipAgeMs: this.#membership.ageMs(this.#dependencies.clock.monotonic()),
      unresolvedNames: this.#membership.unresolvedNames(),
      isMembershipKnown: this.#membership.awaitedSinceMs === undefined,
      peersPending: this.#pipeline.peersAwaitingList().length,
    });
  }

  /** Ends the capture, reports what is open, and resolves when nothing of the agent runs any more. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.#clockWatch.stop();
    await this.#capture.stop();
    await this.#freshLook.stop();
    await this.#socketLook;
    const nowMs = this.#dependencies.clock.monotonic();
    this.#unknown.stop(this.#membershipState(nowMs), nowMs);
    await this.#ownPort.stop();
    this.#pipeline.end(nowMs);
    this.#queue.end();
    await this.#uplink?.stop();
    await this.#membership.stop();
    this.#saveKnown();
  }

  async #begin(): Promise<void> {
    const { clock, createUplink } = this.#dependencies;
    await this.#ownPort.refresh();
    await this.#capture.start(this.#pipeline.services.ports());
    this.#dependencies.sharedMembers?.offerOwn(this.#membership.ownAddresses());
    this.#uplink = createUplink(this.#capture.name, () => this.counters());
    this.#uplink.start();
    this.#membership.onChange(() => this.#membershipChanged());
    this.#reportNewMembers();
    this.#clockWatch.start();
    this.#timers.push(
      clock.every(TICK_INTERVAL_MS, () => this.#tick()),
      clock.every(SURVEY_INTERVAL_MS, () => this.#survey()),
    );
  }

  #tick(): void {
    this.#pipeline.tick(this.#dependencies.clock.monotonic());
    this.#queue.flush();
    if (!this.#isLookingAtRaylets) this.#socketLook = this.#lookAtRaylets();
  }

  async #lookAtRaylets(): Promise<void> {
    this.#isLookingAtRaylets = true;
    try {
      const raylets = await this.#dependencies.findRaylets().catch(() => undefined);
      if (raylets !== undefined) await this.#conflict.observe(raylets, this.#dependencies.clock.monotonic());
      await this.#lookAtRayletSockets();
    } finally {
      this.#isLookingAtRaylets = false;
    }
  }

  #survey(): void {
    const nowMs = this.#dependencies.clock.monotonic();
    const { received, dropped } = this.#capture.counters();
    const totals = this.#pipeline.totals();
    const lost = (dropped ?? 0) + totals.undecodable + totals.evictedConnections;
    const { isCapturing } = this.#capture;
    const unseenConnections = this.#unseen.count;
    const unrecorded = this.#unrecorded(totals);
    this.#blind.observe({ received, lost, isCapturing, unseenConnections, unrecorded }, nowMs);
    this.#logTurnedAwayEvidence(totals.turnedAwayEvidence);
    this.#membership.expire(nowMs);
    const { hasList } = this.#membership;
    this.#stale.observe(hasList ? this.#membership.ageMs(nowMs) : 0, nowMs);
    const membershipState = this.#membershipState(nowMs);
    this.#logMembership(membershipState);
    this.#unknown.observe(membershipState, nowMs);
    void this.#ownPort.refresh();
    this.#dependencies.sharedMembers?.offerOwn(this.#membership.ownAddresses());
    this.#pipeline.refreshTunnels();
    this.#pipeline.reportOpenFlows(nowMs);
    this.#saveKnown();
    this.#queue.flush();
  }

  #saveKnown(): void {
    this.#known.noteLists(this.#membership.listings(), wallAheadMs(this.#dependencies.clock));
    this.#known.save();
  }

  #membershipState(nowMs: number): MembershipState {
    return {
      awaitedSinceMs: this.#membership.awaitedSinceMs,
      peers: this.#pipeline.peersAwaitingList(),
      isOverdue: this.#firstList.isOverdue(nowMs),
    };
  }

  /** Says when no source has listed the members yet, and when that is over. */
  #logMembership({ awaitedSinceMs, peers }: MembershipState): void {
    const isUnknown = awaitedSinceMs !== undefined;
    if (isUnknown === this.#isMembershipUnknown) return;
    this.#isMembershipUnknown = isUnknown;
    const { logger } = this.#dependencies;
    if (isUnknown)
      logger.warn({ peers: peers.length }, 'cluster membership not known yet: unknown peers are pending');
    else
      logger.info({ members: this.#membership.nodeCount() }, 'cluster membership known, or no longer needed');
  }

  /** What found no room in a table, the queue or the spool. */
  #unrecorded(totals: PipelineTotals): Unrecorded {
    const { turnedAwayAnomalies, turnedAwayFlowReports, turnedAwayInvalid } =
      this.#dependencies.spool.counters();
    return {
      connections: totals.suppressedAnomalies,
      fragments: totals.turnedAwayFragments,
      processes: totals.unknownPrograms,
      unchecked: this.#unseen.unchecked,
      reports: this.#queue.counters().lost + turnedAwayAnomalies + turnedAwayFlowReports + turnedAwayInvalid,
    };
  }

  /** Nothing is unseen by it, so it does not make the node blind. */
  #logTurnedAwayEvidence(turnedAway: number): void {
    const connections = turnedAway - this.#turnedAwayEvidence;
    this.#turnedAwayEvidence = turnedAway;
    if (connections === 0) return;
    this.#dependencies.logger.warn({ connections }, 'evidence not recorded: too many connections at a time');
  }

  /** A raylet that connects outside the cluster is watched there, whatever the port. */
  async #lookAtRayletSockets(): Promise<void> {
    const { clock, rayletSockets } = this.#dependencies;
    const readMs = clock.monotonic();
    const sockets = await rayletSockets().catch((error: unknown) => {
      if (error instanceof PlasmawatchError) return undefined;
      throw error;
    });
    // Then nobody knows whom the raylet calls, which is not the same as nobody.
    if (sockets === undefined) return;
    this.#firstList.noteRayletPeers(
      sockets.map(({ remote }) => remote),
      readMs,
    );
    // First: what is watched from here on was not captured when it was opened. A connection of an old list may have ended.
    if (sockets !== this.#rayletSockets) {
      const established = sockets.filter(({ state }) => state === 'established');
      this.#unseen.look(established, clock.monotonic());
    }
    this.#rayletSockets = sockets;
    for (const { remote, remotePort } of sockets) {
      this.#pipeline.observeRayletConnection(remote, remotePort, clock.monotonic());
    }
    this.#followPorts();
  }

  #membershipChanged(): void {
    this.#reportNewMembers();
    this.#pipeline.membershipChanged();
    this.#followPorts();
    this.#queue.flush();
  }

  async #lookAtMembers(): Promise<LookResult> {
    const membership = this.#membership;
    // Before the first list, it is the raylet's connections that tell a member from an outsider.
    const sockets = membership.hasList ? undefined : this.#lookAtRayletsAnew();
    const [result] = await Promise.all([membership.lookNow(), sockets]);
    // A membership that was replaced meanwhile has not looked to the end.
    return membership === this.#membership ? result : 'failed';
  }

  /** Begins after what runs already: that may have read before the question. */
  async #lookAtRayletsAnew(): Promise<void> {
    await this.#socketLook;
    if (!this.#isLookingAtRaylets) this.#socketLook = this.#lookAtRaylets();
    await this.#socketLook;
  }

  #decideHeld(look: Look): boolean {
    const isWaiting = this.#pipeline.decideHeld(look, this.#dependencies.clock.monotonic());
    this.#queue.flush();
    return isWaiting;
  }

  #reportNewMembers(): void {
    const nowMs = this.#dependencies.clock.monotonic();
    const joined = this.#known.learn(this.#membership.listings(), nowMs);
    reportNewMembers(joined, this.#membership, this.#reporting, nowMs);
  }

  #followPorts(): void {
    this.#capture.setPorts(this.#pipeline.services.ports());
  }

  #stored(reports: readonly Report[]): void {
    for (const report of reports) {
      if (report.type !== 'anomaly') continue;
      this.#anomalies++;
      this.#dependencies.onAnomaly(report);
    }
    this.#uplink?.nudge();
  }
}

/** `1 port`, `3 ports`. */
function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
