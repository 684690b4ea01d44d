import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { missingForNamespaces, withEchoServer, withNamespace } from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { runCli } from '../support/run-cli.ts';

const missing = missingForNamespaces();
const needsNamespaces = `needs network namespaces${missing === undefined ? '' : `, missing: ${missing}`}`;

describe('plasmawatch up', () => {
  it('shows the incident of the demo, serves it on the API, and ends with status 1', async () => {
    const program = new Program(['up', '--demo', '--api-port', '0']);
    await program.said(
      'INCIDENT  INC-1 opened, critical: Unexpected peer 10.77.9.66 talks to the object manager',
    );
    const url = /http:\S+/.exec(program.stdout.join('\n'))?.[0] ?? '';
    const { status, stdout } = await runCli(['incidents', '--collector', url, '--json']);
    expect({ status, peer: (JSON.parse(stdout) as { peer: string }).peer }).toEqual({
      status: 1,
      peer: '10.77.9.66',
    });
    expect(await program.stop()).toBe(1);
    expect(program.stderr).toEqual([]);
  });

  it('prints JSON and nothing else where asked', async () => {
    const program = new Program(['up', '--demo', '--json', '--api-port', '0']);
    await program.said('incident.opened');
    await program.stop();
    const types = program.stdout.map((line) => (JSON.parse(line) as { type: string }).type);
    expect(new Set(types)).toEqual(new Set(['anomaly', 'incident.opened']));
  });

  it.skipIf(missing !== undefined)(
    `says how to grant the privilege and plays the recording where it may not capture (${needsNamespaces})`,
    async () => {
      const program = new Program(['up', '--api-port', '0'], { user: 65_534 });
      await program.said('INCIDENT  INC-1 opened');
      expect(program.stderr[0]).toMatch(
        /^plasmawatch: packets cannot be captured without CAP_NET_RAW .*run it with sudo, or as a unit/,
      );
      expect(program.stderr).toHaveLength(1);
      await program.stop();
    },
  );

  it.skipIf(missing !== undefined)(
    `shows a live intrusion without any configuration (${needsNamespaces})`,
    async () => {
      await withNamespace(async (link) => {
        const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-up-'));
        const state = join(folder, 'made', 'by', 'up');
        const program = new Program(['up', '--api-port', '0', '--state-dir', state], {
          namespace: link.namespace,
        });
        try {
          await program.said('plasmawatch watches TCP port 43800 (kernel)');
          await program.said(
            'WARNING  object-manager port 43800 guessed, not confirmed: no raylet is seen here',
          );
          await withEchoServer(link.namespace, [43_800], () => link.knock(43_800));
          await program.said(`Unexpected peer ${link.near.ipv4} talks to the object manager`);
          expect(await program.stop()).toBe(1);
        } finally {
          await program.kill();
          await rm(folder, { recursive: true });
        }
      });
    },
  );
});
