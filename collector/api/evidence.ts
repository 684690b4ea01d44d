/** What the API answers about evidence: which anomalies of an incident have any, and the packets of one. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { Member, Store } from '../store/store.ts';
import { found, incidentParameters, parametersOf } from './incident-parameters.ts';

/** Anomalies of an incident that are looked at for evidence. */
const MAX_ANOMALIES = 100;

/** `2.pcapng`: the evidence of the second anomaly of the incident. */
const evidenceFile = incidentParameters.extend({ file: z.string().regex(/^[1-9]\d{0,2}\.pcapng$/) });

/** Adds the routes. Packets of the network are for those who look into incidents, not for every viewer. */
export function addEvidenceRoutes(server: FastifyInstance, { store }: { readonly store: Store }): void {
  const config = { role: 'responder' as const };

  server.get('/api/incidents/:id/evidence', { config }, (request) => {
    const { id } = parametersOf(incidentParameters, request.params);
    return { evidence: anomaliesOf(id, store).flatMap((member, index) => present(id, member, index, store)) };
  });

  server.get('/api/incidents/:id/evidence/:file', { config }, (request, reply) => {
    const { id, file } = parametersOf(evidenceFile, request.params);
    const member = anomaliesOf(id, store)[Number.parseInt(file, 10) - 1];
    const evidence = found(member && store.evidence(member.agent, member.anomalyId), 'evidence');
    return reply
      .type('application/x-pcapng')
      .header('content-disposition', `attachment; filename="${id}-${file}"`)
      .send(Buffer.from(evidence.pcapng, 'base64'));
  });
}

/** The most severe ones. */
function anomaliesOf(id: string, store: Store): readonly Member[] {
  const { members } = store.memberTable.page(found(store.incident(id)).id, { limit: MAX_ANOMALIES });
  return members;
}

function present(id: string, { agent, anomalyId }: Member, index: number, store: Store) {
  const evidence = store.evidence(agent, anomalyId);
  if (evidence === undefined) return [];
  const { node, packets } = evidence;
  return [
    { agent, node, anomaly: anomalyId, packets, path: `/api/incidents/${id}/evidence/${index + 1}.pcapng` },
  ];
}
