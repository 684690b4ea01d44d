import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { anomalySchema, type Anomaly } from '../../common/event.ts';
import { freePort } from '../support/free-port.ts';
import { endChild, missingForNamespaces, withEchoServer, withNamespace } from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

const PORT = await freePort();
const NOBODY = 65_534;
const missing = missingForNamespaces('nc', 'python3', 'setpriv');

/** A node in a namespace, with an agent, and a member that it may talk to. */
interface Node {
  readonly agent: Program;
  /** Starts a command on the node. */
  start(command: readonly string[], user: number): ChildProcess;
  /** Where the member listens. */
  readonly member: string;
  /** Calls the node from an address that no rule knows, again until somebody answers. */
  callFromStranger(): Promise<Socket>;
  anomalies(): Anomaly[];
}

describe.skipIf(missing !== undefined)(
  `programs on a member's host (needs network namespaces${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it.each([
      ['nc', NOBODY, (member: string) => ['nc', member, String(PORT)], /\/nc(\.\w+)?$/],
      [
        'python3',
        0,
        (member: string) => ['python3', '-c', pythonClient(member), '--token', 'hunter2'],
        /\/python3[\d.]*$/,
      ],
      [
        'node',
        0,
        (member: string) => [process.execPath, '-e', nodeClient(member), '--', '--password=hunter2'],
        /\/node$/,
      ],
    ])(
      'are named with pid, user and command line: %s',
      { timeout: 60_000 },
      async (name, user, command, executable) => {
        await withNode(async (node) => {
          const child = node.start(command(node.member), user);
          await waitFor(() => node.anomalies().length > 0, 'an anomaly');
          const [anomaly] = node.anomalies();
          expect(anomaly).toMatchObject({
            kind: 'foreign-process',
            severity: 'critical',
            verdict: { allowed: true, rule: 'nodes exchange objects' },
            flow: { destination: { ip: node.member, port: PORT } },
            process: {
              pid: child.pid,
              executable: expect.stringMatching(executable) as string,
              command_line: expect.stringContaining(name) as string,
            },
            user: { id: String(user), name: user === 0 ? 'root' : 'nobody' },
          });
          expect(anomaly?.message).toContain(`${node.member}: process ${child.pid} of user `);
          expect(JSON.stringify(node.anomalies())).not.toContain('hunter2');
        });
      },
    );

    it('are named where a stranger calls them, too', { timeout: 60_000 }, async () => {
      await withNode(async (node) => {
        const server = node.start(['nc', '-6', '-lk', String(PORT)], 0);
        const stranger = await node.callFromStranger();
        try {
          await waitFor(() => node.anomalies().some(({ process }) => process !== undefined), 'the process');
          expect(node.anomalies().at(-1)).toMatchObject({
            kind: 'unexpected-peer',
            process: { pid: server.pid, command_line: `nc -6 -lk ${PORT}` },
            message: expect.stringContaining(`; here it is process ${server.pid} of user root (nc`) as string,
          });
        } finally {
          stranger.destroy();
        }
      });
    });

    it('are not taken for a raylet because of their command line', { timeout: 60_000 }, async () => {
      await withNode(async (node) => {
        const words = [`--object_manager_port=${PORT}`, '--node_ip_address=10.0.0.1'];
        // `exec -a` gives a program another name for itself.
        const script = 'exec -a /opt/ray/core/src/ray/raylet/raylet "$0" -c "$1" "${@:2}"';
        node.start(['bash', '-c', script, 'python3', pythonClient(node.member), ...words], 0);
        await waitFor(() => node.anomalies().length > 0, 'an anomaly');
        expect(node.anomalies()[0]).toMatchObject({
          kind: 'foreign-process',
          process: { executable: expect.stringMatching(/python3/) as string },
        });
      });
    });

    it('are not guessed where they end before they can be looked at', { timeout: 60_000 }, async () => {
      await withNode(async (node) => {
        // Closed with RST, so that nothing is left of the socket when its packets come up.
        const client = node.start(['python3', '-c', shortClient(node.member)], 0);
        await once(client, 'exit');
        const lingering = node.start(['nc', node.member, String(PORT)], 0);
        await waitFor(() => node.anomalies().length > 0, 'an anomaly');
        // The later program is the only one that was seen.
        expect(new Set(node.anomalies().map(({ process }) => process?.pid))).toEqual(
          new Set([lingering.pid]),
        );
      });
    });
  },
);

async function withNode(work: (node: Node) => Promise<void>): Promise<void> {
  await withNamespace(async ({ namespace, near, far }) => {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-processes-'));
    const children: ChildProcess[] = [];
    const programs: Program[] = [];
    try {
      const rules = {
        version: 1,
        services: { 'object-manager': PORT },
        groups: { cluster: { hosts: [near.ipv4, far.ipv4] } },
        allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
      };
      await writeFile(join(folder, 'rules.yaml'), JSON.stringify(rules));
      const settings = {
        node: 'w1',
        rules: join(folder, 'rules.yaml'),
        collector: { url: 'ws://127.0.0.1:1' },
        spool: { path: join(folder, 'spool.db') },
        stateFolder: folder,
      };
      await writeFile(join(folder, 'agent.yaml'), JSON.stringify(settings));
      // The member is this process's own namespace: its end of the link.
      await withEchoServer(undefined, [PORT], async () => {
        const agent = new Program(['agent', '--json', '--config', join(folder, 'agent.yaml')], { namespace });
        programs.push(agent);
        await agent.said('"capturing"');
        await work({
          agent,
          member: near.ipv4,
          start(command, user) {
            const privileges = user === 0 ? [] : ['setpriv', `--reuid=${user}`, '--clear-groups'];
            const words = ['netns', 'exec', namespace, ...privileges, ...command];
            const child = spawn('ip', words, { stdio: ['pipe', 'ignore', 'inherit'] });
            children.push(child);
            return child;
          },
          // The rules know the IPv4 addresses only.
          callFromStranger: () => callUntilAnswered(far.ipv6),
          anomalies: () => agent.stdout.map((line) => anomalySchema.parse(JSON.parse(line))),
        });
      });
    } finally {
      for (const child of children) await endChild(child);
      for (const program of programs) await program.kill();
      await rm(folder, { recursive: true });
    }
  });
}

async function callUntilAnswered(host: string): Promise<Socket> {
  for (;;) {
    const socket = connect(PORT, host);
    const outcome = await new Promise<string>((resolve) => {
      socket.once('connect', () => resolve('answered')).once('error', () => resolve('refused'));
    });
    if (outcome === 'answered') return socket.on('error', () => {});
    await delay(50);
  }
}

function pythonClient(member: string): string {
  return `import socket, time; s = socket.create_connection(("${member}", ${PORT})); s.send(b"x"); time.sleep(60)`;
}

function nodeClient(member: string): string {
  return `require("node:net").connect(${PORT}, "${member}").write("x")`;
}

function shortClient(member: string): string {
  const linger = 's.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))';
  return `import socket, struct; s = socket.create_connection(("${member}", ${PORT})); ${linger}; s.close()`;
}
