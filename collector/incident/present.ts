/** An incident as others see it: in the API and in webhooks. */
import { formatMilliseconds } from '../../common/time.ts';
import type { Highlight, Incident } from '../store/store.ts';

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
    mostSevere: incident.highlights.map(presentHighlight),
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

function presentHighlight({ agent, anomalyId, node, peer, service, severity, dataBytes }: Highlight) {
  return { agent, anomaly: anomalyId, node, peer, service, severity, bytes: dataBytes };
}

function time(milliseconds: number | null): string | null {
  return milliseconds === null ? null : formatMilliseconds(milliseconds);
}
