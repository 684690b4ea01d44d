import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { anomalySchema, type Anomaly } from '../../common/event.ts';
import { freePort } from '../support/free-port.ts';
import {
  endChild,
  missingForNamespaces,
  withCluster,
  withEchoServer,
  type Cluster,
} from '../support/netns.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';

const [PORT, CLAIMED_PORT, UNUSED_PORT] = [await freePort(), await freePort(), await freePort()];
/** Where Ray's dashboard listens, and the token goes. */
const DASHBOARD_PORT = 8265;
const NOBODY = 65_534;
const TOKEN = 'a-token-of-this-test';
const RAYLET_PATH = 'ray/core/src/ray/raylet/raylet';
const missing = missingForNamespaces('setpriv', 'bash', 'mkfifo');

/** A node with Ray's raylet and dashboard, where `nobody` starts programs. */
interface Scene {
  readonly cluster: Cluster;
  readonly folder: string;
  /** What the dashboard of the node, and whoever listens at the stranger's, were sent as credentials. */
  readonly sentTo: { readonly dashboard: readonly string[]; readonly stranger: readonly string[] };
  /** Starts programs of `nobody` that call themselves raylet; resolves when each is at work. */
  startImpostors(): Promise<void>;
  startAgent(): Promise<Program>;
}

describe.skipIf(missing !== undefined)(
  `programs of nobody that call themselves raylet (needs network namespaces${missing ? `, missing: ${missing}` : ''})`,
  () => {
    it.each([
      ['whatever is listed is a member', {}],
      ['members are approved', { members: 'approved', approved: { cidr: ['198.18.1.0/24'] } }],
    ])(
      'change neither members nor ports nor where the token goes, and verdicts go on: %s',
      { timeout: 90_000 },
      async (_title, approval) => {
        await withScene(approval, async (scene) => {
          const { cluster, sentTo } = scene;
          await scene.startImpostors();
          const agent = await scene.startAgent();
          // Some more, which start after the agent.
          await scene.startImpostors();
          const asked = sentTo.dashboard.length;
          await waitFor(() => sentTo.dashboard.length >= asked + 2, 'two more looks at the dashboard');

          await cluster.talk('member', PORT);
          await cluster.talk('stranger', PORT);
          await waitFor(
            () => kindsOf(agent, cluster.stranger.address).has('unexpected-peer'),
            'the stranger',
          );
          await waitFor(() => ofKind(agent, 'raylet-conflict').length > 0, 'the conflict');
          await waitFor(() => ofKind(agent, 'foreign-process').length > 0, 'the program that calls a member');
          expect(ofKind(agent, 'foreign-process')[0]?.user?.id).toBe(String(NOBODY));
          expect(ofKind(agent, 'raylet-conflict')[0]?.message).toMatch(
            /user root \(0\).*proven.*user nobody/,
          );
          expect(kindsOf(agent, cluster.member.address)).toEqual(new Set(['foreign-process']));

          // What it claims is watched besides.
          await cluster.talk('stranger', CLAIMED_PORT);
          await waitFor(
            () => ofKind(agent, 'unexpected-peer').some(({ count }) => count >= 2),
            'the stranger at the port that is claimed',
          );
          expect(sentTo.stranger).toEqual([]);
          expect(new Set(sentTo.dashboard)).toEqual(new Set([`Bearer ${TOKEN}`]));
          expect(await agent.stop()).toBe(1);
        });
      },
    );

    it('do not keep changed rules from coming into force', { timeout: 90_000 }, async () => {
      await withScene({}, async (scene) => {
        const { cluster } = scene;
        await scene.startImpostors();
        const agent = await scene.startAgent();
        await withEchoServer(cluster.node.namespace, [UNUSED_PORT], async () => {
          await writeRules(scene.folder, { services: { 'object-manager': [PORT, UNUSED_PORT] } });
          await agent.said('rules taken over');
          await cluster.talk('stranger', UNUSED_PORT);
          await waitFor(() => ofKind(agent, 'unexpected-peer').length > 0, 'the stranger');
          expect(ofKind(agent, 'unexpected-peer')[0]?.flow?.destination.port).toBe(UNUSED_PORT);
        });
      });
    });
  },
);

