/** What the API answers about evidence: which anomalies of an incident have any, and the packets of one. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { NumberedMember } from '../store/member-table.ts';
import type { Store } from '../store/store.ts';
import { found, incidentParameters, parametersOf } from './incident-parameters.ts';

/** Anomalies of an incident, the most severe ones, that are listed with their evidence. */
const MAX_ANOMALIES = 100;

/** `2.pcapng`: the evidence of the anomaly with this number, which it keeps while others become more severe. */
const evidenceFile = incidentParameters.extend({ file: z.string().regex(/^[1-9]\d{0,14}\.pcapng$/) });

/** Adds the routes. Packets of the network are for those who look into incidents, not for every viewer. */
export function addEvidenceRoutes(server: FastifyInstance, { store }: { readonly store: Store }): void {
  const config = { role: 'responder' as const };

  server.get('/api/incidents/:id/evidence', { config }, (request) => {
    const { id } = parametersOf(incidentParameters, request.params);
    const incident = found(store.incident(id));
    const { members } = store.memberTable.page(incident.id, { limit: MAX_ANOMALIES });
    return { evidence: members.flatMap((member) => present(id, member, store)) };
  });

  server.get('/api/incidents/:id/evidence/:file', { config }, (request, reply) => {
    const { id, file } = parametersOf(evidenceFile, request.params);
    const incident = found(store.incident(id));
    const member = store.memberTable.numbered(incident.id, Number.parseInt(file, 10));
    const evidence = found(member && store.evidence(member.agent, member.anomalyId), 'evidence');
    return reply
      .type('application/x-pcapng')
      .header('content-disposition', `attachment; filename="${id}-${file}"`)
      .send(Buffer.from(evidence.pcapng, 'base64'));
  });
}

function present(id: string, { agent, anomalyId, number }: NumberedMember, store: Store) {
  const evidence = store.evidence(agent, anomalyId);
  if (evidence === undefined) return [];
  const { node, packets } = evidence;
  return [
    { agent, node, anomaly: anomalyId, packets, path: `/api/incidents/${id}/evidence/${number}.pcapng` },
  ];
}
