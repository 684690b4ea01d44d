/** A whole collector on a free port of loopback, with its store in memory, for tests of who talks to it. */
import type { z } from 'zod';
import { createCollector, type CollectorOptions } from '../../collector/collector.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import type { CollectorSecrets } from '../../collector/secrets.ts';
import { systemClock } from '../../common/clock.ts';
import type { Report } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { sendReports } from './report-client.ts';

const AGENT_TOKEN = 'agent-token-of-the-test';

/** A token of each role. */
export const API_TOKENS = [
  { name: 'grafana', role: 'viewer', token: 'token-of-the-viewer' },
  { name: 'on-call', role: 'responder', token: 'token-of-the-responder' },
  { name: 'admin', role: 'admin', token: 'token-of-the-admin' },
] as const;

export interface RunningCollector {
  readonly url: string;
  /** Sends reports of the agents that they are of, each of them new, and waits until they are stored. */
  report(...reports: readonly Report[]): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a collector with these settings besides its own, and `API_TOKENS` for its API. */
export async function startCollector(
  settings: z.input<typeof collectorConfigSchema> = {},
  changes: Partial<Omit<CollectorOptions, 'secrets'>> & { readonly secrets?: Partial<CollectorSecrets> } = {},
): Promise<RunningCollector> {
  const collector = await createCollector({
    config: collectorConfigSchema.parse({ listen: { port: 0 }, store: { path: ':memory:' }, ...settings }),
    clock: systemClock,
    logger: silentLogger,
    fetch,
    random: () => 0.5,
    ...changes,
    secrets: { agentToken: AGENT_TOKEN, apiTokens: API_TOKENS, receivers: new Map(), ...changes.secrets },
  });
  const { url } = await collector.start();
  const sent = new Map<string, number>();
  return {
    url,
    report: async (...reports) => {
      for (const agent of new Set(reports.map(({ node }) => node))) {
        const own = reports.filter(({ node }) => node === agent);
        const before = sent.get(agent) ?? 0;
        await sendReports({ url, token: AGENT_TOKEN, firstSequence: before + 1, agent }, own);
        sent.set(agent, before + own.length);
      }
    },
    stop: () => collector.stop(),
  };
}
