/** The object-manager port of an agent's node, as its heartbeat's counters carry it. */
import { PORT_SOURCES, type PortSource } from '../../common/port-source.ts';

export interface AgentPort {
  /** The first where there are several; null where none is known. */
  readonly port: number | null;
  /** Who says so; `unknown` where the agent is of a later version than the collector. */
  readonly source: PortSource | 'unknown';
}

/** Null where the agent has not told it: one of an earlier version, or one that has only just started. */
export function portOf(counters: Readonly<Record<string, number | null>>): AgentPort | null {
  const code = counters['object_manager_port_source'];
  if (code === undefined || code === null) return null;
  return { port: counters['object_manager_port'] ?? null, source: PORT_SOURCES[code] ?? 'unknown' };
}
