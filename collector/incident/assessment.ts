/**
 * How bad an anomaly is, by what its fields say happened. An agent may be hostile, out of date or wrong, so its own
 * severity counts only where it is the stricter one, and its words count for nothing.
 */
import type { Anomaly, AnomalyKind, Severity } from '../../common/event.ts';
import { isWorse } from './severity.ts';

/**
 * Ray keeps objects below 100 kB with their owner: whoever fetches an object from an object manager moves at least
 * this much. From here on each power of ten is a tier of its own. Decimal, because a person says "1 GB" and means 10^9.
 */
const FIRST_TIER_BYTES = 100_000;
/** 1 TB and more: a higher claim changes nothing. */
const MAX_TIER = 8;

/**
 * Connections that no rule allows are critical from so many bytes on, whatever the agent says. A former member may have
 * a transfer under way when it leaves, so it has more leave than an unknown peer.
 */
const CRITICAL_FROM_BYTES: Readonly<Partial<Record<AnomalyKind, number>>> = {
  'unexpected-peer': FIRST_TIER_BYTES,
  'unexpected-destination': FIRST_TIER_BYTES,
  'not-ray': FIRST_TIER_BYTES,
  scan: FIRST_TIER_BYTES,
  'former-member': 10 * FIRST_TIER_BYTES,
};

/**
 * Frames of one attempt: a SYN of about 120 bytes in a tunnel and its six repeats. An activity that moved more than its
 * attempts can, has an answered connection among them.
 */
const MAX_ATTEMPT_BYTES = 900;

/** What an anomaly comes to. */
export interface Assessment {
  /** No connection of it was answered, or each was refused. */
  readonly isAttempt: boolean;
  readonly severity: Severity;
  /** Wire bytes of its connections; 0 for attempts, whose frames carry nothing. */
  readonly dataBytes: number;
}

export function assess(anomaly: Anomaly): Assessment {
  if (isAttempt(anomaly)) {
    return { isAttempt: true, severity: milder(anomaly.severity, 'warning'), dataBytes: 0 };
  }
  return { isAttempt: false, severity: severityOf(anomaly), dataBytes: dataBytesOf(anomaly) };
}

/** The power of ten that the bytes reach: 0 below 100 kB, 1 from there on, 2 from 1 MB on. */
export function dataTier(dataBytes: number): number {
  let tier = 0;
  for (let bound = FIRST_TIER_BYTES; dataBytes >= bound && tier < MAX_TIER; bound *= 10) tier++;
  return tier;
}

/** Whether nobody answered, as far as the numbers agree with the state that is claimed. */
export function isAttempt({ kind, severity, flow, count, bytes }: Anomaly): boolean {
  if (kind === 'connection-attempts') return true;
  if (flow === null) return false;
  const { state, stream, payload, tunnel } = flow.plasmawatch;
  // A tunnel that ends nowhere can be forged with all that is in it, its answers included: its agent says so by a warning.
  if (tunnel !== undefined && kind !== 'former-member' && severity !== 'critical') return true;
  if (state !== 'attempt' && state !== 'refused') return false;
  if (stream.destination > 0 || payload.destination > 0) return false;
  // The flow is the first of several connections: what the others moved must be no more than attempts can.
  const others = bytes - flow.source.bytes - flow.destination.bytes;
  return others <= Math.max(0, count - 1) * MAX_ATTEMPT_BYTES;
}

/** At least the agent's own; critical where the connections moved what only a transfer of an object moves. */
function severityOf(anomaly: Anomaly): Severity {
  const criticalFrom = CRITICAL_FROM_BYTES[anomaly.kind];
  const isTunnelled = anomaly.flow?.plasmawatch.tunnel !== undefined;
  const isCritical = criticalFrom !== undefined && !isTunnelled && dataBytesOf(anomaly) >= criticalFrom;
  return isCritical ? 'critical' : anomaly.severity;
}

/** The larger of what the activity claims and what its first connection shows. */
function dataBytesOf({ bytes, flow }: Anomaly): number {
  const shown = flow === null ? 0 : flow.source.bytes + flow.destination.bytes;
  return Math.min(Math.max(bytes, shown), Number.MAX_SAFE_INTEGER);
}

function milder(a: Severity, b: Severity): Severity {
  return isWorse(a, b) ? b : a;
}
