/** Every counter of the agent: its name in heartbeats and metrics, and what it counts. */
import type { CaptureCounters } from './capture/source.ts';
import type { OwnPort } from './membership/own-port.ts';
import type { PipelineTotals } from './pipeline.ts';
import type { SocketOwnerCounters } from './process/socket-owners.ts';
import type { ReportQueueCounters } from './uplink/report-queue.ts';
import type { SpoolCounters } from './uplink/spool.ts';
import type { UplinkCounters } from './uplink/client.ts';
import { PORT_SOURCES } from '../common/port-source.ts';

/** The counters with their meaning; totals since the agent's start, unless they say "now". */
export const AGENT_COUNTERS = {
  capture_running: '1 while packets are captured, now',
  capture_restarts: 'times the packet source was opened again after a fault',
  capture_received:
    'packets that passed the kernel filter, lost ones and those counted in the kernel included',
  capture_dropped: 'packets lost between kernel and agent; unknown (null) with libpcap',
  capture_overflowed:
    "packets that found no room in the kernel's flow table, and were counted by the agent instead",
  packets: 'packets handled',
  bytes: 'wire bytes of the packets handled',
  packets_skipped: 'packets that are part of no TCP flow',
  packets_undecodable: 'packets that were cut, malformed or of an unknown link type',
  fragments_turned_away: 'first fragments forgotten early because there were too many',
  flows: 'TCP connections seen',
  flows_open: 'TCP connections in the table, now',
  flows_evicted: 'open connections forgotten because the table was full',
  flows_disregarded:
    'connections in tunnels that end nowhere we know of, in which a member seemed to do what no rule allows',
  tunnel_packets: 'packets in tunnels that end at this machine; what they carry is counted on its interface',
  attempts_counted: 'attempts to reach watched services that were counted and not looked at one by one',
  flows_allowed: 'ended connections to watched services that a rule allows',
  flows_unexpected: 'ended connections to watched services that no rule allows',
  anomalies: 'reports of anomalies',
  anomalies_suppressed:
    'unexpected connections in no anomaly, at least for a while, because there were too many',
  evidence_turned_away: 'connections whose packets were not kept, because there were too many at a time',
  process_looks: "looks for the process at this node's end of a connection",
  process_unattributed:
    'of those, looks that found none: the connection had ended, or the process may not be looked into',
  process_looks_given_up: 'of those, looks that ended because processes have too many files open',
  process_looks_turned_away:
    'connections whose process was not looked for, because there were too many at a time',
  process_reads_overdue:
    'reads of processes that did not let themselves be read in time, and those not begun for that',
  reports_waiting: 'reports that wait in memory for the disk, now',
  reports_lost: 'reports lost because the disk refused for too long',
  spool_pending: 'reports that wait for the collector, now',
  spool_pending_bytes: 'bytes of the reports that wait, now',
  spool_turned_away_anomalies: 'anomalies turned away by a full spool',
  spool_turned_away_flows: 'flow reports and evidence turned away by a full spool',
  spool_turned_away_invalid: 'reports that the protocol does not admit',
  spool_refused: '1 while the disk refuses reports (it is full, or broken), now',
  spool_write_failures: 'writes that the disk refused',
  uplink_connected: '1 while the collector is connected, now',
  uplink_failures: 'attempts to reach the collector that failed, and connections that broke',
  rules_refused: 'rules of the collector that were refused: unsigned, older or wrong',
  object_manager_port: "this node's object-manager port, the first where there are several, now",
  object_manager_port_source:
    'where that port is from, now: 0 a guess, 1 the raylet, 2 the dashboard, 3 a shared view, 4 the pods, 5 the rules, 6 none is expected',
  members: 'nodes of the cluster that are known one by one, now',
  names_unresolved: 'host names of members, or of the head, that do not resolve, now',
  membership_age_seconds: 'since how long a source of the members has not answered, now',
  membership_known: '1 once a complete list of the members was seen, or where no raylet needs one, now',
  peers_pending: 'unknown peers that are pending until the first list of the members, now',
  clock_steps: 'times that the wall clock was set while the agent ran',
  pauses: 'times that the agent did not run for some seconds: it was stopped, or its machine suspended',
} as const;

