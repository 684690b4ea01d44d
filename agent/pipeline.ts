/**
 * The way of a packet: decode, flow, verdict, detection. The agent feeds it from the network and the machine's clock,
 * `replay` from a file and the packets' times; there is no other difference between the two.
 */
import type { FlowCounts, FlowEndpoints, Frame, FrameSink } from './capture/source.ts';
import { FragmentCache } from './decode/fragments.ts';
import { LinkSource, readLinkSource } from './decode/link-source.ts';
import { decode, Packet, TCP_SYN } from './decode/packet.ts';
import { SkippedPackets } from './decode/skipped.ts';
import { AddressConflictDetector } from './detect/address-conflict.ts';
import { Attribution, type FoundProcess, type ProcessFinder } from './detect/attribution.ts';
import { ForeignProcessDetector } from './detect/foreign-process.ts';
import type { ActivityOptions, ActivityPhase } from './detect/activities.ts';
import { carriedBy, type Carried } from './detect/activity.ts';
import type { OpenConnection } from './detect/unseen.ts';
import type { FirstList, FirstListStep } from './detect/first-list.ts';
import { UnexpectedDetector, type Ends, type Look, type UnexpectedConnection } from './detect/unexpected.ts';
import type { Judged } from './detect/wording.ts';
import { Direction } from './direction.ts';
import { Evidence } from './evidence/evidence.ts';
import type { Flow } from './flow/flow.ts';
import { flowRecord } from './flow/record.ts';
import type { Standing } from './flow/standing.ts';
import type { FlowChange } from './flow/profile.ts';
import { FlowTable, type FlowEndCause } from './flow/table.ts';
import { TunnelEnds, type TunnelEndsOptions } from './flow/tunnel-ends.ts';
import type { Admission, Membership } from './membership/membership.ts';
import { ServiceLocator } from './membership/services.ts';
import type { SocketRoles } from './process/socket-roles.ts';
import type { Address } from '../common/address.ts';
import type { Clock } from '../common/clock.ts';
import type { Anomaly, EvidenceReport, FlowReport, Verdict, VerdictReason } from '../common/event.ts';
import type { Ruleset } from '../rules/match.ts';
import { CLUSTER_GROUP, OBJECT_MANAGER } from '../rules/schema.ts';

/** A watched connection that goes on is reported again at most this often. */
const FLOW_REPORT_INTERVAL_MS = 60_000;
/** Attempts that are judged in a second; what a flood has more is counted. */
const MAX_ATTEMPTS_JUDGED = 1000;

/** Why a peer is not allowed that may have joined, or joined again, just now. */
const MAY_HAVE_JOINED: ReadonlySet<VerdictReason> = new Set<VerdictReason>(['no-rule', 'former-member']);
const DASHBOARD = 'dashboard';
const GCS = 'gcs';
/**
 * For this long after it counts as a member no more, a node that has left may talk to the dashboard as a member may. It is bound
 * to an address that was a member and to this one service: never to an object manager.
 */
const DASHBOARD_GRACE_MS = 60_000;

/** What is known of a flow beyond its packets: the owner's slot in the flow table. */
interface Judgement {
  /** The watched service at the responder's endpoint, or undefined where none is watched there. */
  readonly service: string | undefined;
  /** The verdict, for watched services. */
  readonly verdict: Verdict | undefined;
  /** The packet's time that the verdict is for. */
  readonly timeMs: number;
  /** When the flow was last reported, and with how many packets. */
  reportedAtMs: number;
  reportedPackets: number;
  /** Who has this node's end of it, once that is known. */
  process: FoundProcess | undefined;
  /** It is a question of this program itself. */
  readonly isOwn?: true;
  /** What it had carried when it was allowed no more; undefined where it never was allowed. */
  readonly carried: Carried | undefined;
}

/** Of a flow that nobody watches. */
const UNWATCHED = {
  service: undefined,
  verdict: undefined,
  reportedPackets: 0,
  process: undefined,
  carried: undefined,
} as const;

/** Rules and membership as they hold at the moment. */
export interface Policy {
  readonly ruleset: Ruleset;
  readonly membership: Membership;
}

