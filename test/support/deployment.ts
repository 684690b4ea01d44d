/**
 * An agent, a collector, a receiver of webhooks and a database as processes of their own, which a test kills and starts
 * again, with the spool and the store on disks that it can fill up. The agent watches a link, over which unknown peers talk to
 * a member.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MIGRATIONS } from '../../collector/store/sqlite-schema.ts';
import type { Anomaly } from '../../common/event.ts';
import { packagePath } from '../../common/package.ts';
import { openDatabase } from '../../common/sqlite.ts';
import { FarHosts } from './far-hosts.ts';
import { freePort } from './free-port.ts';
import { InfluxProcess, missingForInflux } from './influx-process.ts';
import { missingForNamespaces } from './netns.ts';
import { Program } from './program.ts';
import { ServerProcess } from './server-process.ts';
import { missingForDisks, SmallDisk } from './small-disk.ts';

const API_TOKEN = 'api-token-for-this-test';

/** For a program on a machine that is busy with other tests. */
const START_LIMIT_MS = 60_000;

export const PARTS = ['agent', 'collector', 'receiver', 'database'] as const;
export type Part = (typeof PARTS)[number];

/** What a test needs for a deployment and does not have here, or undefined: for `describe.skipIf` and its title. */
export function missingForDeployment(): string | undefined {
  return missingForNamespaces() ?? missingForDisks() ?? missingForInflux();
}

/** A message as the receiver has it on disk. */
export interface Message {
  readonly id: string;
  readonly body: {
    readonly type: string;
    readonly data: { readonly id: string; readonly peer: string | null };
  };
}

interface Settings {
  readonly folder: string;
  readonly agentDisk: SmallDisk;
  readonly collectorDisk: SmallDisk;
  readonly member: Server;
  readonly hosts: FarHosts;
  readonly influx: InfluxProcess;
  readonly collectorPort: number;
  readonly receiverPort: number;
}

export class Deployment {
  /** Every anomaly that an agent called durable, in any of its lives. */
  readonly durable: Anomaly[] = [];
  readonly agentDisk: SmallDisk;
  readonly collectorDisk: SmallDisk;
  readonly influx: InfluxProcess;
  readonly #settings: Settings;
  #agent: Program | undefined;
  #collector: Program | undefined;
  #receiver: ServerProcess | undefined;

  private constructor(settings: Settings) {
    this.#settings = settings;
    this.agentDisk = settings.agentDisk;
    this.collectorDisk = settings.collectorDisk;
    this.influx = settings.influx;
  }

  /** Starts all parts; to be closed. */
  static async open(): Promise<Deployment> {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-deployment-'));
    const agentDisk = SmallDisk.mount(join(folder, 'agent'), '16m');
    const collectorDisk = SmallDisk.mount(join(folder, 'collector'), '64m');
    const member = createServer((socket) => socket.on('error', () => {}).resume());
    const hosts = await FarHosts.open();
    member.listen(0, hosts.link.near.ipv4);
    await once(member, 'listening');
    await mkdir(join(folder, 'influx'));
    const influx = await InfluxProcess.open(join(folder, 'influx'));
    const [collectorPort, receiverPort] = [await freePort(), await freePort()];
    const deployment = new Deployment({
      folder,
      agentDisk,
      collectorDisk,
      member,
      hosts,
      influx,
      collectorPort,
      receiverPort,
    });
    try {
      await deployment.#configure();
      for (const part of ['receiver', 'collector', 'agent'] as const) await deployment.start(part);
      return deployment;
    } catch (error) {
      await deployment.close();
      throw error;
    }
  }