export type AgentCounters = Readonly<Record<keyof typeof AGENT_COUNTERS, number | null>>;

interface CounterSources {
  readonly capture: CaptureCounters;
  readonly isCapturing: boolean;
  readonly restarts: number;
  readonly pipeline: PipelineTotals;
  readonly processes: SocketOwnerCounters;
  readonly queue: ReportQueueCounters;
  readonly spool: Readonly<SpoolCounters>;
  readonly uplink: Readonly<UplinkCounters>;
  readonly anomalies: number;
  readonly rulesRefused: number;
  /** Undefined before it was looked for. */
  readonly ownPort: OwnPort | undefined;
  readonly members: number;
  readonly membershipAgeMs: number;
  readonly unresolvedNames: number;
  readonly isMembershipKnown: boolean;
  readonly peersPending: number;
  readonly clock: { readonly steps: number; readonly pauses: number };
}

/** Joins the parts' counters under their public names. */
export function agentCounters(sources: CounterSources): AgentCounters {
  const { capture, pipeline, processes, queue, spool, uplink } = sources;
  return {
    capture_running: sources.isCapturing ? 1 : 0,
    capture_restarts: sources.restarts,
    capture_received: capture.received,
    capture_dropped: capture.dropped,
    capture_overflowed: capture.overflowed,
    packets: pipeline.packets,
    bytes: pipeline.bytes,
    packets_skipped: sum(Object.values(pipeline.skipped)),
    packets_undecodable: pipeline.undecodable,
    fragments_turned_away: pipeline.turnedAwayFragments,
    flows: pipeline.flows,
    flows_open: pipeline.openFlows,
    flows_evicted: pipeline.evictedFlows,
    flows_disregarded: pipeline.disregardedFlows,
    tunnel_packets: pipeline.unwrappedPackets,
    attempts_counted: pipeline.countedAttempts,
    flows_allowed: pipeline.allowed,
    flows_unexpected: pipeline.unexpected,
    anomalies: sources.anomalies,
    anomalies_suppressed: pipeline.suppressedAnomalies,
    evidence_turned_away: pipeline.turnedAwayEvidence,
    process_looks: processes.looks,
    process_unattributed: processes.unattributed,
    process_looks_given_up: processes.givenUp,
    process_looks_turned_away: processes.turnedAway + pipeline.turnedAwayLooks,
    process_reads_overdue: processes.overdueReads,
    reports_waiting: queue.waiting,
    reports_lost: queue.lost,
    spool_pending: spool.pending,
    spool_pending_bytes: spool.pendingBytes,
    spool_turned_away_anomalies: spool.turnedAwayAnomalies,
    spool_turned_away_flows: spool.turnedAwayFlowReports,
    spool_turned_away_invalid: spool.turnedAwayInvalid,
    spool_refused: queue.isRefused ? 1 : 0,
    spool_write_failures: spool.writeFailures,
    uplink_connected: uplink.connected,
    uplink_failures: uplink.failures,
    rules_refused: sources.rulesRefused,
    object_manager_port: sources.ownPort?.ports[0] ?? null,
    object_manager_port_source:
      sources.ownPort === undefined ? null : PORT_SOURCES.indexOf(sources.ownPort.source),
    members: sources.members,
    names_unresolved: sources.unresolvedNames,
    membership_age_seconds: Math.floor(sources.membershipAgeMs / 1000),
    membership_known: sources.isMembershipKnown ? 1 : 0,
    peers_pending: sources.peersPending,
    clock_steps: sources.clock.steps,
    pauses: sources.clock.pauses,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
