/** The lab: a real Ray cluster, each host in a network namespace of its own (see raylab's README). */
import { execFile } from 'node:child_process';
import { readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { SHARED_FOLDER } from '../support/corpus.ts';
import { ip } from '../support/netns.ts';
import { waitFor } from '../support/wait-for.ts';

const run = promisify(execFile);
const RAYLAB_FOLDER = join(SHARED_FOLDER, 'raylab');
const RAYLAB = join(RAYLAB_FOLDER, 'raylab');
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const HUB = 'rl-hub';
/** A node that starts beside eight others on a busy machine. */
const START_LIMIT_MS = 90_000;
/** What `ray stop` gives its processes to end, in ms. */
const GRACE_MS = 16_000;
/** The object store of each node, as raylab has it. */
const STORE_BYTES = 400 * 1024 * 1024;
/** Of our own programs in a host's namespace, which `ray stop` would leave alone: agents, commands, the anchor. */
const OUR_PROGRAMS = new Set(['node', 'sh', 'sleep', 'nsenter', 'env']);

export type HostName = 'head' | 'w1' | 'w2' | 'w3' | 'client' | 'intruder';

const descriptionSchema = z.object({
  ray: z.string(),
  gcsAddress: z.string(),
  ipv6: z.boolean(),
  token: z.string(),
  hosts: z.array(z.object({ name: z.string(), netns: z.string(), ip: z.string(), anchorPid: z.number() })),
});
type Description = z.output<typeof descriptionSchema>;

const summarySchema = z.object({
  data: z.object({
    summary: z.array(
      z.object({
        raylet: z
          .object({
            nodeId: z.string(),
            state: z.string(),
            nodeManagerAddress: z.string(),
            objectManagerPort: z.number(),
          })
          .partial(),
      }),
    ),
  }),
});

interface RunningNode {
  readonly nodeId: string;
  readonly objectManagerPort: number;
}

/** An object that is made on one node and fetched by others. */
interface Transfer {
  readonly on: HostName;
  readonly to: readonly HostName[];
  readonly bytes: number;
}

interface StartOptions {
  /** What the node knows the head by, where it is not the head's address. */
  readonly headName?: string;
  /** Where the head's dashboard listens; everywhere when left out. */
  readonly dashboardHost?: string;
}

/** What may be asked of an object manager, with its arguments: ids of nodes and objects have 28 bytes. */
const CALLS = {
  pull: ['ab'.repeat(28), 'cd'.repeat(28)],
  push: ['cd'.repeat(28), '65536', 'ab'.repeat(28), '1'],
  free: [],
  hold: ['3'],
} as const;
type Call = keyof typeof CALLS;

export class Lab {
  #description: Description;
  /** The nodes as the head's dashboard listed them last, by address. */
  #nodes: ReadonlyMap<string, RunningNode> = new Map();

  private constructor(description: Description) {
    this.#description = description;
  }

  /** Starts a cluster of head, w1 and w2, beside client and intruder, which are no members; about 15 s. */
  static async up(options: readonly string[]): Promise<Lab> {
    const lab = new Lab(parse(await raylab('up', '--nodes', '3', ...options)));
    await lab.#waitForNodes(['head', 'w1', 'w2']);
    return lab;
  }

  /** Ends everything in the lab's namespaces and removes them. */
  async down(): Promise<void> {
    await raylab('down');
  }

  /** Makes a host, where there is none, and starts Ray on it. */
  async add(host: HostName): Promise<void> {
    this.#description = parse(await raylab('add', host));
    await this.#waitForNodes([host]);
  }

  /** Ends a host's processes and removes its namespace; it stays known to this object. */
  async remove(host: HostName): Promise<void> {
    await raylab('remove', host);
  }

  /**
   * Ends Ray on a host as `ray stop` does, by SIGTERM, and SIGKILL for what is left. That command itself ends the Ray of all hosts: they have their processes
   * in one /proc.
   */
  async stopRay(host: HostName): Promise<void> {
    const pids = await this.#rayProcesses(host);
    for (const pid of pids) signal(pid, 'SIGTERM');
    const killFromMs = performance.now() + GRACE_MS;
    await waitFor(
      async () => {
        const left = await this.#rayProcesses(host);
        if (performance.now() > killFromMs) for (const pid of left) signal(pid, 'SIGKILL');
        return left.length === 0;
      },
      `the end of Ray on ${host}`,
      START_LIMIT_MS,
    );
  }

  /** Starts Ray on a host whose Ray has ended: in the session of the cluster, except on the head, which begins a new one. */
  async startRay(host: HostName, { headName, dashboardHost = '0.0.0.0' }: StartOptions = {}): Promise<void> {
    const former = this.#nodes.get(this.address(host))?.nodeId;
    const words = [
      `--node-ip-address=${this.address(host)}`,
      '--num-cpus=1',
      '--num-gpus=0',
      `--object-store-memory=${STORE_BYTES}`,
      '--disable-usage-stats',
      ...(host === 'head'
        ? ['--head', '--port=6379', `--dashboard-host=${dashboardHost}`]
        : [`--address=${headName ?? this.address('head')}:6379`]),
    ];
    // The daemons keep the pipes of who started them. Old gRPC asks no hosts file of its own accord.
    const script = 'log=$1; shift; "$@" > "$log" 2>&1 || cat "$log"';
    const log = join(process.env.RAYLAB_STATE ?? '/tmp', `${host}.restart.log`);
    const command = ['env', 'GRPC_DNS_RESOLVER=native', 'ray', 'start', ...words];
    const failure = await this.exec(host, 'sh', '-c', script, 'start', log, ...command);
    if (failure !== '') throw new Error(`ray start on ${host} failed: ${failure}`);
    await this.#waitForNodes([host], former);
  }

  /** Lets a host know another by a name, in its hosts file. */
  async nameHost(on: HostName, name: string, host: HostName): Promise<void> {
    const script =
      'f=$(mktemp -p /tmp/ray); cat /etc/hosts > "$f"; echo "$1" >> "$f"; chmod 644 "$f"; mount --bind "$f" /etc/hosts';
    await this.exec(on, 'sh', '-c', script, 'name', `${this.address(host)} ${name}`);
  }

  /**
   * Plugs a second network card into a host, by which it reaches another one from now on.
   * @param address in the subnet of the nodes
   */
  async addCard(host: HostName, address: string, towards: HostName): Promise<void> {
    const namespace = this.namespace(host);
    const outer = `v2-${host}`;
    await ip('-n', HUB, 'link', 'add', outer, 'type', 'veth', 'peer', 'name', 'eth1', 'netns', namespace);
    await ip('-n', HUB, 'link', 'set', outer, 'master', 'br0', 'up');
    await ip('-n', namespace, 'link', 'set', 'eth1', 'up');
    await ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth1', 'noprefixroute');
    await ip('-n', namespace, 'route', 'add', `${this.address(towards)}/32`, 'dev', 'eth1', 'src', address);
  }

  /** Gives a host one more address, which it uses for nothing by itself. */
  async addAddress(host: HostName, address: string): Promise<void> {
    await ip('-n', this.namespace(host), 'addr', 'add', `${address}/32`, 'dev', 'eth0');
  }

  /** The words before a command that is to run on a host. */
  within(host: HostName): readonly string[] {
    return [RAYLAB, 'exec', host, '--'];
  }

  /** Ray's version. */
  get version(): string {
    return this.#description.ray;
  }

  address(host: HostName): string {
    return this.#host(host).ip;
  }

  namespace(host: HostName): string {
    return this.#host(host).netns;
  }

  objectManagerPort(host: HostName): number {
    return this.#nodes.get(this.address(host))?.objectManagerPort ?? 0;
  }

  nodeId(host: HostName): string {
    return this.#nodes.get(this.address(host))?.nodeId ?? '';
  }

  /** The router between the hosts, where a collector can listen: its namespace and its address. */
  get hub(): { readonly namespace: string; readonly address: string } {
    const head = this.address('head');
    return {
      namespace: HUB,
      address: head.replace(this.#description.ipv6 ? /::.*$/ : /\d+$/, this.#description.ipv6 ? '::1' : '1'),
    };
  }

  /** Lets a Ray driver move objects. */
  async move(transfers: readonly Transfer[], driverOn: HostName = 'head'): Promise<void> {
    const plan = transfers.map(({ on, to, bytes }, index) => ({
      on: this.address(on),
      to: to.map((host) => this.address(host)),
      kind: 'random',
      size: bytes,
      seed: index + 1,
    }));
    const driver = join(RAYLAB_FOLDER, 'drivers', 'transfer.py');
    const words = ['python', driver, this.#gcsAddress(), JSON.stringify(plan)];
    const said = await this.exec(driverOn, 'sh', '-c', 'exec "$@" 2>&1', 'move', ...words);
    const count = transfers.reduce((sum, { to }) => sum + to.length, 0);
    const arrived = said.split('"asked"').length - 1;
    if (arrived !== count) throw new Error(`Ray moved ${arrived} of ${count} objects: ${said}`);
  }

  /**
   * Calls a node's object manager as a program that is no Ray node.
   * @param settings of the program, such as `ROGUE_TLS=1`
   */
  async call(from: HostName, of: HostName, what: Call, ...settings: readonly string[]): Promise<void> {
    const program = ['python', join(RAYLAB_FOLDER, 'drivers', 'rogue.py')];
    await this.exec(from, 'env', ...settings, ...program, what, this.#objectManager(of), ...CALLS[what]);
  }

  /**
   * Connects from an address of a host to a node's object manager and says a few bytes.
   * @returns when it began, in ms since the epoch
   */
  async connect(from: HostName, source: string, to: HostName): Promise<number> {
    const call =
      'import socket, sys, time; t = time.time(); ' +
      's = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5, (sys.argv[3], 0)); s.send(b"PRI * HTTP/2.0"); ' +
      'print(t, flush=True); time.sleep(1)';
    const target = [this.address(to), String(this.objectManagerPort(to))];
    const said = await this.exec(from, 'python', '-c', call, ...target, source);
    const beganSeconds = Number(said);
    if (!(beganSeconds > 0)) throw new Error(`no connection from ${source} to ${target.join(':')}`);
    return beganSeconds * 1000;
  }

  /** Runs a command on a host and returns what it wrote; its exit status does not matter. */
  async exec(host: HostName, ...command: readonly string[]): Promise<string> {
    const [file = '', ...words] = [...this.within(host), ...command];
    const options = { maxBuffer: MAX_OUTPUT_BYTES, timeout: 120_000 };
    const { stdout } = await run(file, words, options).catch((error: { stdout?: string }) => ({
      stdout: error.stdout ?? '',
    }));
    return stdout;
  }

  /** Runs one of raylab's drivers on a host. */
  async python(host: HostName, driver: string, ...words: readonly string[]): Promise<string> {
    return this.exec(host, 'python', join(RAYLAB_FOLDER, 'drivers', driver), ...words);
  }

  /** Waits until Ray lists these hosts as alive, one of them with another id than before. */
  async #waitForNodes(hosts: readonly HostName[], former?: string): Promise<void> {
    await waitFor(
      async () => {
        this.#nodes = await this.#listNodes();
        const nodes = hosts.map((host) => this.#nodes.get(this.address(host)));
        return nodes.every((node) => node !== undefined && node.nodeId !== former);
      },
      `Ray to list ${hosts.join(', ')}`,
      START_LIMIT_MS,
    );
  }

  async #listNodes(): Promise<ReadonlyMap<string, RunningNode>> {
    const { ipv6, token } = this.#description;
    const url = `http://${ipv6 ? '[::1]' : '127.0.0.1'}:8265/nodes?view=summary`;
    const header = token === '' ? [] : ['-H', `Authorization: Bearer ${token}`];
    const answer = await this.exec('head', 'curl', '-s', '-m', '10', '--noproxy', '*', ...header, url);
    const summary = answer.startsWith('{') ? summarySchema.safeParse(JSON.parse(answer)).data : undefined;
    const raylets = (summary?.data.summary ?? []).map(({ raylet }) => raylet);
    return new Map(
      raylets.flatMap(({ nodeId = '', state, nodeManagerAddress = '', objectManagerPort = 0 }) =>
        state === 'ALIVE' && objectManagerPort > 0
          ? [[nodeManagerAddress, { nodeId, objectManagerPort }] as const]
          : [],
      ),
    );
  }

  async #rayProcesses(host: HostName): Promise<number[]> {
    const { stdout } = await run('ip', ['netns', 'pids', this.namespace(host)]);
    const pids = stdout.split(/\s+/).map(Number);
    const found = await Promise.all(
      pids.map(async (pid) => ((await isRays(pid)) && pid !== this.#host(host).anchorPid ? [pid] : [])),
    );
    return found.flat();
  }

  #objectManager(host: HostName): string {
    return `${bracketed(this.address(host))}:${this.objectManagerPort(host)}`;
  }

  #gcsAddress(): string {
    return `${bracketed(this.address('head'))}:6379`;
  }

  #host(name: HostName): Description['hosts'][number] {
    const host = this.#description.hosts.find((candidate) => candidate.name === name);
    if (host === undefined) throw new Error(`the lab has no host ${name}`);
    return host;
  }
}

/** Whether a process of a host is alive and no program of ours. */
async function isRays(pid: number): Promise<boolean> {
  if (pid === 0) return false;
  const executable = await readlink(`/proc/${pid}/exe`).catch(() => '');
  if (executable === '' || OUR_PROGRAMS.has(basename(executable)) || /\bdash$|\bbash$/.test(executable))
    return false;
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !/\) Z /.test(stat);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

async function raylab(...words: readonly string[]): Promise<string> {
  const { stdout } = await run('nice', [RAYLAB, ...words], { maxBuffer: MAX_OUTPUT_BYTES });
  return stdout;
}

function parse(text: string): Description {
  return descriptionSchema.parse(JSON.parse(text));
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}
