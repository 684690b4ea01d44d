/** How each agent is now: what the store remembers of it, and what this run of the collector knows. */
import type { AgentRecord } from '../store/fleet-table.ts';
import type { Store } from '../store/store.ts';
import type { AgentClocks } from './agent-clocks.ts';
import { portOf, type AgentPort } from './agent-port.ts';
import type { ClockOffset } from './clock-filter.ts';
import type { FleetWatch } from './watch.ts';

/**
 * - `connected`: it reports and captures
 * - `blind`: it reports, and captures nothing
 * - `away`: not connected, and not for long enough to be missed
 * - `missing`: not heard any more, without a goodbye
 * - `stopped`: it said goodbye
 * - `retired`: a person declared it gone for good
 */
type AgentState = 'connected' | 'blind' | 'away' | 'missing' | 'stopped' | 'retired';

/** Counters of an agent (docs/monitoring.md) that say that something was not seen, or not told. */
const LOSSES = [
  'capture_dropped',
  'packets_undecodable',
  'fragments_turned_away',
  'flows_evicted',
  'anomalies_suppressed',
  'evidence_turned_away',
  'reports_lost',
  'spool_turned_away_anomalies',
  'spool_turned_away_flows',
  'spool_turned_away_invalid',
] as const;

export interface AgentStatus extends AgentRecord {
  readonly state: AgentState;
  readonly isConnected: boolean;
  readonly lastHeardMs: number;
  /** The object-manager port of its node, and who says so; null where it has not told. */
  readonly objectManager: AgentPort | null;
  /** Since how long a source of the cluster's members has not answered it; null where it has not told. */
  readonly viewAgeSeconds: number | null;
  /** How far its clock is from the collector's; null where it is not connected or has not told. */
  readonly clock: ClockOffset | null;
  /** What it lost, by counter; what it cannot count is null, and what is 0 is left out. */
  readonly losses: Readonly<Record<string, number | null>>;
}

export interface RosterOptions {
  readonly store: Store;
  readonly fleet: FleetWatch;
  readonly clocks: AgentClocks;
  /** Names of the agents that are connected now. */
  readonly connectedAgents: () => ReadonlySet<string>;
}

export class Roster {
  readonly #options: RosterOptions;

  constructor(options: RosterOptions) {
    this.#options = options;
  }

  /**
   * Agents by name; `after` is the cursor that the page before gave.
   * @throws PlasmawatchError PW_STORE
   */
  page({ limit, after = '' }: { limit: number; after?: string | undefined }): {
    agents: AgentStatus[];
    next: string | null;
  } {
    const records = this.#options.store.fleet.agents({ limit: limit + 1, after });
    const connected = this.#options.connectedAgents();
    const agents = records.slice(0, limit).map((record) => this.#statusOf(record, connected));
    return { agents, next: records.length > limit ? (agents.at(-1)?.name ?? null) : null };
  }

  /**
   * One agent; undefined where there is none of this name.
   * @throws PlasmawatchError PW_STORE
   */
  status(name: string): AgentStatus | undefined {
    const record = this.#options.store.fleet.agent(name);
    return record && this.#statusOf(record, this.#options.connectedAgents());
  }

  #statusOf(record: AgentRecord, connected: ReadonlySet<string>): AgentStatus {
    const isConnected = connected.has(record.name);
    return {
      ...record,
      state: this.#stateOf(record, isConnected),
      isConnected,
      lastHeardMs: Math.max(record.lastSeenMs, this.#options.fleet.heardMs(record.name) ?? 0),
      clock: this.#options.clocks.offset(record.name) ?? null,
      objectManager: portOf(record.counters ?? {}),
      viewAgeSeconds: record.counters?.['membership_age_seconds'] ?? null,
      losses: lossesOf(record.counters ?? {}),
    };
  }

  #stateOf({ name, stoppedMs, retiredMs }: AgentRecord, isConnected: boolean): AgentState {
    const { fleet } = this.#options;
    if (retiredMs !== null) return 'retired';
    if (isConnected) return fleet.hasStory('blind', name) ? 'blind' : 'connected';
    if (stoppedMs !== null) return 'stopped';
    return fleet.hasStory('missing', name) ? 'missing' : 'away';
  }
}

function lossesOf(counters: Readonly<Record<string, number | null>>): Record<string, number | null> {
  const told = LOSSES.map((name) => [name, counters[name]] as const);
  return Object.fromEntries(
    told.flatMap(([name, count]) => (count === undefined || count === 0 ? [] : [[name, count]])),
  );
}
