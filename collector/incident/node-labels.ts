/** What the settings say of nodes beyond their names: `team: ml` for all nodes `gpu-*`. */
import { z } from 'zod';
import { compilePattern, labels, nodePattern, type Labels } from './matchers.ts';

const MAX_ENTRIES = 256;
const MAX_PATTERNS = 100;

export const nodeLabelsSchema = z
  .array(
    z.strictObject({
      nodes: z
        .array(nodePattern)
        .min(1)
        .max(MAX_PATTERNS)
        .describe('Names of nodes; `*` stands for any text.'),
      labels: labels.describe('Their labels. Where two entries give the same label, the later one counts.'),
    }),
  )
  .max(MAX_ENTRIES);

/** The labels of a node by its name; none for a node that no entry is about. */
export function nodeLabelsOf(entries: z.output<typeof nodeLabelsSchema>): (node: string) => Labels {
  const compiled = entries.map(({ nodes, labels: given }) => ({
    patterns: nodes.map(compilePattern),
    given,
  }));
  return (node) =>
    Object.assign(
      {},
      ...compiled
        .filter(({ patterns }) => patterns.some((matches) => matches(node)))
        .map(({ given }) => given),
    ) as Labels;
}
