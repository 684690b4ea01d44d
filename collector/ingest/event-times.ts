/**
 * Times that an agent may report. What it saw may have waited in its spool for days, while the collector was away; but
 * nothing has happened later than now, and a connection has not ended before it began.
 */
import type { Report } from '../../common/event.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { parseEventTime } from '../incident/event-time.ts';

const NANOSECONDS_PER_MILLISECOND = 1_000_000n;
/** Reports do not wait longer in a spool, and no receiver needs to know more exactly since when a connection is open. */
export const MAX_AGE_MS = 30 * 86_400_000;

export interface TimeBounds {
  readonly nowMs: number;
  /** How far ahead of ours the clock of an agent may be. */
  readonly maxSkewMs: number;
}

/** A start and an end, in RFC 3339. */
type Period = readonly [start: string, end: string];

/** The report with times that are possible: itself where all of them are. */
export function withPossibleTimes(report: Report, bounds: TimeBounds): Report {
  if (report.type === 'evidence') return report;
  const flow = report.flow === null ? null : withPossiblePeriod(report.flow, bounds);
  const process = withPossibleStart(report.process, bounds);
  const isSame = flow === report.flow && process === report.process;
  if (report.type === 'flow-report') {
    return isSame || flow === null ? report : { ...report, flow, process };
  }
  const [first, last] = possible([report.first, report.last], bounds);
  if (isSame && first === report.first && last === report.last) return report;
  return { ...report, flow, process, first, last };
}

function withPossiblePeriod<Flow extends { readonly event: { start: string; end: string } }>(
  flow: Flow,
  bounds: TimeBounds,
): Flow {
  const [start, end] = possible([flow.event.start, flow.event.end], bounds);
  return start === flow.event.start && end === flow.event.end ? flow : { ...flow, event: { start, end } };
}

/** A process may be as old as its machine; what it is identified by is left out where it cannot be. */
function withPossibleStart<Process extends { start?: string | undefined }>(
  process: Process | undefined,
  { nowMs, maxSkewMs }: TimeBounds,
): Process | undefined {
  if (process?.start === undefined) return process;
  const start = parseEventTime(process.start);
  if (start !== undefined && start >= 0n && start <= nanoseconds(nowMs + maxSkewMs)) return process;
  return { ...process, start: undefined };
}

/** An end that is not possible is now; a start too long ago is as long ago as can be. */
function possible([start, end]: Period, { nowMs, maxSkewMs }: TimeBounds): Period {
  const [earliest, latest] = [nanoseconds(nowMs - MAX_AGE_MS), nanoseconds(nowMs + maxSkewMs)];
  const [startTime, endTime] = [parseEventTime(start), parseEventTime(end)];
  const isEndPossible = endTime !== undefined && endTime >= earliest && endTime <= latest;
  const possibleEnd = isEndPossible ? end : formatMilliseconds(nowMs);
  if (startTime === undefined || startTime > (isEndPossible ? endTime : nanoseconds(nowMs))) {
    return [possibleEnd, possibleEnd];
  }
  return [startTime < earliest ? formatMilliseconds(nowMs - MAX_AGE_MS) : start, possibleEnd];
}

function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds)) * NANOSECONDS_PER_MILLISECOND;
}
