/** The part of the collector where agents come in, listening on loopback with the other parts behind it. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Ingest, type IngestLimits, type IngestOptions } from '../../collector/ingest/ingest.ts';
import { SharedViews } from '../../collector/membership/shared-views.ts';
import type { openParts } from './collector-parts.ts';

/** Other settings than those that let a few agents in. */
export type IngestSettings = Partial<Omit<IngestOptions, 'limits'>> & {
  readonly limits?: Partial<IngestLimits> | undefined;
};

/** Starts it; `stop` resolves when no connection is left, and leaves the parts to the caller. */
export async function runIngest(
  parts: Awaited<ReturnType<typeof openParts>>,
  { limits, ...settings }: IngestSettings = {},
): Promise<{ readonly ingest: Ingest; readonly url: string; readonly stop: () => Promise<void> }> {
  const server: Server = createServer((_request, response) => response.writeHead(404).end());
  const ingest = new Ingest({
    isTrustedProxy: () => false,
    ...parts,
    sharedViews: new SharedViews(parts),
    rules: undefined,
    server,
    connections: { handOver: () => {} },
    needsCertificate: false,
    ...settings,
    limits: { maxConnections: 10, maxAgents: 10, messagesPerSecond: 100, bytesPerSecond: 1e6, ...limits },
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    ingest,
    url: `ws://127.0.0.1:${port}`,
    async stop() {
      const stopped = ingest.stop();
      parts.clock.advance(5000);
      await stopped;
      server.close();
      await once(server, 'close');
    },
  };
}
