import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findApiToken } from '../../cli/local-tokens.ts';
import { FarHosts, type FarConnection } from '../support/far-hosts.ts';
import { freePort } from '../support/free-port.ts';
import { missingForNamespaces } from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { makeRulesKeys } from '../support/rules-keys.ts';
import { waitFor } from '../support/wait-for.ts';
import { replaceFile, rulesFor } from '../support/watched-node.ts';

const missing = missingForNamespaces();

describe.skipIf(missing !== undefined)(
  `rules that change at the collector (needs network namespaces${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it('are taken over by a running agent, judge its open connections again, and outlive the collector', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-handed-'));
      const node = createServer((socket) => socket.on('error', () => {}).pipe(socket));
      const hosts = await FarHosts.open();
      const member = hosts.link.near.ipv4;
      const worker = hosts.address(1);
      node.listen(0, member);
      await once(node, 'listening');
      const { port } = node.address() as AddressInfo;
      const collectorPort = await freePort();
      const rulesPath = join(folder, 'rules.yaml');
      const keys = makeRulesKeys();
      await writeFile(join(folder, 'rules.key'), keys.privatePem, { mode: 0o600 });
      await writeFile(join(folder, 'rules.pub'), keys.publicPem);
      await writeFile(rulesPath, rulesFor(port, [member, worker]));
      const collectorConfig = {
        listen: { port: collectorPort },
        store: { path: join(folder, 'collector.db') },
        rules: { path: rulesPath, keyFile: join(folder, 'rules.key') },
      };
      const agentConfig = {
        node: 'w1',
        collector: { url: `ws://127.0.0.1:${collectorPort}`, rulesKeyFile: join(folder, 'rules.pub') },
        capture: { interface: hosts.link.interface },
        spool: { path: join(folder, 'spool.db') },
        stateFolder: join(folder, 'state'),
        heartbeatInterval: '1s',
      };
      await writeFile(join(folder, 'collector.yaml'), JSON.stringify(collectorConfig));
      await writeFile(join(folder, 'agent.yaml'), JSON.stringify(agentConfig));
      const start = (what: 'agent' | 'collector'): Program =>
        new Program(
          [what, ...(what === 'agent' ? ['--json'] : []), '--config', join(folder, `${what}.yaml`)],
          // Both find the tokens there that nobody configured.
          { env: { XDG_STATE_HOME: folder } },
        );
      const running = { collector: start('collector'), agent: start('agent') };
      let connection: FarConnection | undefined;
      try {
        await running.agent.said("the collector's rules taken over");
        const api = { url: `http://127.0.0.1:${collectorPort}`, stateHome: folder };
        const first = await rulesOf(api);
        connection = await hosts.connect(worker, port);
        await connection.say();
        expect(running.agent.stdout).toEqual([]);

        await replaceFile(rulesPath, rulesFor(port, [member]));
        await waitFor(() => running.agent.stdout.length > 0, 'the open connection to be judged again');
        expect(JSON.parse(running.agent.stdout[0] ?? '')).toMatchObject({
          kind: 'unexpected-peer',
          flow: { source: { ip: worker }, plasmawatch: { state: 'established' } },
        });
        await waitFor(async () => (await rulesOf(api)) > first, 'the agent to tell its version');

        await running.collector.kill();
        await running.agent.stop();
        running.agent = start('agent');
        await running.agent.said("the collector's rules are in use");
      } finally {
        await running.agent.kill();
        await running.collector.kill();
        await connection?.end();
        node.close();
        await hosts.close();
        await rm(folder, { recursive: true });
      }
    });
  },
);

/** The version that the agent says it runs; 0 before its first heartbeat with one. */
async function rulesOf({ url, stateHome }: { url: string; stateHome: string }): Promise<number> {
  const local = await findApiToken(new URL(url), { XDG_STATE_HOME: stateHome });
  const headers = { authorization: `Bearer ${local?.token ?? ''}` };
  let version = 0;
  await waitFor(async () => {
    const answer = await fetch(`${url}/api/agents`, { headers });
    const { agents } = (await answer.json()) as { agents: { rules: { version: number | null } | null }[] };
    version = agents[0]?.rules?.version ?? 0;
    return version > 0;
  }, 'the version of the agent');
  return version;
}
