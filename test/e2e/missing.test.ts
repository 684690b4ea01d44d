import { createServer, type Server } from 'node:net';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { execFileSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freePort } from '../support/free-port.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';
import { rulesFor } from '../support/watched-node.ts';

const API_TOKEN = 'api-token-for-this-test';
const MISSING_AFTER_MS = 5000;
/** What the collector may take on top: a look every five seconds, and a machine that has much else to do. */
const GRACE_MS = 20_000;
/** No other test run of this machine has it. */
const INTERFACE = `pwe${process.pid}`;

const missing = process.platform !== 'linux' ? 'Linux' : process.getuid?.() === 0 ? undefined : 'root';

function makeInterface(): void {
  execFileSync('ip', ['link', 'add', INTERFACE, 'type', 'veth', 'peer', 'name', `${INTERFACE}-peer`]);
  execFileSync('ip', ['link', 'set', INTERFACE, 'up']);
}

interface Seen {
  readonly kind: string;
  readonly state: string;
  readonly severity: string;
}

describe.skipIf(missing !== undefined)(
  `an agent that watches no more (needs Linux and root${missing ? `, missing: ${missing}` : ''})`,
  { timeout: 120_000 },
  () => {
    let folder: string;
    let node: Server;
    let port: number;
    let collector: Program;
    let agent: Program;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'plasmawatch-missing-'));
      node = createServer((socket) => socket.resume());
      node.listen(0, '127.0.0.1');
      await once(node, 'listening');
      makeInterface();
      port = await freePort();
      await writeFile(join(folder, 'token'), 'a-token-for-this-test');
      await writeFile(join(folder, 'api-token'), API_TOKEN);
      await writeFile(
        join(folder, 'rules.yaml'),
        rulesFor((node.address() as { port: number }).port, ['127.0.0.1']),
      );
      await writeFile(
        join(folder, 'agent.yaml'),
        JSON.stringify({
          node: 'w1',
          rules: join(folder, 'rules.yaml'),
          collector: { url: `ws://127.0.0.1:${port}`, tokenFile: join(folder, 'token') },
          capture: { interface: INTERFACE, way: 'ring' },
          spool: { path: join(folder, 'spool.db') },
          stateFolder: folder,
          heartbeatInterval: '1s',
        }),
      );
      await writeFile(
        join(folder, 'collector.yaml'),
        JSON.stringify({
          listen: { port },
          agentTokenFile: join(folder, 'token'),
          apiTokenFile: join(folder, 'api-token'),
          store: { path: join(folder, 'collector.db') },
          fleet: { missingAfter: `${MISSING_AFTER_MS}ms` },
        }),
      );
      collector = new Program(['collector', '--config', join(folder, 'collector.yaml')]);
      await collector.said('listening on');
      agent = await startAgent();
    });

    afterEach(async () => {
      await agent.kill();
      await collector.kill();
      node.close();
      execFileSync('sh', ['-c', `ip link delete ${INTERFACE} 2>/dev/null || true`]);
      await rm(folder, { recursive: true });
    });

    async function startAgent(): Promise<Program> {
      const started = new Program(['agent', '--config', join(folder, 'agent.yaml')]);
      await started.said('connected to the collector');
      return started;
    }

    async function incidents(): Promise<Seen[]> {
      const answer = await fetch(`http://127.0.0.1:${port}/api/incidents`, {
        headers: { authorization: `Bearer ${API_TOKEN}` },
      });
      const { incidents } = (await answer.json()) as { incidents: Seen[] };
      return incidents.map(({ kind, state, severity }) => ({ kind, state, severity }));
    }

    async function until(expected: Seen): Promise<void> {
      await waitFor(
        async () => (await incidents()).some((seen) => JSON.stringify(seen) === JSON.stringify(expected)),
        JSON.stringify(expected),
        MISSING_AFTER_MS + GRACE_MS,
      );
    }

    it('is an incident after kill -9, also to a collector that was killed too, and none once it is back', async () => {
      await agent.kill();
      await until({ kind: 'missing', state: 'open', severity: 'critical' });
      await collector.kill();
      collector = new Program(['collector', '--config', join(folder, 'collector.yaml')]);
      await collector.said('listening on');
      agent = await startAgent();
      await until({ kind: 'missing', state: 'resolved', severity: 'critical' });
      expect(await incidents()).toHaveLength(1);
    });

    it('is a note after a stop, for a while', async () => {
      await agent.stop();
      await until({ kind: 'missing', state: 'open', severity: 'info' });
      agent = await startAgent();
      await until({ kind: 'missing', state: 'resolved', severity: 'info' });
      expect(await incidents()).toHaveLength(1);
    });

    it('is an incident while its capture is dead, and none once it captures again', async () => {
      execFileSync('ip', ['link', 'delete', INTERFACE]);
      await until({ kind: 'blind', state: 'open', severity: 'warning' });
      makeInterface();
      await waitFor(
        async () => (await incidents()).every(({ state }) => state === 'resolved'),
        'the incident to be resolved',
        60_000,
      );
      expect((await incidents()).map(({ kind }) => kind)).toEqual(['blind']);
    });
  },
);
