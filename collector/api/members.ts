/** `GET /api/members`: who belongs to the clusters, as agents have read it. */
import type { FastifyInstance } from 'fastify';
import type { Clock } from '../../common/clock.ts';
import { sourceOfKey } from '../../common/shared-view.ts';
import { formatMilliseconds } from '../../common/time.ts';
import type { SharedViews } from '../membership/shared-views.ts';

interface MembersRoutesOptions {
  readonly sharedViews: SharedViews;
  readonly clock: Pick<Clock, 'now'>;
}

export function addMembersRoutes(
  server: FastifyInstance,
  { sharedViews, clock }: MembersRoutesOptions,
): void {
  server.get('/api/members', { config: { role: 'viewer' } }, () => ({
    clusters: sharedViews.views().map(({ cluster, reporter, state, followers, asOfMs, members }) => ({
      cluster,
      reporter,
      state,
      followers,
      source: sourceOfKey(cluster),
      asOf: formatMilliseconds(asOfMs),
      ageSeconds: Math.max(0, Math.round((clock.now() - asOfMs) / 1000)),
      members: members.map(({ id, addresses, role, group, ports }) => ({
        id,
        addresses,
        role,
        group,
        ports: Object.fromEntries(ports),
      })),
    })),
    nodes: sharedViews.nodes(),
  }));
}
