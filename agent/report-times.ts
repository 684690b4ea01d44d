/** The times of reports as the wall clock tells them now: in the agent they are of the monotonic clock. */
import type { FlowRecord, Report } from '../common/event.ts';
import { formatTime } from '../common/time.ts';

/** @param aheadMs the wall clock minus the monotonic one, in whole milliseconds */
export function inWallTime(report: Report, aheadMs: number): Report {
  if (aheadMs === 0 || report.type === 'evidence') return report;
  if (report.type === 'flow-report') return { ...report, flow: withFlowTimes(report.flow, aheadMs) };
  return {
    ...report,
    flow: report.flow === null ? null : withFlowTimes(report.flow, aheadMs),
    first: shifted(report.first, aheadMs),
    last: shifted(report.last, aheadMs),
  };
}

function withFlowTimes(flow: FlowRecord, aheadMs: number): FlowRecord {
  const { start, end } = flow.event;
  return { ...flow, event: { ...flow.event, start: shifted(start, aheadMs), end: shifted(end, aheadMs) } };
}

/** @param time RFC 3339 in UTC with nine digits of the second, as common/time.ts writes it */
function shifted(time: string, byMs: number): string {
  const wholeSeconds = Date.parse(`${time.slice(0, '2026-11-23T12:03:12'.length)}Z`) / 1000;
  const nanoseconds = Number(time.slice('2026-11-23T12:03:12.'.length, -1));
  const bySeconds = Math.floor(byMs / 1000);
  const rest = nanoseconds + (byMs - bySeconds * 1000) * 1e6;
  // Before 1970 nothing was captured: the wall clock was set to a time that is none.
  const seconds = Math.max(0, wholeSeconds + bySeconds + (rest >= 1e9 ? 1 : 0));
  return formatTime(seconds, rest >= 1e9 ? rest - 1e9 : rest);
}
