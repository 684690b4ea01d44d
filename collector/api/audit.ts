/** `GET /api/audit`: who did what. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { formatMilliseconds } from '../../common/time.ts';
import type { AuditEntry } from '../store/audit-table.ts';
import type { Store } from '../store/store.ts';
import { checkQuery, MAX_PAGE, wholeNumber } from './query.ts';

const auditQuery = z.strictObject({
  subject: z.string().min(1).max(128).optional(),
  actor: z.string().min(1).max(64).optional(),
  limit: wholeNumber.pipe(z.number().max(MAX_PAGE)).default(50),
  cursor: wholeNumber.optional(),
});

export function addAuditRoutes(server: FastifyInstance, { audit }: Pick<Store, 'audit'>): void {
  server.get('/api/audit', { config: { role: 'admin' } }, (request) => {
    const { cursor, ...query } = checkQuery(auditQuery, request.query);
    const { entries, next } = audit.entries({ ...query, before: cursor });
    return { entries: entries.map(presentAction), nextCursor: next === null ? null : String(next) };
  });
}

/** Plain JSON. */
export function presentAction({ atMs, actor, action, subject, details }: AuditEntry) {
  return { type: 'action' as const, time: formatMilliseconds(atMs), actor, action, subject, details };
}
