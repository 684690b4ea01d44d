/** Whether the collector hands out what agents read of who belongs to the clusters, or has it wait for a second one. */
import { z } from 'zod';
import { PlasmawatchError } from '../../common/errors.ts';
import type { CollectorClient } from '../collector-client.ts';
import { check, type Check } from './check.ts';

const answerSchema = z.object({
  clusters: z.array(z.object({ cluster: z.string(), reporter: z.string(), state: z.string().optional() })),
});

const FIX =
  'name the agent in the collector\'s settings (`membership.reporters`): docs/install.md, "Who belongs to the cluster"';

/** A finding for each view that waits; nothing where the collector does not answer, which is told elsewhere. */
export async function examineSharedViews(client: Pick<CollectorClient, 'get'>): Promise<Check[]> {
  try {
    const { clusters } = await client.get('/api/members', answerSchema);
    return clusters
      .filter(({ state }) => state === 'waiting')
      .map(({ cluster, reporter }) =>
        check(
          'shared members',
          false,
          `what ${reporter} reads of cluster ${cluster} is not handed to other agents: no second agent reads the same`,
          FIX,
        ),
      );
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    return [];
  }
}
