/** A collector in the middle of the lab, and an agent on each node that knows no more than where the collector is. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { anomalySchema, type Anomaly } from '../../common/event.ts';
import { Program } from '../support/program.ts';
import { waitFor } from '../support/wait-for.ts';
import type { HostName, Lab } from './lab.ts';

const COLLECTOR_PORT = 9440;
/** Longer than an anomaly takes: the time that providers need to learn of a node, and a refresh once a second. */
const SETTLE_MS = 12_000;
/** Four programs start at a time, beside a cluster that does so too. */
const START_LIMIT_MS = 90_000;

/** Everything that a person is told, so that a failure shows it. */
export function inWords({ node, kind, severity, message }: Anomaly): string {
  return `${node}: ${kind} (${severity}): ${message}`;
}

function gist({ kind, severity }: Anomaly): string {
  return `${kind} ${severity}`;
}

export class Watch {
  readonly #lab: Lab;
  readonly #folder: string;
  readonly #collector: Program;
  readonly #agents = new Map<HostName, Program>();
  /** What agents wrote that were stopped. */
  readonly #former: Program[] = [];
  /** Lines that were looked at already. */
  readonly #read = new Map<Program, number>();
  /** All anomalies by id, each as it was reported last. */
  readonly #latest = new Map<string, Anomaly>();
  /** What was said of each by the last call of `news`, by its id. */
  readonly #known = new Map<string, string>();
  #rules: string | undefined;

  private constructor(lab: Lab, folder: string, collector: Program) {
    this.#lab = lab;
    this.#folder = folder;
    this.#collector = collector;
  }

  /**
   * Starts the collector, and agents on these hosts.
   * @param rules the text of a rule file; those that ship without
   */
  static async start(lab: Lab, hosts: readonly HostName[], rules?: string): Promise<Watch> {
    const folder = await mkdtemp(join(tmpdir(), 'plasmawatch-ray-'));
    const path = (name: string): string => join(folder, name);
    const { address, namespace } = lab.hub;
    await writeFile(path('token'), 'a-token-for-this-test');
    const collectorSettings = {
      listen: { host: address, port: COLLECTOR_PORT },
      agentTokenFile: path('token'),
      apiTokenFile: path('token'),
      store: { path: path('collector.db') },
    };
    await writeFile(path('collector.yaml'), JSON.stringify(collectorSettings));
    const collector = new Program(['collector', '--config', path('collector.yaml')], { namespace });
    const watch = new Watch(lab, folder, collector);
    try {
      await collector.said('listening on', START_LIMIT_MS);
      await watch.startAgents(hosts, rules);
      return watch;
    } catch (error) {
      await watch.stop();
      throw error;
    }
  }

  /** Starts agents, all at a time. */
  async startAgents(hosts: readonly HostName[], rules = this.#rules): Promise<void> {
    this.#rules = rules;
    const path = (name: string): string => join(this.#folder, name);
    if (rules !== undefined) await writeFile(path('rules.yaml'), rules);
    const { address } = this.#lab.hub;
    const url = `ws://${address.includes(':') ? `[${address}]` : address}:${COLLECTOR_PORT}`;
    for (const host of hosts) {
      const settings = {
        node: host,
        ...(rules === undefined ? {} : { rules: path('rules.yaml') }),
        // The lab's bridge stands for a network that others cannot read.
        collector: { url, tokenFile: path('token'), insecure: true },
        spool: { path: path(`${host}.db`) },
        stateFolder: path(host),
      };
      await writeFile(path(`${host}.yaml`), JSON.stringify(settings));
      const words = ['agent', '--json', '--config', path(`${host}.yaml`)];
      this.#agents.set(host, new Program(words, { within: this.#lab.within(host) }));
    }
    for (const host of hosts)
      await this.#agents.get(host)?.said('connected to the collector', START_LIMIT_MS);
  }

  /** Stops the agents of these hosts, in good order. */
  async stopAgents(hosts: readonly HostName[]): Promise<void> {
    for (const host of hosts) {
      const agent = this.#agents.get(host);
      this.#agents.delete(host);
      if (agent === undefined) continue;
      await agent.stop();
      this.#former.push(agent);
    }
  }

  /**
   * The anomalies that began since the last call, or became another kind or severity, each as it was reported last, after waiting
   * for those that are still to come.
   */
  async news(settleMs = SETTLE_MS): Promise<Anomaly[]> {
    await delay(settleMs);
    const news = this.all().filter((anomaly) => this.#known.get(anomaly.id) !== gist(anomaly));
    for (const anomaly of news) this.#known.set(anomaly.id, gist(anomaly));
    return news;
  }

  /** Every anomaly since the start, each as it was reported last. */
  all(): Anomaly[] {
    for (const anomaly of this.#unread()) this.#latest.set(anomaly.id, anomaly);
    return [...this.#latest.values()];
  }

  /**
   * Waits until a peer that nobody has spoken of is reported.
   * @returns when, in ms since the epoch
   */
  async reported(peer: string): Promise<number> {
    const isReported = (): boolean =>
      [...this.#agents.values()].some(({ stdout }) => stdout.some((line) => line.includes(`"${peer}"`)));
    await waitFor(isReported, `a report of ${peer}`);
    return Date.now();
  }

  /** The warnings and errors in the logs of all agents. */
  warnings(): string[] {
    return [...this.#former, ...this.#agents.values()].flatMap(({ stderr }) =>
      stderr.filter((line) => !/"level":[123]0/.test(line) && !line.includes('a secret can be read')),
    );
  }

  /** What the collector said of incidents since it was started. */
  incidents(): string[] {
    return this.#collector.stderr.filter((line) => line.includes('"component":"incident"'));
  }

  async stop(): Promise<void> {
    await this.stopAgents([...this.#agents.keys()]);
    await this.#collector.stop();
    await rm(this.#folder, { recursive: true });
  }

  #unread(): Anomaly[] {
    return [...this.#former, ...this.#agents.values()].flatMap((agent) => {
      const lines = agent.stdout.slice(this.#read.get(agent) ?? 0);
      this.#read.set(agent, agent.stdout.length);
      return lines.map((line) => anomalySchema.parse(JSON.parse(line)));
    });
  }
}
