import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { anomalySchema, type Anomaly } from '../../common/event.ts';
import { freePort } from '../support/free-port.ts';
import { writeClusterSettings } from '../support/cluster-settings.ts';
import { ip, missingForNamespaces, withCluster } from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

const missing = missingForNamespaces();
const PORT = await freePort();
const MACS = ['02:00:0a:00:00:02', '02:00:0a:00:00:66'];

describe.skipIf(missing !== undefined)(
  `an address that two hosts use in turn (needs network namespaces${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it(
      'is reported by an agent that captures in the kernel, whose packets come without a link header',
      { timeout: 60_000 },
      async () => {
        await withCluster(PORT, async (cluster) => {
          const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-conflict-'));
          await writeClusterSettings(folder, cluster, PORT, []);
          const agent = new Program(['agent', '--config', join(folder, 'agent.yaml'), '--json'], {
            namespace: cluster.node.namespace,
          });
          const conflicts = (): Anomaly[] =>
            agent.stdout
              .filter((line) => line.includes('"address-conflict"'))
              .map((line) => anomalySchema.parse(JSON.parse(line)));
          try {
            await agent.said('"capturing"');
            for (const mac of [...MACS, ...MACS]) {
              await ip('-n', cluster.member.namespace, 'link', 'set', 'eth0', 'address', mac);
              await cluster.talk('member', PORT);
            }
            await waitFor(() => conflicts().at(-1)?.severity === 'critical', 'the conflict');
            expect(conflicts().at(-1)).toMatchObject({ peer: cluster.member.address, node: 'w1' });
            for (const mac of MACS) expect(conflicts().at(-1)?.message).toContain(mac);
          } finally {
            await agent.kill();
            await rm(folder, { recursive: true });
          }
        });
      },
    );
  },
);