interface PipelineOptions {
  /** This node's name, as it appears in reports. */
  readonly node: string;
  readonly policy: Policy;
  /** Takes what is unexpected, at the first connection of a story and as it grows. */
  readonly reportAnomaly: (anomaly: Anomaly, phase: ActivityPhase) => void;
  /**
   * Takes the connections to watched services, when they end and now and then before. Left out where nobody reads them: a
   * report costs more than the packets of a short connection.
   */
  readonly reportFlow?: (report: FlowReport) => void;
  /** Takes the first packets of each story's first connection, after the anomaly. */
  readonly reportEvidence: (report: EvidenceReport) => void;
  /** Asks the source for packets that it would only count. */
  readonly wantPackets: (direction: FlowEndpoints, packets: number) => void;
  /** Unique ids of anomalies. */
  readonly createId: () => string;
  readonly interfaceName: (index: number) => string | undefined;
  /** Finds the process at this node's end of a connection; left out in a replay, whose processes are gone. */
  readonly processes?: ProcessFinder;
  /** Who opened the connections of this node's sockets; left out in a replay. */
  readonly socketRoles?: Pick<SocketRoles, 'of'>;
  /** The tunnels that end at this machine; left out in a replay. */
  readonly tunnels?: TunnelEndsOptions;
  /** Called after reports that belong to no block of packets. */
  readonly reportedLater?: () => void;
  /** Left out in a replay, where the intervals that are known decide. */
  readonly waiting?: Waiting;
  /** The wall clock minus the clock by which packets are stamped, in ms; left out where that is the wall clock. */
  readonly wallAheadMs?: () => number;
  /** The flow table's bound. */
  readonly maxFlows: number;
  /** Whether a flow is counted on one interface only (live, on all interfaces). */
  readonly countOnOneInterface: boolean;
  /** A random 32-bit number where strangers choose the packets: they must not know which ports collide. */
  readonly hashSeed?: number;
}

/** Lets the stories of strangers wait for a fresh look at the membership. */
interface Waiting {
  readonly clock: Pick<Clock, 'monotonic'>;
  /** How long they wait at most, in ms. */
  readonly graceMs: number;
  /** Asks for a look, after which `decideHeld` is to be called. */
  readonly ask: () => void;
  /** What becomes of unknown peers before a first complete list of members; left out, they are reported. */
  readonly firstList?: Pick<FirstList, 'step' | 'stepOfJoin' | 'mayBeMembers'>;
}

/** What went through the pipeline so far. */
export interface PipelineTotals {
  readonly packets: number;
  /** Wire bytes. */
  readonly bytes: number;
  readonly flows: number;
  /** Connections to watched services that have ended, by their last verdict. */
  readonly allowed: number;
  readonly unexpected: number;
  /** Packets that are part of no TCP flow, by reason. */
  readonly skipped: Readonly<Record<string, number>>;
  /** Those of them that may have been part of a flow and could not be read. */
  readonly undecodable: number;
  /** First fragments that were forgotten, because of others, before the rest of their packet could come. */
  readonly turnedAwayFragments: number;
  /** Flows that were forgotten while open because the table was full. */
  readonly evictedFlows: number;
  /** Those of them that were connections, and not over. */
  readonly evictedConnections: number;
  readonly openFlows: number;
  /** Packets in tunnels that end at this machine: what they carry is captured on the tunnel's interface. */
  readonly unwrappedPackets: number;
  /** Connections in tunnels that end nowhere we know of, in which a member seemed to do what no rule allows. */
  readonly disregardedFlows: number;
  /** Attempts to reach watched services that were counted and not looked at, because there were too many. */
  readonly countedAttempts: number;
  /** Unexpected connections that are, or were, in no activity because there was no room. */
  readonly suppressedAnomalies: number;
  /** Connections that were not recorded because there were too many at a time. */
  readonly turnedAwayEvidence: number;
  /** Connections that ended before their process could be looked for, because there were too many at a time. */
  readonly turnedAwayLooks: number;
  /** Those of them that this node opened to an object manager. */
  readonly unknownPrograms: number;
}