function ofKind(agent: Program, kind: Anomaly['kind']): Anomaly[] {
  return agent.stdout
    .map((line) => anomalySchema.parse(JSON.parse(line)))
    .filter((anomaly) => anomaly.kind === kind);
}

/** The kinds of anomalies of connections with this address at either end. */
function kindsOf(agent: Program, address: string): Set<string> {
  const anomalies = agent.stdout.map((line) => anomalySchema.parse(JSON.parse(line)));
  return new Set(
    anomalies
      .filter(({ flow }) => flow?.source.ip === address || flow?.destination.ip === address)
      .map(({ kind }) => kind),
  );
}

async function withScene(rules: object, work: (scene: Scene) => Promise<void>): Promise<void> {
  await withCluster(await freePort(), async (cluster) => {
    const { node, member, stranger } = cluster;
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-impostor-'));
    await chmod(folder, 0o755);
    const children: ChildProcess[] = [];
    const programs: Program[] = [];
    const sentTo = { dashboard: [] as string[], stranger: [] as string[] };
    const start = async (
      namespace: string,
      words: readonly string[],
      sent?: string[],
    ): Promise<ChildProcess> => {
      const child = spawn('ip', ['netns', 'exec', namespace, ...words], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      children.push(child);
      const lines = createInterface(child.stdout);
      const ended = once(child, 'exit').then(() => Promise.reject(new Error(`ended: ${words.join(' ')}`)));
      await Promise.race([once(lines, 'line'), ended]);
      if (sent !== undefined) lines.on('line', (line) => sent.push(line));
      return child;
    };
    const options = (changes: Readonly<Record<string, string | number>>): string[] =>
      Object.entries({
        object_manager_port: PORT,
        node_manager_port: 1,
        node_ip_address: node.address,
        'gcs-address': `${node.address}:6379`,
        ...changes,
      }).map(([name, value]) => `--${name}=${value}`);
    try {
      const ours = await addRaylet(folder, 'opt', 0);
      const theirs = await addRaylet(folder, 'home', NOBODY);
      const fifo = join(folder, 'pipe');
      execFileSync('mkfifo', [fifo]);
      await chown(fifo, NOBODY, NOBODY);
      await writeRules(folder, rules);
      await writeFile(join(folder, 'agent.yaml'), JSON.stringify(settingsIn(folder)));

      const lies = { node_ip_address: stranger.address, 'gcs-address': `${stranger.address}:6379` };
      const asNobody = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];
      let isFirst = true;
      const impostors = async (): Promise<void> => {
        const port = isFirst ? CLAIMED_PORT.toString() : '0';
        isFirst = false;
        const claimed = options({ ...lies, object_manager_port: CLAIMED_PORT });
        const unheard = options({ ...lies, object_manager_port: UNUSED_PORT });
        const piped = options({
          ...lies,
          object_manager_port: 0,
          stdout_filepath: fifo,
          log_dir: '/../../dev',
        });
        const called = [process.execPath, '-e', LISTENER, '--', '0', ...options(lies)];
        const caller = LISTENER + callTo(member.address);
        const commands: [namespace: string, words: readonly string[]][] = [
          [node.namespace, [theirs, '-e', caller, '--', port, ...claimed]],
          [node.namespace, [theirs, '-e', HOARDER, '--', '0', ...unheard]],
          [node.namespace, [theirs, '-e', LISTENER, '--', '0', ...piped]],
          // Ray's own file with another command line.
          [node.namespace, [ours, '-e', LISTENER, '--', '0', ...unheard]],
          [stranger.namespace, ['bash', '-c', 'exec -a raylet "$0" "$@"', ...called]],
        ];
        for (const [namespace, words] of commands) await start(namespace, [...asNobody, ...words]);
      };
      await start(
        stranger.namespace,
        [process.execPath, '-e', DASHBOARD, '--', '0.0.0.0', '[]'],
        sentTo.stranger,
      );
      await withEchoServer(member.namespace, [PORT], () =>
        work({
          cluster,
          folder,
          sentTo,
          startImpostors: impostors,
          async startAgent() {
            // Ray comes after the impostors.
            const nodes = JSON.stringify(
              [node, member].map(({ address }) => ({
                raylet: {
                  nodeId: address.replaceAll('.', 'a'),
                  nodeManagerAddress: address,
                  objectManagerPort: PORT,
                  state: 'ALIVE',
                },
              })),
            );
            await start(
              node.namespace,
              [process.execPath, '-e', DASHBOARD, '--', '127.0.0.1', nodes],
              sentTo.dashboard,
            );
            await start(node.namespace, [ours, '-e', LISTENER, '--', PORT.toString(), ...options({})]);
            const agent = new Program(['agent', '--json', '--config', join(folder, 'agent.yaml')], {
              namespace: node.namespace,
              env: { RAY_AUTH_TOKEN: TOKEN },
            });
            programs.push(agent);
            await agent.said('"capturing"', 30_000);
            return agent;
          },
        }),
      );
    } finally {
      for (const program of programs) await program.kill();
      for (const child of children) await endChild(child);
      await rm(folder, { recursive: true });
    }
  });
}

