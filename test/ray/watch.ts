/** A collector in the middle of the lab, and an agent on each node that knows no more than where the collector is. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { anomalySchema, type Anomaly } from '../../common/event.ts';
import { Program } from '../support/program.ts';
import type { HostName, Lab } from './lab.ts';

const COLLECTOR_PORT = 9440;
/** Longer than an anomaly takes: the time that providers need to learn of a node, and a look once a second. */
const SETTLE_MS = 12_000;
/** Four programs start at a time, beside a cluster that does so too. */
const START_LIMIT_MS = 90_000;

export class Watch {
  readonly #folder: string;
  readonly #collector: Program;
  readonly #agents: ReadonlyMap<HostName, Program>;
  /** Lines that were looked at already, by agent. */
  readonly #read = new Map<HostName, number>();
  /** Anomalies that were reported before the last call of `news`. */
  readonly #known = new Set<string>();

  private constructor(folder: string, collector: Program, agents: ReadonlyMap<HostName, Program>) {
    this.#folder = folder;
    this.#collector = collector;
    this.#agents = agents;
  }

  /** @param rules the text of a rule file; those that ship without */
  static async start(lab: Lab, hosts: readonly HostName[], rules?: string): Promise<Watch> {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-ray-'));
    const path = (name: string): string => join(folder, name);
    const { address, namespace } = lab.hub;
    await writeFile(path('token'), 'a-token-for-this-test');
    if (rules !== undefined) await writeFile(path('rules.yaml'), rules);
    const collectorSettings = {
      listen: { host: address, port: COLLECTOR_PORT },
      agentTokenFile: path('token'),
      apiTokenFile: path('token'),
      store: { path: path('collector.db') },
    };
    await writeFile(path('collector.yaml'), JSON.stringify(collectorSettings));
    const collector = new Program(['collector', '--config', path('collector.yaml')], { namespace });
    await collector.said('listening on', START_LIMIT_MS);
    const agents = new Map<HostName, Program>();
    for (const host of hosts) {
      const url = `ws://${address.includes(':') ? `[${address}]` : address}:${COLLECTOR_PORT}`;
      const settings = {
        node: host,
        ...(rules === undefined ? {} : { rules: path('rules.yaml') }),
        // The lab's bridge stands for a network that others cannot read.
        collector: { url, tokenFile: path('token'), insecure: true },
        spool: { path: path(`${host}.db`) },
        stateFolder: path(host),
      };
      await writeFile(path(`${host}.yaml`), JSON.stringify(settings));
      agents.set(
        host,
        new Program(['agent', '--json', '--config', path(`${host}.yaml`)], { within: lab.within(host) }),
      );
    }
    const watch = new Watch(folder, collector, agents);
    try {
      for (const agent of agents.values()) await agent.said('connected to the collector', START_LIMIT_MS);
      return watch;
    } catch (error) {
      await watch.stop();
      throw error;
    }
  }

  /** The anomalies that began since the last call, after waiting for those that are still to come. */
  async news(): Promise<Anomaly[]> {
    await delay(SETTLE_MS);
    const reported = [...this.#agents].flatMap(([host, { stdout }]) => {
      const lines = stdout.slice(this.#read.get(host) ?? 0);
      this.#read.set(host, stdout.length);
      return lines.map((line) => anomalySchema.parse(JSON.parse(line)));
    });
    const news = reported.filter(({ id }) => !this.#known.has(id));
    for (const { id } of news) this.#known.add(id);
    return news;
  }

  /** What the collector said of incidents since it was started. */
  incidents(): string[] {
    return this.#collector.stderr.filter((line) => line.includes('"component":"incident"'));
  }

  async stop(): Promise<void> {
    for (const agent of this.#agents.values()) await agent.stop();
    await this.#collector.stop();
    await rm(this.#folder, { recursive: true });
  }
}
