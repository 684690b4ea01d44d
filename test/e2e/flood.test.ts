/** A flood of forged SYNs from everywhere, and in the middle of it an unknown peer who takes data. */
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { API_TOKEN, writeClusterSettings } from '../support/cluster-settings.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { endChild, missingForNamespaces, withCluster, type Cluster } from '../support/netns.ts';
import { pcapFile, tcpFrame } from '../support/pcap-bytes.ts';
import { Program } from '../support/program.ts';
import { seededRandom } from '../support/seeded-random.ts';
import { waitFor } from '../support/wait-for.ts';

const missing = missingForNamespaces('tcpreplay');
const PORT = 43_800;
/** A minute is a matter for a quiet machine: PLASMAWATCH_TEST_FLOOD_SECONDS=60. */
const SECONDS = Number(process.env['PLASMAWATCH_TEST_FLOOD_SECONDS'] ?? 8);
const PACKETS_A_SECOND = Number(process.env['PLASMAWATCH_TEST_FLOOD_RATE'] ?? 100_000);
/** Different senders in a round; each round has others. */
const SENDERS = 100_000;
const MEBIBYTE = 1_048_576;
const MOST_MESSAGES = 6;
/** Without a flood there would be nothing to hide in. */
const LEAST_ATTEMPTS = 50_000;

describe.skipIf(missing !== undefined)(`a flood of forged SYNs (needs ${missing ?? 'nothing more'})`, () => {
  it(
    'hides nobody who completes a handshake and takes data, and is few messages',
    { timeout: (SECONDS + 60) * 1000 },
    async () => {
      await withCluster(PORT, async (cluster) => {
        const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-flood-'));
        const receiver = await HttpReceiver.open();
        const programs: Program[] = [];
        try {
          await writeFile(join(folder, 'slack-url'), receiver.url('/slack'), { mode: 0o600 });
          const api = await writeClusterSettings(folder, cluster, PORT, [
            { name: 'ops', type: 'slack', urlFile: join(folder, 'slack-url') },
          ]);
          const collector = new Program(['collector', '--config', join(folder, 'collector.yaml')]);
          programs.push(collector);
          await collector.said('listening on');
          const agent = new Program(['agent', '--config', join(folder, 'agent.yaml')], {
            namespace: cluster.node.namespace,
          });
          programs.push(agent);
          await agent.said('connected to the collector');

          await writeFile(join(folder, 'flood.pcap'), pcapFile(flood(cluster)));
          const flooding = spawn('ip', [
            'netns',
            'exec',
            cluster.stranger.namespace,
            'tcpreplay',
            '-q',
            '--preload-pcap',
            '--unique-ip',
            '--loop=100000',
            '--intf1=eth0',
            `--pps=${PACKETS_A_SECOND}`,
            `--duration=${SECONDS}`,
            join(folder, 'flood.pcap'),
          ]);
          try {
            await wait((SECONDS / 2) * 1000);
            const begunMs = performance.now();
            await take(cluster);
            const named = (): boolean =>
              receiver.requests.some(({ body }) => isCriticalAbout(body, cluster.stranger.address));
            await waitFor(named, 'the message that names who took data', 30_000);
            console.log(`named ${Math.round(performance.now() - begunMs)} ms after the first packet`);
            if (flooding.exitCode === null) await new Promise((resolve) => flooding.once('exit', resolve));
          } finally {
            await endChild(flooding);
          }
          expect(receiver.requests.length).toBeLessThanOrEqual(MOST_MESSAGES);
          const [incident] = await incidentsOf(api, 'severity=critical');
          expect(JSON.stringify(incident)).toContain(cluster.stranger.address);
          // The sum of attempts is reported again when ten seconds are over.
          const hasSum = async (): Promise<boolean> =>
            (await incidentsOf(api, 'kind=connection-attempts')).some(({ count }) => count > LEAST_ATTEMPTS);
          await waitFor(hasSum, 'the sum of attempts', 30_000);
          const [sum] = await incidentsOf(api, 'kind=connection-attempts');
          console.log(`${sum?.count} attempts in ${SECONDS} s`);
        } finally {
          for (const program of programs) await program.kill();
          await receiver.close();
          await rm(folder, { recursive: true });
        }
      });
    },
  );
});

/** Attempts of invented senders. */
function flood({ node }: Cluster): Uint8Array[] {
  const random = seededRandom(1);
  const byte = (): number => 1 + Math.floor(random() * 223);
  return Array.from({ length: SENDERS }, () =>
    tcpFrame({
      from: `${byte()}.${byte()}.${byte()}.${byte()}:${1024 + Math.floor(random() * 60_000)}`,
      to: `${node.address}:${PORT}`,
      flags: 'S',
      sequence: Math.floor(random() * 2 ** 32),
    }),
  );
}

/** The unknown peer sends a mebibyte to the node's echo server and reads it back. */
async function take({ stranger, node }: Cluster): Promise<void> {
  const script = `
    const socket = require('node:net').connect(${PORT}, ${JSON.stringify(node.address)});
    socket.write(Buffer.alloc(${MEBIBYTE}));
    let read = 0;
    socket.on('data', ({ length }) => { read += length; if (read >= ${MEBIBYTE}) socket.end(); });
    socket.setTimeout(20_000, () => process.exit(1));`;
  await promisify(execFile)('ip', ['netns', 'exec', stranger.namespace, process.execPath, '-e', script]);
}

/** Whether it is a Slack message of a critical incident that names the address. */
function isCriticalAbout(body: string, address: string): boolean {
  return body.includes(address) && /critical/i.test(body);
}

async function incidentsOf(api: string, query: string): Promise<{ count: number }[]> {
  const response = await fetch(`${api}/api/incidents?${query}`, {
    headers: { authorization: `Bearer ${API_TOKEN}` },
  });
  return ((await response.json()) as { incidents: { count: number }[] }).incidents;
}

async function wait(milliseconds: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
