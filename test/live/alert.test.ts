import { createHmac } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Webhook } from 'standardwebhooks';
import { writeClusterSettings } from '../support/cluster-settings.ts';
import { HttpReceiver, type ReceivedRequest } from '../support/http-receiver.ts';
import { missingForNamespaces, withCluster, type Cluster } from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

const missing = missingForNamespaces();
const PORT = 43_800;
const SIGNING_KEY = Buffer.from('a signing key for this test');

describe.skipIf(missing !== undefined)(
  `an agent on a node, a collector, an alert (needs network namespaces${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it(
      'tells Slack and a webhook of the stranger within a second, and nobody of the member',
      { timeout: 60_000 },
      async () => {
        await withCluster(PORT, async (cluster) => {
          const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-alert-'));
          const receiver = await HttpReceiver.open();
          const programs: Program[] = [];
          try {
            await writeSettings(folder, cluster, receiver);
            const collector = new Program(['collector', '--config', join(folder, 'collector.yaml')]);
            programs.push(collector);
            await collector.said('listening on');
            const agent = new Program(['agent', '--config', join(folder, 'agent.yaml')], {
              namespace: cluster.node.namespace,
            });
            programs.push(agent);
            await agent.said('"capturing"');
            await agent.said('connected to the collector');

            await cluster.talk('member', PORT);
            const beginMs = performance.now();
            await cluster.talk('stranger', PORT);
            await waitFor(() => receiver.requests.length >= 2, 'both notifications');
            // `talk` returns after its last packet, so this is more than the time since the first one.
            expect(performance.now() - beginMs).toBeLessThan(1000);

            const slack = only(receiver.requests, '/slack');
            const webhook = only(receiver.requests, '/hook');
            expectSlackMessage(slack, cluster);
            expectSignedWebhook(webhook, cluster);

            // The agent's last words are on their way before it ends: had the member caused anything, it would be here.
            expect(await agent.stop()).toBe(1);
            expect(await collector.stop()).toBe(1);
            programs.length = 0;
            expect(receiver.requests).toHaveLength(2);
            expect(receiver.requests.some(({ body }) => body.includes(cluster.member.address))).toBe(false);
          } finally {
            for (const program of programs) await program.kill();
            await receiver.close();
            await rm(folder, { recursive: true });
          }
        });
      },
    );
  },
);

async function writeSettings(folder: string, cluster: Cluster, receiver: HttpReceiver): Promise<void> {
  const secret = (name: string, text: string): Promise<void> =>
    writeFile(join(folder, name), text, { mode: 0o600 });
  await secret('slack-url', receiver.url('/slack'));
  await secret('secret', `whsec_${SIGNING_KEY.toString('base64')}`);
  await writeClusterSettings(folder, cluster, PORT, [
    { name: 'ops', type: 'slack', urlFile: join(folder, 'slack-url') },
    { name: 'soar', type: 'webhook', url: receiver.url('/hook'), secretFile: join(folder, 'secret') },
  ]);
}

function only(requests: readonly ReceivedRequest[], path: string): ReceivedRequest {
  const found = requests.filter((request) => request.path === path);
  expect(found).toHaveLength(1);
  return found[0] as ReceivedRequest;
}

function expectSlackMessage({ body }: ReceivedRequest, { stranger }: Cluster): void {
  const message = JSON.parse(body) as { text: string; blocks: { type: string }[] };
  expect(message.text).toContain(stranger.address);
  expect(message.blocks.map(({ type }) => type)).toContain('section');
  expect(message.blocks.length).toBeLessThanOrEqual(50);
}

function expectSignedWebhook({ headers, body }: ReceivedRequest, { stranger }: Cluster): void {
  const signed = `${String(headers['webhook-id'])}.${String(headers['webhook-timestamp'])}.${body}`;
  const signature = createHmac('sha256', SIGNING_KEY).update(signed).digest('base64');
  expect(headers['webhook-signature']).toBe(`v1,${signature}`);
  new Webhook(SIGNING_KEY.toString('base64')).verify(body, headers as Record<string, string>);
  expect(JSON.parse(body)).toMatchObject({
    type: 'incident.opened',
    data: { peer: stranger.address, severity: 'critical' },
  });
}