/** A program at a path like that of Ray's. */
async function addRaylet(folder: string, place: string, user: number): Promise<string> {
  const file = join(folder, place, RAYLET_PATH);
  await mkdir(dirname(file), { recursive: true });
  await copyFile(process.execPath, file);
  await chmod(file, 0o755);
  await chown(file, user, user);
  return file;
}

async function writeRules(folder: string, changes: object): Promise<void> {
  const rules = {
    version: 1,
    services: { 'object-manager': 'auto' },
    groups: { cluster: { ray: 'auto' } },
    allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
    ...changes,
  };
  await writeFile(join(folder, 'rules.yaml'), JSON.stringify(rules));
}

function settingsIn(folder: string): object {
  return {
    node: 'w1',
    rules: join(folder, 'rules.yaml'),
    collector: { url: 'ws://127.0.0.1:1' },
    spool: { path: join(folder, 'spool.db') },
    stateFolder: folder,
  };
}

/** Echoes at the port of its first argument, and ends with its standard input. */
const LISTENER = `
  const net = require('node:net');
  const server = net.createServer((socket) => socket.on('error', () => {}).pipe(socket));
  server.listen(Number(process.argv[1]), () => console.log('listening'));
  process.stdin.on('end', () => process.exit(0)).resume();`;

/** Listens, with more descriptors open than a look should go through each second. */
const HOARDER = `
  const fs = require('node:fs');
  require('node:net').createServer().listen(0, () => {
    try { for (let count = 0; count < 20_000; count++) fs.openSync('/dev/null'); } catch {}
    console.log('listening');
  });
  process.stdin.on('end', () => process.exit(0)).resume();`;

/** Answers as Ray's dashboard, and writes what it is sent as credentials. */
const DASHBOARD = `
  const [host, nodes] = process.argv.slice(1);
  require('node:http').createServer((request, response) => {
    console.log(request.headers.authorization ?? 'nothing');
    response.end(JSON.stringify({ data: { summary: JSON.parse(nodes) } }));
  }).listen(${DASHBOARD_PORT}, host, () => console.log('listening'));
  process.stdin.on('end', () => process.exit(0)).resume();`;

/** Talks to a member's object manager for as long as it lives. */
function callTo(address: string): string {
  return `
    setInterval(() => {
      const socket = net.connect(${PORT}, ${JSON.stringify(address)}, () => socket.write('x'));
      socket.on('error', () => {}).on('data', () => setTimeout(() => socket.end(), 500));
    }, 1000);`;
}
