/** An agent on a worker of a Ray cluster; between the packets and the disk everything is the real thing. */
import { Agent, type AgentDependencies } from '../../agent/agent.ts';
import { openSpool, type Spool } from '../../agent/uplink/spool.ts';
import { parseAddress } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import type { Anomaly, EvidenceReport, Report } from '../../common/event.ts';
import { createWarningLogger } from '../../common/log.ts';
import type { Raylet } from '../../agent/ray/raylet.ts';
import { Ruleset } from '../../rules/match.ts';
import { DEFAULT_TIMES } from '../../rules/membership.ts';
import type { GroupSources, ServicePorts } from '../../rules/schema.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeSource } from './fake-source.ts';
import { noProcesses } from './no-processes.ts';
import { sampleRaylet } from './sample-raylet.ts';
import { sampleRule } from './sample-rule.ts';
import { settle } from './settle.ts';
import { sendConnection, sendHandshake, sendPacket } from './tcp-traffic.ts';

export const WORKER = '10.77.0.11';
export const HEAD = '10.77.0.10';
export const OTHER_WORKER = '10.77.0.12';
/** More turns of the event loop than an answer of the dashboard takes to be read. */
const TURNS = 10;

/** @param to an address, where the object manager's port is meant, or an address and a port */
type Connect = (from: string, to?: string) => void;

interface WorkerOptions extends Partial<Pick<AgentDependencies, 'localNetworks' | 'membersStore' | 'times'>> {
  /** Where the members come from; `ray: auto` when left out. */
  readonly cluster?: GroupSources;
  /** The watched services; the object manager when left out. */
  readonly services?: ReadonlyMap<string, ServicePorts>;
  /** An agent that was stopped on the same machine. */
  readonly after?: WorkerAgent;
  readonly isDashboardThere?: boolean;
  /** One that is proven when left out. */
  readonly raylets?: readonly Raylet[];
}

export class WorkerAgent {
  readonly clock: FakeClock;
  readonly source = new FakeSource();
  /** What reached the disk. */
  readonly reports: (Anomaly & { readonly atMs: number })[] = [];
  /** Of the log. */
  readonly warnings: string[] = [];
  nodes = [HEAD, WORKER, OTHER_WORKER];
  isDashboardThere: boolean;
  raylets: readonly Raylet[];
  /** The host names that resolve. */
  names: Readonly<Record<string, readonly string[]>> = {};
  /** Whether /proc does not answer. */
  areProcessesHidden = false;
  /** To whom the raylet of the worker has opened connections. */
  rayletPeers: string[] = [];
  readonly #spool: Spool;
  #agent: Agent | undefined;
  #port = 5000;