export class Pipeline implements FrameSink {
  readonly #options: PipelineOptions;
  readonly #packet: Packet;
  readonly #flows: FlowTable<Judgement>;
  readonly #unexpected: UnexpectedDetector<Judgement>;
  readonly #foreign: ForeignProcessDetector<Judgement>;
  readonly #attribution: Attribution<Judgement> | undefined;
  readonly #skipped = new SkippedPackets();
  readonly #fragments: FragmentCache;
  readonly #tunnels: TunnelEnds;
  readonly #direction: Direction;
  readonly #evidence: Evidence;
  readonly #addressConflict: AddressConflictDetector;
  readonly #linkSource = new LinkSource();
  /** Connections that are allowed because of a member that has left; their next packets may be too late. */
  readonly #leaving = new Set<Flow<Judgement>>();
  #policy: Policy;
  #services: ServiceLocator;
  #packets = 0;
  #bytes = 0;
  #allowed = 0;
  #unexpectedFlows = 0;
  #unwrapped = 0;
  #disregarded = 0;
  #countedAttempts = 0;
  #evictedConnections = 0;
  /** Attempts that were judged since the last tick. */
  #judgedAttempts = 0;

  constructor(options: PipelineOptions) {
    this.#options = options;
    this.#policy = options.policy;
    this.#services = locate(options.policy);
    this.#packet = new Packet(options.hashSeed);
    this.#fragments = new FragmentCache(options.hashSeed);
    this.#tunnels = new TunnelEnds(options.policy.ruleset.tunnels, options.tunnels);
    this.#flows = new FlowTable<Judgement>({
      maxFlows: options.maxFlows,
      countOnOneInterface: options.countOnOneInterface,
      hashSeed: options.hashSeed ?? 0,
      isService: (w0, w1, w2, w3, port) => this.#services.serviceAt({ w0, w1, w2, w3 }, port) !== undefined,
      changed: (flow, why) => this.#flowChanged(flow, why),
      ended: (flow, cause) => this.#flowEnded(flow, cause),
    });
    this.#direction = new Direction({
      socketRoles: options.socketRoles,
      watchedPorts: () => this.#services.ports(),
      serviceAt: (end, port) => this.#services.serviceAt(end, port),
      isAllowed: (ends, timeMs) => this.#verdictOn(ends, timeMs).allowed,
      isMember: (end, timeMs) => this.#policy.membership.inGroup(CLUSTER_GROUP, end, timeMs),
    });
    this.#evidence = new Evidence({
      node: options.node,
      limits: options.policy.ruleset.evidence,
      report: options.reportEvidence,
      interfaceName: options.interfaceName,
      wantPackets: options.wantPackets,
      isPending: (activity) => this.#unexpected.isPending(activity),
      wallAheadMs: () => this.#wallAheadMs(),
    });
    const activities: ActivityOptions<Judgement> = {
      node: options.node,
      report: options.reportAnomaly,
      createId: options.createId,
      record: (activity, flow, claim) => this.#evidence.begin(activity, flow, claim, timeOf(flow)),
      firstEnded: (activity) => this.#evidence.ended(activity),
      localEnd: (flow) => this.#localEndOf(flow),
      describe: (flow, service) =>
        flowRecord(flow, { service, interfaceName: options.interfaceName(flow.interfaceIndex) }),
    };
    this.#unexpected = new UnexpectedDetector({
      ...activities,
      graceMs: options.waiting?.graceMs ?? 0,
      confirmed: (activity) => this.#evidence.confirmed(activity),
      dropped: (activity, open) => {
        this.#evidence.forget(activity);
        for (const flow of open) this.#judge(flow);
      },
      judgeAgain: (ends) => this.#judgeEnds(ends),
      firstListStep: (ends, sinceMs, nowMs) => this.#firstListStep(ends, sinceMs, nowMs),
    });
    this.#foreign = new ForeignProcessDetector(activities);
    this.#addressConflict = new AddressConflictDetector({
      node: options.node,
      createId: options.createId,
      report: options.reportAnomaly,
      interfaceName: options.interfaceName,
      isMember: (address, timeMs) => this.#policy.membership.inGroup(CLUSTER_GROUP, address, timeMs),
    });
    if (options.processes !== undefined) this.#attribution = new Attribution(options.processes);
  }

  /** The peers that are not reported because no complete list of members was there yet, each once. */
  peersAwaitingList(): string[] {
    return this.#unexpected.peersAwaitingList();
  }

  /** Where the watched services are. */
  get services(): ServiceLocator {
    return this.#services;
  }

  frame(frame: Frame): void {
    if (!frame.isCounted) {
      this.#packets++;
      this.#bytes += frame.originalLength;
    }
    const outcome = this.#fragments.join(frame, this.#packet, decode(frame, this.#packet));
    if (outcome !== 'tcp') {
      this.#skipped.count(outcome, this.#packet);
      return;
    }
    if (this.#packet.tunnelKey !== 0 && !this.#enterTunnel(this.#packet)) return;
    if ((this.#packet.tcpFlags & TCP_SYN) !== 0) this.#noteLinkSource(frame, this.#packet);
    this.#flows.observe(frame, this.#packet);
    // After the table: the packet may have begun a recording that it belongs to.
    this.#evidence.frame(frame, this.#packet);
  }

  counts(counts: FlowCounts): void {
    this.#packets += counts.packets;
    this.#bytes += counts.bytes;
    if (counts.tunnelKey !== 0) {
      const place = this.#tunnels.placeOfKey(counts.tunnelKey);
      if (place === 'here') this.#unwrapped += counts.packets;
      if (place === 'here') return;
      if (place === 'trusted') counts.tunnelKey = 0;
    }
    this.#flows.account(counts);
  }

  /** Whether a packet in a tunnel is to be followed; what is trusted counts to the plain connection. */
  #enterTunnel(packet: Packet): boolean {
    const place = this.#tunnels.placeOf(packet);
    if (place === 'trusted') packet.tunnelKey = 0;
    if (place === 'here') this.#unwrapped++;
    return place !== 'here';
  }

  /** Notes which hardware address opens or answers a connection to a watched port. */
  #noteLinkSource(frame: Frame, packet: Packet): void {
    const { sourcePort, destinationPort } = packet;
    const ports = this.#services.ports();
    if (packet.tunnel !== 'none' || !(ports.has(sourcePort) || ports.has(destinationPort))) return;
    if (!readLinkSource(frame, this.#linkSource)) return;
    const { source0: w0, source1: w1, source2: w2, source3: w3 } = packet;
    const timeMs = frame.seconds * 1000 + frame.nanoseconds / 1e6;
    this.#addressConflict.observe(
      { w0, w1, w2, w3 },
      sourcePort,
      frame.interfaceIndex,
      this.#linkSource,
      timeMs,
    );
  }

  blockEnd(): void {}

  /**
   * Does what time brings: ends quiet flows, reports stories that have grown. Called about once a second, with the
   * clock's time or in replay with the packets' time.
   */
  tick(nowMs: number): void {
    this.#judgedAttempts = 0;
    this.#flows.expire(nowMs / 1000);
    for (const flow of this.#leaving) if (timeOf(flow) !== flow.tag?.timeMs) this.#judge(flow);
    this.#unexpected.tick(nowMs);
    this.#foreign.tick(nowMs);
    this.#addressConflict.tick(nowMs);
    this.#attribution?.tick();
    this.#evidence.tick(nowMs);
  }

  /** Reports the watched connections that go on and have carried something since their last report. */
  reportOpenFlows(nowMs: number): void {
    for (const flow of this.#flows) {
      if (flow.tag !== undefined && nowMs - flow.tag.reportedAtMs >= FLOW_REPORT_INTERVAL_MS) {
        flow.tag.reportedAtMs = nowMs;
        this.#reportFlow(flow);
      }
    }
  }

  /** Takes over new rules or another membership, and judges every open flow again. */
  setPolicy(policy: Policy): void {
    this.#policy = policy;
    this.#services = locate(policy);
    this.#tunnels.setTrusted(policy.ruleset.tunnels);
    this.#evidence.setLimits(policy.ruleset.evidence);
    this.#judgeAgain();
  }

  /** To be called when the membership changed: open flows are judged again. */
  membershipChanged(): void {
    this.#services.refresh();
    this.#judgeAgain();
  }

  /** Takes a look that was asked for, and returns whether strangers still wait for another. */
  decideHeld(look: Look, nowMs: number): boolean {
    this.#unexpected.decide(look, nowMs);
    return this.#unexpected.pendingCount > 0;
  }

  /**
   * Takes note that this node's raylet connected to an endpoint. Outside the cluster it is watched from now on,
   * whatever its port.
   */
  observeRayletConnection(address: Address, port: number, nowMs: number): void {
    if (this.#policy.membership.inGroup(CLUSTER_GROUP, address, nowMs)) return;
    if (this.#services.observe(address, port, nowMs)) this.#judgeAgain();
  }

  /** Reads anew which tunnels end at this machine; to be called now and then. */
  refreshTunnels(): void {
    this.#tunnels.refresh();
  }

  /** Whether the connection is in the flow table. */
  knows({ local, localPort, remote, remotePort }: OpenConnection): boolean {
    return this.#flows.has(local, localPort, remote, remotePort);
  }

  /** Ends every flow and story; nothing may follow. */
  end(nowMs: number): void {
    this.#flows.endAll();
    this.#attribution?.stop();
    this.#unexpected.end(nowMs);
    this.#foreign.end(nowMs);
    this.#addressConflict.end(nowMs);
    this.#evidence.end();
  }

  totals(): PipelineTotals {
    const { opened, evicted } = this.#flows.counters;
    const { outgoing = 0, answered = 0, unproven = 0, attempt = 0 } = this.#attribution?.turnedAway ?? {};
    return {
      packets: this.#packets,
      bytes: this.#bytes,
      flows: opened,
      allowed: this.#allowed,
      unexpected: this.#unexpectedFlows,
      skipped: this.#skipped.reasons(),
      undecodable: this.#skipped.undecodable,
      turnedAwayFragments: this.#fragments.turnedAway,
      evictedFlows: evicted,
      evictedConnections: this.#evictedConnections,
      openFlows: this.#flows.size,
      unwrappedPackets: this.#unwrapped,
      disregardedFlows: this.#disregarded,
      countedAttempts: this.#countedAttempts,
      suppressedAnomalies: this.#unexpected.suppressed + this.#foreign.suppressed,
      turnedAwayEvidence: this.#evidence.turnedAway,
      turnedAwayLooks: outgoing + answered + unproven + attempt,
      unknownPrograms: outgoing,
    };
  }

  #flowChanged(flow: Flow<Judgement>, why: FlowChange): void {
    if (this.#addressConflict.hasSuspects && flow.standing === 'answered' && flow.tunnelKey === 0)
      for (const end of [flow.initiator, flow.responder])
        this.#addressConflict.answered(end, end.port, timeOf(flow));
    if (flow.standing === 'attempt') this.#judgeAttempt(flow);
    // What is allowed, or nobody watches, is so however much is proven.
    else if (why !== 'standing' || flow.tag?.verdict?.allowed === false) this.#judge(flow);
  }

  /** Judges a connection that is more than an attempt. */
  #judge(flow: Flow<Judgement>): void {
    if (flow.standing === 'attempt') return;
    this.#direction.orient(flow, timeOf(flow));
    this.#judgeAsItIs(flow);
  }

  /** Judges an attempt that is refused or stays unanswered. */
  #judgeAttempt(flow: Flow<Judgement>): void {
    const { responder, tag } = flow;
    if (tag !== undefined || this.#services.serviceAt(responder, responder.port) === undefined) return;
    if (this.#judgedAttempts >= MAX_ATTEMPTS_JUDGED) {
      this.#countAttempt(flow);
      return;
    }
    this.#judgedAttempts++;
    this.#judgeAsItIs(flow);
  }

  #judgeAsItIs(flow: Flow<Judgement>): void {
    // A flow without a tag is new, or its sides were swapped and it belongs to another story.
    if (flow.tag === undefined) this.#forget(flow);
    const timeMs = timeOf(flow);
    const { initiator, responder } = flow;
    const service = this.#services.serviceAt(responder, responder.port);
    const ends = { initiator, responder };
    const verdict = service === undefined ? undefined : this.#verdictOn(ends, timeMs);
    const isDisregarded = verdict !== undefined && this.#accusesMember(flow, verdict, timeMs);
    if (isDisregarded) {
      if (flow.tag === undefined) this.#disregarded++;
      this.#unexpected.release(flow);
      flow.tag = { ...UNWATCHED, timeMs, reportedAtMs: timeMs };
      return;
    }
    if (verdict?.allowed === false && service === DASHBOARD && this.#isOwnQuestion(flow)) {
      this.#unexpected.release(flow);
      flow.tag = { ...UNWATCHED, isOwn: true, timeMs, reportedAtMs: timeMs };
      return;
    }
    const wasAllowed = flow.tag?.verdict?.allowed === true && verdict?.allowed === false;
    const carried = wasAllowed ? carriedBy(flow) : flow.tag?.carried;
    flow.tag = {
      service,
      verdict,
      timeMs,
      reportedAtMs: flow.tag?.reportedAtMs ?? timeMs,
      reportedPackets: flow.tag?.reportedPackets ?? 0,
      process: flow.tag?.process,
      carried,
    };
    this.#leaving.delete(flow);
    const { membership } = this.#policy;
    if (service === undefined || verdict === undefined || verdict.allowed) {
      this.#unexpected.release(flow);
      const mayEnd =
        membership.isLeaving(initiator, timeMs) ||
        membership.isLeaving(responder, timeMs) ||
        (service === DASHBOARD && membership.isLeaving(initiator, timeMs - DASHBOARD_GRACE_MS));
      if (verdict !== undefined && mayEnd) this.#leaving.add(flow);
    } else {
      const judged = this.#circumstances(ends, verdict, timeMs);
      // What is in a tunnel that ends nowhere may be forged as a whole: it accuses nobody of more than trying.
      const standing = flow.tunnelKey === 0 ? flow.standing : 'attempt';
      const pending = this.#pendingSince({ initiator, responder, timeMs }, judged, standing);
      this.#unexpected.add({ flow, service, timeMs, standing, carried, ...judged, ...pending });
      if (this.#unexpected.pendingCount > 0) this.#options.waiting?.ask();
    }
    // What a tunnel carries is no socket's of this node.
    if (this.#attribution !== undefined && flow.tunnelKey === 0) {
      this.#attribute(flow, flow.tag, this.#attribution);
    }
  }

  /** Finds out whose a connection is that no rule allows, or that a program of this node opened to an object manager. */
  #attribute(flow: Flow<Judgement>, tag: Judgement, attribution: Attribution<Judgement>): void {
    const { service, verdict, process } = tag;
    const end = verdict === undefined ? undefined : attribution.localEnd(flow);
    if (end === undefined || service === undefined || verdict === undefined) return;
    const isToObjectManager = end === 'initiator' && service === OBJECT_MANAGER;
    const story = this.#unexpected.unattributed(flow);
    const take = (found: FoundProcess): void => {
      const asking = story ?? this.#unexpected.unattributed(flow);
      if (asking !== undefined) this.#unexpected.attribute(asking, found, timeOf(flow));
      if (!isToObjectManager || found.isRaylet !== false) return;
      // Workers and drivers call each other at any port, and never an object manager.
      if (found.isOfRay === true && this.#services.isUncertainAt(flow.responder, flow.responder.port)) return;
      this.#foreign.add(
        { flow, service, standing: flow.standing, verdict, owner: found.description },
        timeOf(flow),
      );
    };
    if (process !== undefined) take(process);
    else if (story !== undefined || isToObjectManager) {
      attribution.ask(flow, end, isToObjectManager ? 'outgoing' : flow.standing, (found, hasEnded) => {
        if (flow.tag !== undefined) flow.tag.process = found;
        take(found);
        if (hasEnded) this.#foreign.flowEnded(flow);
        this.#options.reportedLater?.();
      });
    }
  }

  #localEndOf(flow: Flow<Judgement>): Anomaly['localEnd'] {
    const end = flow.tunnelKey === 0 ? this.#attribution?.localEnd(flow) : undefined;
    return end && (end === 'initiator' ? 'source' : 'destination');
  }

  #verdictOn({ initiator, responder }: Pick<Ends, 'initiator' | 'responder'>, timeMs: number): Verdict {
    const { ruleset, membership } = this.#policy;
    const services = this.#services.servicesOfMember(responder, responder.port, timeMs);
    const wallMs = timeMs + this.#wallAheadMs();
    const connection = { source: initiator, destination: responder, services, timeMs, wallMs };
    const verdict = ruleset.judge(connection, membership);
    if (verdict.reason !== 'former-member' || services.some((service) => service !== DASHBOARD))
      return verdict;
    // The agent of a node that has left notices it a moment later, and has asked the dashboard meanwhile.
    const beforeMs = timeMs - DASHBOARD_GRACE_MS;
    const before = ruleset.judge({ ...connection, timeMs: beforeMs }, membership);
    return services.length > 0 && before.allowed ? before : verdict;
  }

  #wallAheadMs(): number {
    return this.#options.wallAheadMs?.() ?? 0;
  }

  /** Whether this very program has opened it, to ask who belongs to the cluster. Its socket is gone before the flow is. */
  #isOwnQuestion({ initiator, responder, tag, tunnelKey, standing }: Flow<Judgement>): boolean {
    if (tag?.isOwn === true) return true;
    const { processes } = this.#options;
    if (tunnelKey !== 0 || standing === 'attempt' || processes?.isOwn === undefined) return false;
    if (!processes.isLocal(initiator)) return false;
    const [local, remote] = [initiator, responder];
    return processes.isOwn({ local, localPort: local.port, remote, remotePort: remote.port });
  }

  #circumstances(
    { initiator, responder }: Pick<Ends, 'initiator' | 'responder'>,
    verdict: Verdict,
    timeMs: number,
  ): Judged {
    const { membership } = this.#policy;
    return {
      verdict,
      toMember: membership.inGroup(CLUSTER_GROUP, responder, timeMs),
      fromMember: membership.inGroup(CLUSTER_GROUP, initiator, timeMs),
      fromFormer:
        verdict.reason === 'former-member' ? membership.isFormerMember(initiator, timeMs) : undefined,
      admission:
        verdict.reason === 'not-approved'
          ? this.#inWallTime(
              membership.admission(initiator, timeMs) ?? membership.admission(responder, timeMs),
            )
          : undefined,
      hint: this.#hintOf(initiator),
    };
  }

  /** For people, who read since when it is so. */
  #inWallTime(admission: Admission | undefined): Admission | undefined {
    return admission && { ...admission, sinceMs: admission.sinceMs + this.#wallAheadMs() };
  }

  /** What the node or its hardware address says of an unknown peer. Others may say so falsely: it excuses nothing. */
  #hintOf(address: Address): string | undefined {
    const claimant = this.#policy.membership.claimant(address);
    if (claimant === undefined) return this.#addressConflict.hintOf(address);
    return `may be a second address of ${claimant}, whose agent says so: resolve the incident if that is right`;
  }

  /** The verdict on a connection that may have ended since; undefined where it is allowed, or watched no more. */
  #judgeEnds(ends: Ends): Judged | undefined {
    const { responder } = ends;
    if (this.#services.serviceAt(responder, responder.port) === undefined) return undefined;
    const verdict = this.#verdictOn(ends, ends.timeMs);
    return verdict.allowed ? undefined : this.#circumstances(ends, verdict, ends.timeMs);
  }

  /** Why and from when on a connection's activity is pending; nothing where it is to be reported at once. */
  #pendingSince(
    ends: Ends,
    judged: Judged,
    standing: Standing,
  ): Pick<UnexpectedConnection<Judgement>, 'pendingSinceMs' | 'awaitsList' | 'mayBeMember'> {
    const { membership } = this.#policy;
    const { waiting } = this.#options;
    if (waiting === undefined || !MAY_HAVE_JOINED.has(judged.verdict.reason)) return {};
    const nowMs = waiting.clock.monotonic();
    const pendingSinceMs = Math.min(ends.timeMs, nowMs);
    const step = this.#firstListStep(ends, pendingSinceMs, nowMs);
    if (step === 'report') return {};
    if (step === 'wait') {
      const mayBeMember = waiting.firstList?.mayBeMembers(this.#unknownOf(ends), nowMs) ?? false;
      return { pendingSinceMs, awaitsList: true, mayBeMember };
    }
    if (standing === 'attempt' || !membership.canLook) return {};
    if (judged.toMember && membership.isKnown(ends.initiator, ends.timeMs)) return {};
    // The refresh may find a raylet, and no list yet.
    return { pendingSinceMs, ...(membership.hasList ? {} : { awaitsList: true }) };
  }

  /** What is to be done with a connection that no rule allows, while no complete list of members is there. */
  #firstListStep(ends: Ends, sinceMs: number, nowMs: number): FirstListStep {
    const { firstList } = this.#options.waiting ?? {};
    const { membership } = this.#policy;
    if (firstList === undefined || membership.hasList) return undefined;
    const { initiator, responder } = ends;
    const isJoin =
      membership.isMemberNow(initiator) && this.#services.serviceAt(responder, responder.port) === GCS;
    const step = firstList.step(this.#unknownOf(ends), sinceMs, nowMs);
    return step ?? (isJoin ? firstList.stepOfJoin(sinceMs, nowMs) : undefined);
  }

  /** Those ends that are in no group. */
  #unknownOf({ initiator, responder, timeMs }: Ends): Address[] {
    return [initiator, responder].filter((end) => !this.#policy.membership.isKnown(end, timeMs));
  }

  #forget(flow: Flow<Judgement>): void {
    this.#unexpected.release(flow);
    this.#foreign.release(flow);
    this.#attribution?.forget(flow);
  }

  #judgeAgain(): void {
    for (const flow of this.#flows) this.#judge(flow);
  }

  /**
   * Whether a connection that no rule allows seems to be a member's deed, and comes in a tunnel that ends nowhere we
   * know of: one datagram of anybody makes such a connection.
   */
  #accusesMember(flow: Flow<Judgement>, verdict: Verdict, timeMs: number): boolean {
    if (flow.tunnelKey === 0 || verdict.allowed) return false;
    const isMember = this.#policy.membership.inGroup(CLUSTER_GROUP, flow.initiator, timeMs);
    return isMember || verdict.reason === 'former-member' || verdict.reason === 'not-approved';
  }

  #flowEnded(flow: Flow<Judgement>, cause: FlowEndCause): void {
    if (cause === 'evicted' && isOpen(flow)) this.#evictedConnections++;
    if (flow.tag === undefined && flow.standing === 'attempt') this.#attemptEnded(flow, cause);
    if (this.#leaving.delete(flow) && timeOf(flow) !== flow.tag?.timeMs) this.#judge(flow);
    this.#attribution?.ended(flow);
    this.#unexpected.flowEnded(flow);
    this.#foreign.flowEnded(flow);
    const verdict = flow.tag?.verdict;
    if (verdict === undefined) return;
    if (verdict.allowed) this.#allowed++;
    else this.#unexpectedFlows++;
    // A flood of SYNs: a report of each would drive out of the spool what matters. They are counted as evicted.
    if (cause !== 'evicted' || flow.state !== 'attempt') this.#reportFlow(flow);
  }

  #attemptEnded(flow: Flow<Judgement>, cause: FlowEndCause): void {
    if (cause !== 'evicted') this.#judgeAttempt(flow);
    else if (this.#services.ports().has(flow.responder.port)) this.#countAttempt(flow);
  }

  #countAttempt({ initiator, responder }: Flow<Judgement>): void {
    this.#countedAttempts++;
    this.#unexpected.countAttempt(initiator, responder.port);
  }

  #reportFlow(flow: Flow<Judgement>): void {
    const { reportFlow } = this.#options;
    if (reportFlow === undefined) return;
    const { tag } = flow;
    const packets = flow.initiator.packets + flow.responder.packets;
    if (tag?.service === undefined || tag.verdict === undefined || tag.reportedPackets === packets) return;
    tag.reportedPackets = packets;
    const interfaceName = this.#options.interfaceName(flow.interfaceIndex);
    reportFlow({
      type: 'flow-report',
      node: this.#options.node,
      flow: flowRecord(flow, { service: tag.service, interfaceName }),
      verdict: tag.verdict,
      ...tag.process?.description,
    });
  }
}

/** Whether it is more than an attempt, and not over. */
function isOpen({ standing, state }: Flow<unknown>): boolean {
  return standing !== 'attempt' && state !== 'closed' && state !== 'reset';
}

/** The time of the newest packet, in ms since the epoch. */
function timeOf({ lastSeconds, lastNanoseconds }: Flow<unknown>): number {
  return lastSeconds * 1000 + lastNanoseconds / 1e6;
}

function locate({ ruleset, membership }: Policy): ServiceLocator {
  return new ServiceLocator({ services: ruleset.services, membership });
}
