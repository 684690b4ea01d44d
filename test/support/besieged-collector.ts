/**
 * A collector in a process of its own, with agents that report while somebody attacks it: real uplinks on real
 * sockets. What the process holds is counted in /proc.
 */
import { readdir, readlink, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { createUplink, type Uplink } from '../../agent/uplink/client.ts';
import { openSpool, type Spool } from '../../agent/uplink/spool.ts';
import type { RefusalReason } from '../../collector/edge/refusals.ts';
import { MIGRATIONS } from '../../collector/store/sqlite-schema.ts';
import { systemClock } from '../../common/clock.ts';
import type { Report } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { openDatabase } from '../../common/sqlite.ts';
import { freePort } from './free-port.ts';
import { Program } from './program.ts';
import { sampleAnomaly } from './sample-report.ts';
import { waitFor } from './wait-for.ts';

export const AGENT_TOKEN = 'agents-only-0123456789';
const API_TOKEN = 'people-only-0123456789';

interface HealthyAgent {
  readonly name: string;
  readonly spool: Spool;
  readonly uplink: Uplink;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export class BesiegedCollector {
  readonly port: number;
  readonly #program: Program;
  readonly #folder: string;
  readonly #agents: HealthyAgent[] = [];
  #reported = 0;

  private constructor(port: number, program: Program, folder: string) {
    this.port = port;
    this.#program = program;
    this.#folder = folder;
  }

  /**
   * Starts it with limits as they are when nobody sets them, and waits until `agents` agents have reported.
   * @param settings more of the collector's, in lines of YAML; those of the store stand in its section: `, maxReports: 1000`;
   *   in the folder is a secret for webhooks, `webhook-secret`
   */
  static async start(
    agents: number,
    settings: { readonly store?: string; readonly more?: (folder: string) => string } = {},
  ): Promise<BesiegedCollector> {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-besieged-'));
    const port = await freePort();
    await writeFile(join(folder, 'agent-token'), AGENT_TOKEN);
    await writeFile(join(folder, 'api-token'), API_TOKEN);
    const secret = `whsec_${Buffer.from('a signing key for this test').toString('base64')}`;
    await writeFile(join(folder, 'webhook-secret'), secret);
    const config = join(folder, 'collector.yaml');
    await writeFile(
      config,
      `listen: { port: ${port} }
agentTokenFile: ${folder}/agent-token
apiTokenFile: ${folder}/api-token
store: { path: ${folder}/collector.db${settings.store ?? ''} }
${settings.more?.(folder) ?? ''}`,
    );
    const program = new Program(['collector', '--config', config]);
    await program.said('listening on');
    const collector = new BesiegedCollector(port, program, folder);
    for (let index = 0; index < agents; index++) await collector.addAgent(`healthy-${index}`);
    await collector.deliver();
    return collector;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
  }

  /** One more agent; it connects at once. */
  async addAgent(name: string): Promise<void> {
    const spool = await openSpool({ path: ':memory:', maxBytes: 1e7, maxReports: 1000 });
    const uplink = createUplink({
      url: this.url,
      token: AGENT_TOKEN,
      spool,
      identity: { agent: name, version: '0.1.0', capture: 'ring' },
      heartbeat: () => ({}),
      clock: systemClock,
      logger: silentLogger,
      random: Math.random,
      connect: (url, options) => new WebSocket(url, options),
    });
    uplink.start();
    this.#agents.push({ name, spool, uplink });
  }

  /** Every agent reports once more; resolves when the collector has all these reports on its disk. */
  async deliver(
    reportsOf = (name: string, number: number): readonly Report[] => [
      { ...sampleAnomaly(number), node: name, id: `${name}-${number}` },
    ],
  ): Promise<void> {
    const number = ++this.#reported;
    for (const { name, spool, uplink } of this.#agents) {
      spool.append(reportsOf(name, number));
      uplink.nudge();
    }
    await waitFor(
      () => this.#agents.every(({ spool }) => spool.counters().pending === 0),
      'the acknowledgements of all healthy agents',
      40_000,
    );
  }

  /** Connections that agents lost, or did not get: 0 when they noticed nothing. */
  agentFailures(): number {
    return this.#agents.reduce((sum, { uplink }) => sum + uplink.counters().failures, 0);
  }

  /** Asks the API, each time over a new connection. */
  async ask(path: string, token = API_TOKEN, localAddress = '127.0.0.1'): Promise<ApiAnswer> {
    const headers = { authorization: `Bearer ${token}` };
    const sent = request({ host: '127.0.0.1', port: this.port, path, headers, localAddress, agent: false });
    sent.end();
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.on('response', resolve);
      sent.on('error', reject);
    });
    let body = '';
    for await (const chunk of response) body += String(chunk);
    return { status: response.statusCode ?? 0, headers: response.headers, body };
  }

  /** The collector's metrics as they are now; of names with labels, 0 where they were never set. */
  async metrics(): Promise<(name: string) => number> {
    const { body } = await this.ask('/metrics');
    const values = new Map(
      body.split('\n').map((line): [string, number] => {
        const [, name = '', value = ''] = /^plasmawatch_(\S+) (\S+)$/.exec(line) ?? [];
        return [name, Number(value)];
      }),
    );
    return (name) => values.get(name) ?? 0;
  }

  /** Connections and requests that were refused so far for these reasons. */
  async refused(...reasons: readonly RefusalReason[]): Promise<number> {
    const valueOf = await this.metrics();
    return reasons.reduce((sum, reason) => sum + valueOf(`peers_refused_total{reason="${reason}"}`), 0);
  }

  /** Reports of the healthy agents that are in the collector's store. */
  async reports(): Promise<number> {
    return (await this.metrics())('reports_total{type="anomaly"}');
  }

  /** Sockets that the process holds. */
  async sockets(): Promise<number> {
    const folder = `/proc/${this.#program.pid}/fd`;
    const links = (await readdir(folder)).map((name) => readlink(join(folder, name)).catch(() => ''));
    return (await Promise.all(links)).filter((link) => link.startsWith('socket:')).length;
  }

  /** Rows of its store, once it was ended. */
  async readStore<Row>(sql: string): Promise<Row[]> {
    const database = await openDatabase(join(this.#folder, 'collector.db'), MIGRATIONS);
    try {
      return database.prepare(sql).all() as Row[];
    } finally {
      database.close();
    }
  }

  /** Ends the collector; the agents go on, and its store can be read. */
  async kill(): Promise<void> {
    await this.#program.kill();
  }

  async stop(): Promise<void> {
    for (const { uplink, spool } of this.#agents) {
      await uplink.stop();
      spool.close();
    }
    await this.#program.kill();
    await rm(this.#folder, { recursive: true });
  }
}
