import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';
import { replaceFile, rulesFor, talk } from '../support/watched-node.ts';

const missing = process.platform !== 'linux' ? 'Linux' : process.getuid?.() === 0 ? undefined : 'root';
const WORKER = '127.0.210.1';

describe.skipIf(missing !== undefined)(
  `rules that change under a running agent (needs Linux and root${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it('are taken over without a restart, refused when broken, and open connections are judged again', async () => {
      const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-reload-'));
      const node = createServer((socket) => socket.on('error', () => {}).pipe(socket));
      node.listen(0, '127.0.0.1');
      await once(node, 'listening');
      const { port } = node.address() as AddressInfo;
      const rulesPath = join(folder, 'rules.yaml');
      await writeFile(rulesPath, rulesFor(port, ['127.0.0.1', WORKER]));
      await writeFile(
        join(folder, 'agent.yaml'),
        JSON.stringify({
          rules: rulesPath,
          // Nobody listens there: what the agent reports waits in its spool.
          collector: { url: 'ws://127.0.0.1:9' },
          capture: { interface: 'lo' },
          spool: { path: join(folder, 'spool.db') },
          stateFolder: folder,
        }),
      );
      const agent = new Program(['agent', '--json', '--config', join(folder, 'agent.yaml')]);
      let worker: Socket | undefined;
      try {
        await agent.said('"capturing"');
        worker = connect({ host: '127.0.0.1', port, localAddress: WORKER });
        await talk(worker);

        await replaceFile(rulesPath, 'version: 1\nalow: []\n');
        await agent.said('changed rules refused, the old ones stay');
        expect(agent.stderr.join('\n')).toContain('unknown key `alow`; did you mean `allow`?');
        await talk(worker);
        expect(agent.stdout).toEqual([]);

        await replaceFile(rulesPath, rulesFor(port, ['127.0.0.1']));
        await agent.said('rules taken over');
        await waitFor(() => agent.stdout.length > 0, 'the open connection to be judged again');
        expect(JSON.parse(agent.stdout[0] ?? '')).toMatchObject({
          kind: 'unexpected-peer',
          flow: { source: { ip: WORKER }, plasmawatch: { state: 'established' } },
        });
        expect(await agent.stop()).toBe(1);
      } finally {
        await agent.kill();
        worker?.destroy();
        node.close();
        await rm(folder, { recursive: true });
      }
    });
  },
);
