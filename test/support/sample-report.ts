/** Reports as an agent makes them, told apart by a number in their text. */
import type { Anomaly, EvidenceReport, FlowReport } from '../../common/event.ts';

const flow: FlowReport['flow'] = {
  type: 'flow',
  event: { start: '2026-11-23T09:42:10.208000000Z', end: '2026-11-23T09:42:12.260000000Z' },
  source: { ip: '10.77.9.66', port: 40_112, packets: 20, bytes: 2400 },
  destination: { ip: '10.77.0.11', port: 43_800, packets: 18, bytes: 1800 },
  network: { transport: 'tcp', type: 'ipv4', community_id: '1:LQU9qZlK+B5F3KDmev6m5PMibrg=' },
  plasmawatch: {
    state: 'closed',
    service: 'object-manager',
    payload: { source: 900, destination: 400 },
    stream: { source: 900, destination: 400 },
  },
};

export function sampleAnomaly(number: number, message = `anomaly ${number}`): Anomaly {
  return {
    type: 'anomaly',
    id: `w1-${number}`,
    kind: 'unexpected-peer',
    severity: 'critical',
    node: 'w1',
    verdict: { allowed: false, rule: null, reason: 'no-rule' },
    flow,
    count: 1,
    bytes: 4200,
    first: flow.event.start,
    last: flow.event.end,
    message,
  };
}

export function sampleFlowReport(): FlowReport {
  return {
    type: 'flow-report',
    node: 'w1',
    flow,
    verdict: { allowed: true, rule: 'nodes', reason: 'allowed' },
  };
}

/** Packets of an anomaly: an empty pcapng section, for who does not look into them. */
export function sampleEvidence(anomaly: string): EvidenceReport {
  return { type: 'evidence', node: 'w1', anomaly, packets: 1, pcapng: 'Cg0NCg==' };
}