  static async start(options: WorkerOptions = {}): Promise<WorkerAgent> {
    const spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 100_000 });
    const worker = new WorkerAgent(spool, options);
    await worker.#start(options);
    return worker;
  }

  private constructor(
    spool: Spool,
    {
      after,
      isDashboardThere = false,
      raylets = [sampleRaylet({ nodeAddress: WORKER, objectManagerPort: 43_800 })],
    }: WorkerOptions,
  ) {
    this.#spool = spool;
    this.raylets = raylets;
    this.clock = after?.clock ?? new FakeClock();
    this.isDashboardThere = isDashboardThere;
  }

  get agent(): Agent {
    if (this.#agent === undefined) throw new Error('the agent is not started');
    return this.#agent;
  }

  /** Kind, severity and peer of each anomaly, as it was reported first. */
  get told(): string[] {
    const isFirst = ({ id }: Anomaly, index: number): boolean =>
      this.reports.findIndex((report) => report.id === id) === index;
    return this.reports
      .filter(isFirst)
      .map(({ kind, severity, flow, peer }) =>
        [kind, severity, flow?.source.ip ?? peer ?? ''].join(' ').trim(),
      );
  }

  /** The evidence that reached the disk. */
  get evidence(): EvidenceReport[] {
    return this.#spool
      .peek(0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
      .map(({ text }) => JSON.parse(text) as Report)
      .filter((report) => report.type === 'evidence');
  }

  /** Lets time pass in tenths of a second. */
  async pass(seconds: number, each: (second: number) => void = () => {}): Promise<void> {
    for (let tenth = 0; tenth < seconds * 10; tenth++) {
      if (tenth % 10 === 0) each(tenth / 10);
      this.clock.advance(100);
      for (let turn = 0; turn < TURNS; turn++) await settle();
    }
  }

  /** A connection that is answered, and over. */
  readonly exchange: Connect = (from, to = WORKER) => this.#send(sendConnection, from, to);

  /** A connection that is answered, and stays open. */
  readonly open: Connect = (from, to = WORKER) => this.#send(sendHandshake, from, to);

  /** A connection that is refused. */
  readonly refused: Connect = (from, to = WORKER) =>
    this.#send(
      (sink, { from: caller, to: called, time = 0 }) => {
        sendPacket(sink, { from: caller, to: called, time, flags: 'syn' });
        sendPacket(sink, { from: called, to: caller, time, flags: 'rst', acknowledgment: 2 });
      },
      from,
      to,
    );

  async stop(): Promise<void> {
    await this.agent.stop();
    this.#spool.close();
  }

  #resolve(name: string): Promise<readonly string[]> {
    const addresses = this.names[name];
    return addresses === undefined ? Promise.reject(new Error('no such name')) : Promise.resolve(addresses);
  }

  #findRaylets(): Promise<readonly Raylet[]> {
    return this.areProcessesHidden
      ? Promise.reject(new PlasmawatchError('PW_SYSTEM_CALL', 'no answer'))
      : Promise.resolve(this.raylets);
  }

  #send(send: typeof sendConnection, from: string, to: string): void {
    const time = this.clock.now() / 1000;
    const ends = { from: `${from}:${++this.#port}`, to: to.includes(':') ? to : `${to}:43800`, time };
    this.source.deliver((sink) => send(sink, ends));
  }

  async #start({
    cluster = { ray: 'auto' },
    services = new Map([['object-manager', 'auto']]),
    times,
    localNetworks,
    membersStore,
  }: WorkerOptions): Promise<void> {
    const { clock } = this;
    let ids = 0;
    const ruleset = new Ruleset({
      rules: [sampleRule({ to: [...services.keys()] })],
      services,
      groups: new Map([['cluster', cluster]]),
    });
    this.#agent = await Agent.start(
      { node: 'w1', ruleset, maxFlows: 1024 },
      {
        clock,
        spool: this.#spool,
        times: times ?? DEFAULT_TIMES,
        logger: createWarningLogger(({ msg }) => this.warnings.push(msg)),
        fetch: () =>
          this.isDashboardThere
            ? Promise.resolve(new Response(this.#summary()))
            : Promise.reject(new Error('refused')),
        resolve: (name) => this.#resolve(name),
        lookUpRecords: () => Promise.reject(new Error('no names here')),
        findRaylets: () => this.#findRaylets(),
        localAddresses: () => [WORKER],
        ...(localNetworks === undefined ? {} : { localNetworks }),
        ...(membersStore === undefined ? {} : { membersStore }),
        ...noProcesses,
        rayletSockets: async () => {
          await this.#findRaylets();
          return this.rayletPeers.map(socketTo);
        },
        rulesRefused: () => 0,
        createId: () => `anomaly-${++ids}`,
        random: () => 0.5,
        onAnomaly: (anomaly) => this.reports.push({ ...anomaly, atMs: clock.now() }),
        openSource: () => Promise.resolve(this.source),
        createUplink: () => ({
          start: () => {},
          nudge: () => {},
          stop: () => Promise.resolve(),
          counters: () => ({ connected: 0, connections: 0, failures: 0, reportsSent: 0 }),
        }),
      },
    );
  }

  #summary(): string {
    const listed = this.nodes.map((address) => ({
      raylet: {
        nodeId: `id of ${address}`,
        nodeManagerAddress: address,
        objectManagerPort: 43_800,
        state: 'ALIVE',
        isHeadNode: address === HEAD,
      },
    }));
    return JSON.stringify({ data: { summary: listed } });
  }
}

function socketTo(text: string): Awaited<ReturnType<AgentDependencies['rayletSockets']>>[number] {
  const [local, remote] = [parseAddress(WORKER), parseAddress(text)];
  if (local === undefined || remote === undefined) throw new Error(`no address: ${text}`);
  return {
    local,
    localPort: 40_000,
    remote,
    remotePort: 43_800,
    state: 'established',
    listening: false,
    outgoing: true,
  };
}
