import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FarHosts, type FarConnection } from '../support/far-hosts.ts';
import { missingForNamespaces } from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';
import { replaceFile, rulesFor } from '../support/watched-node.ts';

const missing = missingForNamespaces();

describe.skipIf(missing !== undefined)(
  `rules that change under a running agent (needs network namespaces${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it('are taken over without a restart, refused when broken, and open connections are judged again', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-reload-'));
      const node = createServer((socket) => socket.on('error', () => {}).pipe(socket));
      const hosts = await FarHosts.open();
      const member = hosts.link.near.ipv4;
      const worker = hosts.address(1);
      node.listen(0, member);
      await once(node, 'listening');
      const { port } = node.address() as AddressInfo;
      const rulesPath = join(folder, 'rules.yaml');
      await writeFile(rulesPath, rulesFor(port, [member, worker]));
      await writeFile(
        join(folder, 'agent.yaml'),
        JSON.stringify({
          rules: rulesPath,
          // Nobody listens there: what the agent reports waits in its spool.
          collector: { url: 'ws://127.0.0.1:9' },
          capture: { interface: hosts.link.interface },
          spool: { path: join(folder, 'spool.db') },
          stateFolder: folder,
        }),
      );
      const agent = new Program(['agent', '--json', '--config', join(folder, 'agent.yaml')]);
      let connection: FarConnection | undefined;
      try {
        await agent.said('"capturing"');
        connection = await hosts.connect(worker, port);
        await connection.say();

        await replaceFile(rulesPath, 'version: 1\nalow: []\n');
        await agent.said('changed rules refused, the old ones stay');
        expect(agent.stderr.join('\n')).toContain('unknown key `alow`; did you mean `allow`?');
        await connection.say();
        expect(agent.stdout).toEqual([]);

        await replaceFile(rulesPath, rulesFor(port, [member]));
        await agent.said('rules taken over');
        await waitFor(() => agent.stdout.length > 0, 'the open connection to be judged again');
        expect(JSON.parse(agent.stdout[0] ?? '')).toMatchObject({
          kind: 'unexpected-peer',
          flow: { source: { ip: worker }, plasmawatch: { state: 'established' } },
        });
        expect(await agent.stop()).toBe(1);
      } finally {
        await agent.kill();
        await connection?.end();
        node.close();
        await hosts.close();
        await rm(folder, { recursive: true });
      }
    });
  },
);
