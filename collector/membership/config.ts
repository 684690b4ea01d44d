/** The settings of shared views: schema, defaults, and a sentence for each field. */
import { z } from 'zod';
import { clusterKeySchema } from '../../common/shared-view.ts';

const agentName = z.string().regex(/^[A-Za-z0-9._:-]{1,128}$/, 'the name of an agent');

export const membershipSchema = z.strictObject({
  reporters: z
    .array(
      z.union([
        agentName,
        z.strictObject({
          agent: agentName.describe('Name of the agent.'),
          clusters: z
            .array(clusterKeySchema)
            .min(1)
            .max(32)
            .optional()
            .describe('Keys of the clusters for which it counts. Default: all.'),
        }),
      ]),
    )
    .max(64)
    .default([])
    .describe(
      'Agents whose view counts without a second one, the preferred first: names, or `{agent, clusters}` with keys of `GET /api/members`. Without them two agents must read the same.',
    ),
});
