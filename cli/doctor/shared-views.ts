/** Whether the collector hands out what agents read of who belongs to the clusters, or has it wait for a second one. */
import { z } from 'zod';
import { PlasmawatchError } from '../../common/errors.ts';
import type { CollectorClient } from '../collector-client.ts';
import { check, type Check } from './check.ts';

const answerSchema = z.object({
  clusters: z.array(z.object({ cluster: z.string(), reporter: z.string(), state: z.string().optional() })),
  /** Left out by older collectors. */
  nodes: z
    .array(
      z.object({
        node: z.string(),
        refused: z.array(z.object({ address: z.string(), why: z.string() })),
      }),
    )
    .default([]),
});

/** Every machine with containers has the same bridge: nobody has to look after that. */
const NORMAL = 'named by several agents';
const UNPROVEN = 'the agent is not proven';
/** Of the addresses that count for nobody. */
const MAX_NAMED = 20;
const NODE_FIX =
  'docs/rules.md, "Nodes with several addresses": resolve the incident if the address is the node\'s, or give the agent a key of its own';

const FIX =
  'name the agent in the collector\'s settings (`membership.reporters`): docs/install.md, "Who belongs to the cluster"';

/** A finding for each view that waits, and each address of a node that does not count; nothing where the collector does not answer, which another check reports. */
export async function examineSharedViews(client: Pick<CollectorClient, 'get'>): Promise<Check[]> {
  try {
    const { clusters, nodes } = await client.get('/api/members', answerSchema);
    const refused = nodes.flatMap(({ node, refused: all }) =>
      // A node with one address has nothing to tell the others.
      all.length < 2 && all.every(({ why }) => why === UNPROVEN)
        ? []
        : all.filter(({ why }) => why !== NORMAL).map(({ address, why }) => ({ node, address, why })),
    );
    const waiting = clusters
      .filter(({ state }) => state === 'waiting')
      .map(({ cluster, reporter }) =>
        check(
          'shared members',
          false,
          `what ${reporter} reads of cluster ${cluster} is not handed to other agents: no second agent reads the same`,
          FIX,
        ),
      );
    return [
      ...waiting,
      ...refused
        .slice(0, MAX_NAMED)
        .map(({ node, address, why }) =>
          check('node address', false, `${address} of ${node} counts for no other node: ${why}`, NODE_FIX),
        ),
    ];
  } catch (error) {
    if (!(error instanceof PlasmawatchError)) throw error;
    return [];
  }
}