  get agent(): Program {
    if (this.#agent === undefined) throw new Error('the agent was never started');
    return this.#agent;
  }

  get collector(): Program {
    if (this.#collector === undefined) throw new Error('the collector was never started');
    return this.#collector;
  }

  get agentConfig(): string {
    return join(this.#settings.folder, 'agent.yaml');
  }

  /** Resolves when the part is at work. */
  async start(part: Part): Promise<void> {
    const { folder, receiverPort } = this.#settings;
    if (part === 'agent') {
      this.#agent = new Program(['agent', '--json', '--config', this.agentConfig]);
      await this.#agent.said('"capturing"', START_LIMIT_MS);
    } else if (part === 'collector') {
      this.#collector = new Program(['collector', '--config', join(folder, 'collector.yaml')]);
      await this.#collector.said('listening on', START_LIMIT_MS);
    } else if (part === 'receiver') {
      const script = packagePath('test/support/durable-receiver.mjs');
      const words = [script, String(receiverPort), join(folder, 'messages')];
      this.#receiver = await ServerProcess.start(process.execPath, words, {
        cwd: folder,
        isReady: ServerProcess.answers(`http://127.0.0.1:${receiverPort}`),
      });
    } else {
      await this.influx.start();
    }
  }

  /** SIGKILL, and waits for the end. */
  async kill(part: Part): Promise<void> {
    if (part === 'agent') {
      await this.agent.kill();
      this.#keepDurable();
    } else if (part === 'collector') await this.collector.kill();
    else if (part === 'receiver') await this.#receiver?.kill();
    else await this.influx.kill();
  }

  /** SIGTERM to the agent, which then sends what it has. */
  async stopAgent(): Promise<void> {
    const status = await this.agent.stop();
    if (status !== 1) throw new Error(`the agent ended with ${status}: ${this.agent.stderr.join('\n')}`);
    this.#keepDurable();
  }

  /** The address of a host; the first is a member's, and the others are unknown. @param index from 1 */
  host(index: number): string {
    return this.#settings.hosts.address(index);
  }

  /** A host connects to the member, says a word and closes. */
  async talkAs(address: string): Promise<void> {
    const { hosts, member } = this.#settings;
    await hosts.talk(address, (member.address() as AddressInfo).port);
  }

  /** Whether the agent of now has said that an anomaly of this stranger is on its disk. */
  hasReported(stranger: string): boolean {
    return this.agent.stdout.some((line) => line.includes(`"ip":"${stranger}"`));
  }

  /** Status and text of a page of the collector; status 0 where it does not answer. */
  async get(path: string): Promise<{ status: number; text: string }> {
    try {
      const answer = await fetch(`http://127.0.0.1:${this.#settings.collectorPort}${path}`, {
        headers: { authorization: `Bearer ${API_TOKEN}` },
      });
      return { status: answer.status, text: await answer.text() };
    } catch {
      return { status: 0, text: '' };
    }
  }

  /** The value of a metric of the collector, its labels included in the name; undefined while there is none. */
  async metric(name: string): Promise<number | undefined> {
    const { text } = await this.get('/metrics');
    const line = text.split('\n').find((line) => line.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length));
  }

  /** Every message that the receiver has on disk, repeats included. */
  async messages(): Promise<Message[]> {
    const path = join(this.#settings.folder, 'messages');
    const text = existsSync(path) ? await readFile(path, 'utf8') : '';
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Message);
  }

  /** Rows of the collector's store, which must not run. */
  async readStore<Row>(sql: string): Promise<Row[]> {
    const database = await openDatabase(join(this.collectorDisk.path, 'collector.db'), MIGRATIONS);
    try {
      return database.prepare(sql).all() as Row[];
    } finally {
      database.close();
    }
  }

  /** Ends everything, whatever state it is in. */
  async close(): Promise<void> {
    const { folder, member, hosts } = this.#settings;
    await Promise.all([
      this.#agent?.kill(),
      this.#collector?.kill(),
      this.#receiver?.kill(),
      this.influx.kill(),
    ]);
    member.close();
    await hosts.close();
    this.agentDisk.unmount();
    this.collectorDisk.unmount();
    await rm(folder, { recursive: true });
  }

  async #configure(): Promise<void> {
    const { folder, member, hosts, influx, collectorPort, receiverPort } = this.#settings;
    const write = (name: string, value: unknown): Promise<void> =>
      writeFile(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value));
    await write('token', 'a-token-for-this-test');
    await write('api-token', API_TOKEN);
    await write('secret', `whsec_${Buffer.from('a signing key for this test').toString('base64')}`);
    await write('rules.yaml', {
      version: 1,
      services: { 'object-manager': (member.address() as AddressInfo).port },
      groups: { cluster: { hosts: [hosts.link.near.ipv4, hosts.address(1)] } },
      allow: [{ name: 'nodes exchange objects', from: 'cluster', to: 'object-manager' }],
    });
    await write('agent.yaml', {
      node: 'w1',
      rules: join(folder, 'rules.yaml'),
      collector: { url: `ws://127.0.0.1:${collectorPort}`, tokenFile: join(folder, 'token') },
      capture: { interface: hosts.link.interface },
      spool: { path: join(this.agentDisk.path, 'spool.db') },
      stateFolder: this.agentDisk.path,
      heartbeatInterval: '1s',
    });
    await write('collector.yaml', {
      listen: { port: collectorPort },
      agentTokenFile: join(folder, 'token'),
      apiTokenFile: join(folder, 'api-token'),
      store: { path: join(this.collectorDisk.path, 'collector.db') },
      influx: { host: '127.0.0.1', port: influx.port, database: 'plasmawatch' },
      // Each stranger is an incident, told at once, however many come.
      incidents: {
        maxUnresolved: 100_000,
        groupWait: '0s',
        burstWithin: '1s',
        burstSubjects: 100,
        messagesPerHour: 1000,
      },
      receivers: [
        {
          name: 'ops',
          type: 'webhook',
          url: `http://127.0.0.1:${receiverPort}/hook`,
          secretFile: join(folder, 'secret'),
        },
      ],
    });
  }

  #keepDurable(): void {
    for (const line of this.agent.stdout) this.durable.push(JSON.parse(line) as Anomaly);
  }
}
