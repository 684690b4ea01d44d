/**
 * What a report is worth when there is not room for all. Each step of importance may fill the spool and the queue before
 * it up to a share of their bounds, so that what anybody can make a flood of never takes the last room from what a
 * person has to know: whose connection was answered.
 */
import type { Report } from '../../common/event.ts';
import type { ActivityPhase } from '../detect/activities.ts';

/**
 * The steps, the least important first.
 * - `flow`: a connection that is over, or goes on
 * - `evidence`: packets of an anomaly
 * - `attempt`: connections that were not answered, one by one or in a sum
 * - `unproven`: an activity whose connection may be forged; a new member, as a source says
 * - `update`: an activity that was answered, and reported before
 * - `first`: an activity that was answered, when it begins
 * - `node`: the state of this node: partly blind, membership stale
 */
export type Importance = 'flow' | 'evidence' | 'attempt' | 'unproven' | 'update' | 'first' | 'node';

/**
 * The share of a bound from which on reports of that importance are turned away. Those of the node are few and each is
 * one state: they say that reports are turned away, so a full spool still takes them.
 */
export const SHARES: Readonly<Record<Importance, number>> = {
  flow: 0.8,
  evidence: 0.84,
  attempt: 0.88,
  unproven: 0.92,
  update: 0.96,
  first: 1,
  node: 1.02,
};

/** @param phase of the activity that an anomaly reports */
export function importanceOf(report: Report, phase: ActivityPhase = 'opened'): Importance {
  if (report.type === 'flow-report') return 'flow';
  if (report.type === 'evidence') return 'evidence';
  if (report.kind === 'connection-attempts') return 'attempt';
  if (report.kind === 'new-member') return 'unproven';
  // A lone segment is enough for one that is not critical.
  if (report.kind === 'address-conflict') return report.severity === 'critical' ? 'first' : 'attempt';
  if (report.flow === null) return 'node';
  const { state, tunnel } = report.flow.plasmawatch;
  const isAttempt = state === 'attempt' || state === 'refused' || tunnel !== undefined;
  if (report.severity === 'warning' && isAttempt) return 'attempt';
  if (state === 'midstream' && phase !== 'raised') return 'unproven';
  return phase === 'growing' || phase === 'over' ? 'update' : 'first';
}
