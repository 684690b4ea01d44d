/** An incident as others see it: in the API and in webhooks. */
import { formatMilliseconds } from '../../common/time.ts';
import type { Incident } from '../store/store.ts';

/** Plain JSON; times are RFC 3339 in UTC. */
export function presentIncident(incident: Incident) {
  const { id, state, severity, kind, title, peer, service, nodes, nodeCount, anomalyCount } = incident;
  const { count, bytes, first, last, message, peerCount, serviceCount, reopenCount, mergedInto } = incident;
  return {
    type: 'incident' as const,
    id,
    state,
    severity,
    kind,
    title,
    peer,
    peerCount,
    service,
    serviceCount,
    nodes,
    nodeCount,
    anomalyCount,
    count,
    bytes,
    first,
    last,
    message,
    opened: formatMilliseconds(incident.openedMs),
    reopened: time(incident.reopenedMs),
    reopenCount,
    lastReport: formatMilliseconds(incident.lastReportMs),
    acknowledged: time(incident.acknowledgedMs),
    resolved: time(incident.resolvedMs),
    resolvedBy: incident.resolvedBy,
    mergedInto,
  };
}

function time(milliseconds: number | null): string | null {
  return milliseconds === null ? null : formatMilliseconds(milliseconds);
}
