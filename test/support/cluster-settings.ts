/** Settings of a collector and of the agent on a cluster's node, for tests with real services in network namespaces. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import type { Cluster } from './netns.ts';

export const API_TOKEN = 'an-api-token-for-this-test';

/**
 * Writes `agent.yaml`, `collector.yaml` and what they name into a folder.
 *
 * @param port of the node's object manager
 * @param receivers as in the collector's settings
 * @returns the URL of the collector's API
 */
export async function writeClusterSettings(
  folder: string,
  cluster: Cluster,
  port: number,
  receivers: readonly object[],
): Promise<string> {
  const write = (name: string, value: unknown): Promise<void> =>
    writeFile(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value), { mode: 0o600 });
  const host = cluster.collectorAddress;
  const collectorPort = await freePort(host);
  await write('agent-token', 'an-agent-token-for-this-test');
  await write('api-token', API_TOKEN);
  await write('rules.yaml', {
    version: 1,
    services: { 'object-manager': port },
    groups: { cluster: { hosts: [cluster.node.address, cluster.member.address] } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
  });
  await write('agent.yaml', {
    node: 'w1',
    rules: join(folder, 'rules.yaml'),
    // A veth pair of this test stands for the network: no TLS needed.
    collector: {
      url: `ws://${host}:${collectorPort}`,
      tokenFile: join(folder, 'agent-token'),
      insecure: true,
    },
    spool: { path: join(folder, 'spool.db') },
    stateFolder: folder,
  });
  await write('collector.yaml', {
    listen: { host, port: collectorPort },
    agentTokenFile: join(folder, 'agent-token'),
    apiTokenFile: join(folder, 'api-token'),
    store: { path: join(folder, 'collector.db') },
    receivers,
  });
  return `http://${host}:${collectorPort}`;
}
