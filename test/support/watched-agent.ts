/** An agent on a node of a cluster of two, with a capture, a clock, processes and sockets of the test's making. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '../../agent/agent.ts';
import type { FrameSink } from '../../agent/capture/source.ts';
import type { ProcessFinder } from '../../agent/detect/attribution.ts';
import type { ProcessSocket } from '../../agent/ray/sockets.ts';
import { openSpool, type Spool } from '../../agent/uplink/spool.ts';
import { formatAddress } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import type { Anomaly, Report } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { loadRules } from '../../rules/load.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeSource } from './fake-source.ts';
import { noProcesses } from './no-processes.ts';
import { settle } from './settle.ts';

export const NODE_ADDRESS = '10.0.0.1';
export const NODE = `${NODE_ADDRESS}:43800`;
export const MEMBER = '10.0.0.2:43800';

interface WatchedAgentOptions {
  readonly maxFlows?: number;
  readonly maxReports?: number;
  /** The members come from DNS, which can be asked again: an unknown peer may be one that has just joined. */
  readonly fromDns?: boolean;
  readonly find?: ProcessFinder['find'];
}

export class WatchedAgent {
  readonly clock = new FakeClock();
  readonly source = new FakeSource();
  sockets: readonly ProcessSocket[] = [];
  /** What DNS answers, where the members come from there. */
  addresses: readonly string[] = [NODE_ADDRESS, '10.0.0.2'];
  /** Whether the disk refuses reports. */
  isDiskFull = false;
  #folder = '';
  #spool: Spool | undefined;
  #agent: Agent | undefined;
  #readUpTo = 0;
  readonly #reports: Report[] = [];

  static async start(options: WatchedAgentOptions = {}): Promise<WatchedAgent> {
    const watched = new WatchedAgent();
    await watched.#start(options);
    return watched;
  }

  get agent(): Agent {
    if (this.#agent === undefined) throw new Error('the agent is not started');
    return this.#agent;
  }

  /** Hands frames to the agent as one block. */
  deliver(send: (sink: FrameSink, time: number) => void): void {
    this.source.deliver((sink) => send(sink, this.clock.now() / 1000));
  }

  /** Lets time pass, in steps of a second. */
  async pass(seconds: number): Promise<void> {
    for (let passed = 0; passed < seconds; passed++) {
      this.clock.advance(1000);
      await settle();
    }
  }

  /** The anomalies that are, or were, in the spool. */
  anomalies(): Anomaly[] {
    return this.#read().filter((report) => report.type === 'anomaly');
  }

  /** All that is, or was, in the spool. */
  reports(): readonly Report[] {
    return this.#read();
  }

  /** The collector has everything that is in the spool. */
  acknowledge(): void {
    this.#read();
    this.#spool?.acknowledge(this.#readUpTo);
  }

  async stop(): Promise<void> {
    await this.agent.stop();
    this.#spool?.close();
    await rm(this.#folder, { recursive: true });
  }

  #read(): Report[] {
    const waiting = this.#spool?.peek(this.#readUpTo, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) ?? [];
    for (const { sequence, text } of waiting) {
      this.#reports.push(JSON.parse(text) as Report);
      this.#readUpTo = sequence;
    }
    return this.#reports;
  }

  async #start({
    maxFlows = 65_536,
    maxReports = 500_000,
    fromDns = false,
    find,
  }: WatchedAgentOptions): Promise<void> {
    const { clock, source } = this;
    this.#folder = await mkdtemp(join(tmpdir(), 'plasmawatch-watched-'));
    const spool = await openSpool({ path: ':memory:', maxBytes: 1e12, maxReports });
    this.#spool = spool;
    const append = spool.append.bind(spool);
    spool.append = (reports, importances) => {
      if (this.isDiskFull) throw new PlasmawatchError('PW_DISK_FULL', 'disk is full', { retryable: true });
      return append(reports, importances);
    };
    const path = join(this.#folder, 'rules.yaml');
    const cluster = fromDns ? { dns: 'ray.example.' } : { hosts: [NODE_ADDRESS, '10.0.0.2'] };
    await writeFile(
      path,
      JSON.stringify({
        version: 1,
        services: { 'object-manager': [43_800] },
        groups: { cluster },
        allow: [{ name: 'nodes', from: 'cluster', to: 'object-manager' }],
      }),
    );
    const { ruleset } = await loadRules(path, { clock });
    if (ruleset === undefined) throw new Error('the test wrote wrong rules');
    const processes: ProcessFinder = {
      isLocal: (address) => formatAddress(address) === NODE_ADDRESS,
      find: find ?? (() => Promise.resolve(undefined)),
    };
    const records = () => this.addresses.map((address) => ({ address, ttlSeconds: 5 }));
    let ids = 0;
    this.#agent = await Agent.start(
      { node: 'w1', ruleset, maxFlows },
      {
        clock,
        logger: silentLogger,
        fetch: () => Promise.reject(new Error('no network here')),
        resolve: () => Promise.reject(new Error('no names here')),
        lookUpRecords: () => Promise.resolve({ ipv4: records(), ipv6: [] }),
        findRaylets: () => Promise.resolve([]),
        localAddresses: () => [NODE_ADDRESS],
        ...noProcesses,
        processes,
        rayletSockets: () => Promise.resolve([...this.sockets]),
        createId: () => `anomaly-${++ids}`,
        random: () => 0.5,
        onAnomaly: () => {},
        openSource: (ports) => {
          source.setPorts(ports);
          return Promise.resolve(source);
        },
        rulesRefused: () => 0,
        createUplink: () => ({
          start: () => {},
          nudge: () => {},
          stop: () => Promise.resolve(),
          counters: () => ({ connected: 0, connections: 0, failures: 0, reportsSent: 0 }),
        }),
        spool,
      },
    );
  }
}
