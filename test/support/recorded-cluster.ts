/**
 * A recorded cluster, watched by an agent of today in the recording's own time: packets come from the capture file, and the
 * head's dashboard answers what it would have answered at that moment.
 *
 * The recordings hold no answers of the dashboard. They are made here of the truth file, which says when Ray listed
 * whom, in the form of a real answer (test/vectors/ray/nodes-summary.json).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from '../../agent/agent.ts';
import { openCaptureFile } from '../../agent/capture/file/open.ts';
import { Frame } from '../../agent/capture/source.ts';
import type { Raylet } from '../../agent/ray/raylet.ts';
import { openSpool } from '../../agent/uplink/spool.ts';
import { parseYaml } from '../../common/config-file.ts';
import type { Anomaly } from '../../common/event.ts';
import { silentLogger } from '../../common/log.ts';
import { packagePath } from '../../common/package.ts';
import { compileRules } from '../../rules/compile.ts';
import type { Ruleset } from '../../rules/match.ts';
import { rulesSchema } from '../../rules/schema.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeSource } from './fake-source.ts';
import { readFrames } from './frames.ts';
import { sampleRaylet } from './sample-raylet.ts';
import { settle } from './settle.ts';
import { waitFor } from './wait-for.ts';
import { noProcesses } from './no-processes.ts';

/** What a truth file says (only what is used here); times in seconds since the epoch. */
export interface Truth {
  readonly window: { readonly start: number; readonly end: number };
  readonly hosts: readonly RecordedHost[];
  readonly actions: readonly {
    readonly what: string;
    readonly start: number;
    readonly end: number;
    readonly joined?: string;
    readonly left?: string;
    readonly unexpected?: true;
    /** What a command said, or the nodes as Ray lists them. */
    readonly result?: unknown;
  }[];
  readonly facts: { readonly secondsUntilDeadInGcs?: number };
  readonly recordings: readonly {
    readonly file: string;
    readonly host: string;
    readonly flows: readonly Way[];
  }[];
}

interface ListedNode {
  readonly nodeId: string;
  readonly state: string;
}

interface RecordedHost {
  readonly name: string;
  readonly ip: string;
  readonly nodeId: string | null;
  readonly objectManagerPort: number | null;
  readonly nodeManagerPort: number | null;
  readonly ports: readonly { readonly address: string; readonly port: number; readonly process: string }[];
}

/** The connections between two hosts to one object manager, and whether they should be. */
interface Way {
  readonly client: string;
  readonly server: string;
  readonly port: number;
  readonly connections: number;
  readonly verdict: 'expected' | 'unexpected-peer' | 'unexpected-destination';
}

/** Time passes in steps of this, so that every timer of the agent comes in its turn. */
const STEP_MS = 1000;
/** Longer than what is left of an agent's stories when the recording ends. */
const AFTERWARDS_MS = 90_000;

export class RecordedCluster {
  readonly truth: Truth;
  readonly #scenario: string;

  constructor(scenario: string) {
    this.#scenario = scenario;
    this.truth = JSON.parse(
      readFileSync(packagePath(join('pcaps', `${scenario}.truth.json`)), 'utf8'),
    ) as Truth;
  }

  /**
   * What an agent says, each anomaly as it was told last.
   * @param recording the part of the file's name between the scenario and `.pcap`
   * @param rules the text of a rule file
   * @param node whose agent; that of the recording's host when left out
   */
  async watch(recording: string, rules: string, node?: string): Promise<Anomaly[]> {
    const file = `${this.#scenario}.${recording}.pcap`;
    const host = this.#host(node ?? this.truth.recordings.find((candidate) => candidate.file === file)?.host);
    return watchRecording({
      path: packagePath(join('pcaps', file)),
      node: host.name,
      addresses: [host.ip],
      rules,
      startMs: this.truth.window.start * 1000,
      summaryAt: (seconds) => this.#summaryAt(seconds),
      findRaylets: () => Promise.resolve([this.#rayletOf(host)]),
    });
  }

  /** The nodes that Ray lists at a time, alive or dead, as `GET /nodes?view=summary` tells them. */
  #summaryAt(seconds: number): object {
    const summary = this.truth.hosts
      .filter((host) => host.nodeId !== null && seconds >= this.#joinedAt(host))
      .map((host) => ({
        raylet: {
          nodeId: host.nodeId,
          nodeManagerAddress: host.ip,
          objectManagerPort: host.objectManagerPort,
          nodeManagerPort: host.nodeManagerPort,
          dashboardAgentListenPort: 52_365,
          metricsAgentPort: portOf(host, 'dashboard agent', '*'),
          metricsExportPort: portOf(host, 'dashboard agent', '0.0.0.0'),
          runtimeEnvAgentPort: portOf(host, 'runtime env agent', host.ip),
          state: seconds >= this.#diedAt(host) ? 'DEAD' : 'ALIVE',
          isHeadNode: host.name === 'head',
        },
      }));
    return { result: true, msg: 'Node summary fetched.', data: { summary } };
  }

  /** When Ray listed the host for the first time: -Infinity for the nodes that the scenario began with. */
  #joinedAt({ name }: RecordedHost): number {
    const join = this.truth.actions.find(
      ({ joined, unexpected }) => joined === name || (unexpected === true && name === 'intruder'),
    );
    return join?.end ?? -Infinity;
  }

  /** When Ray listed the host as dead. */
  #diedAt({ name, nodeId }: RecordedHost): number {
    const listed = this.truth.actions.find(
      ({ result }) =>
        Array.isArray(result) &&
        (result as ListedNode[]).some((node) => node.nodeId === nodeId && node.state === 'DEAD'),
    );
    if (listed !== undefined) return listed.start;
    const cut = this.truth.actions.find(({ left }) => left === name);
    return cut === undefined ? Infinity : cut.end + (this.truth.facts.secondsUntilDeadInGcs ?? Infinity);
  }

  #rayletOf(host: RecordedHost): Raylet {
    return sampleRaylet({
      nodeId: host.nodeId ?? '',
      nodeAddress: host.ip,
      gcsAddress: `${bracketed(this.#host('head').ip)}:6379`,
      objectManagerPort: host.objectManagerPort ?? undefined,
      nodeManagerPort: host.nodeManagerPort ?? undefined,
      workerPorts: { first: 10_002, last: 19_999 },
      dashboardPort: 8265,
    });
  }

  #host(name: string | undefined): RecordedHost {
    const host = this.truth.hosts.find((candidate) => candidate.name === name);
    if (host === undefined) throw new Error(`${this.#scenario} has no host ${name}`);
    return host;
  }
}

interface Recording {
  /** The capture file. */
  readonly path: string;
  /** Whose agent, and its addresses beside loopback. */
  readonly node: string;
  readonly addresses: readonly string[];
  /** The text of a rule file. */
  readonly rules: string;
  /** The agent starts at the first packet, or at this time (in ms since the epoch) where it is earlier. */
  readonly startMs?: number;
  /** What the head's dashboard answers to `GET /nodes?view=summary` at a time in seconds since the epoch. */
  readonly summaryAt: (seconds: number) => object;
  readonly findRaylets: () => Promise<Raylet[]>;
}

/** What an agent says of a recording, each anomaly as it was reported last. */
export async function watchRecording({
  path,
  node,
  addresses,
  rules,
  startMs = Infinity,
  summaryAt,
  findRaylets,
}: Recording): Promise<Anomaly[]> {
  const frames = await recordedFrames(path);
  const clock = new FakeClock(Math.min(startMs, timeOf(frames[0])));
  const source = new FakeSource();
  const spool = await openSpool({ path: ':memory:', maxBytes: 1e8, maxReports: 100_000 });
  const anomalies = new Map<string, Anomaly>();
  let ids = 0;
  const agent = await Agent.start(
    { node, ruleset: rulesetOf(rules), maxFlows: 65_536 },
    {
      clock,
      spool,
      logger: silentLogger,
      fetch: () => Promise.resolve(new Response(JSON.stringify(summaryAt(clock.now() / 1000)))),
      resolve: () => Promise.reject(new Error('no names in a recording')),
      lookUpRecords: () => Promise.reject(new Error('no names in a recording')),
      findRaylets,
      localAddresses: () => ['127.0.0.1', ...addresses],
      ...noProcesses,
      rayletSockets: () => Promise.resolve([]),
      random: () => 0.5,
      createId: () => `anomaly-${++ids}`,
      onAnomaly: (anomaly) => anomalies.set(anomaly.id, anomaly),
      openSource: () => Promise.resolve(source),
      rulesRefused: () => 0,
      createUplink: () => ({
        start: () => {},
        nudge: () => {},
        stop: () => Promise.resolve(),
        counters: () => ({ connected: 0, connections: 0, failures: 0, reportsSent: 0 }),
      }),
    },
  );
  const timers = clock.pending;
  const passUntil = async (endMs: number): Promise<void> => {
    while (clock.now() < endMs) {
      clock.advance(Math.min(STEP_MS, endMs - clock.now()));
      // The provider has no timer while it looks, and one more waits while somebody unknown does.
      await waitFor(() => clock.pending >= timers, 'the dashboard to be read');
      await settle();
    }
  };
  for (const frame of frames) {
    await passUntil(timeOf(frame));
    source.deliver((sink) => sink.frame(frame));
  }
  await passUntil(clock.now() + AFTERWARDS_MS);
  await agent.stop();
  spool.close();
  return [...anomalies.values()];
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function portOf({ ports }: RecordedHost, process: string, address: string): number {
  return ports.find((listener) => listener.process === process && listener.address === address)?.port ?? 0;
}

function rulesetOf(text: string): Ruleset {
  const { value, locate, diagnostics } = parseYaml(rulesSchema, text, 'rules.yaml');
  if (value === undefined) throw new Error(`wrong rules: ${diagnostics[0]?.message}`);
  return compileRules([{ file: 'rules.yaml', content: value, locate }]);
}

async function recordedFrames(path: string): Promise<Frame[]> {
  const frames: Frame[] = [];
  const fault = await readFrames(openCaptureFile(path, {}), (frame) => {
    const bytes = new Uint8Array(
      frame.view.buffer,
      frame.view.byteOffset + frame.offset,
      frame.capturedLength,
    );
    const copy = Object.assign(new Frame(), frame, { view: new DataView(bytes.slice().buffer), offset: 0 });
    frames.push(copy);
  });
  if (fault !== undefined) throw fault;
  return frames;
}

/** In ms since the epoch. */
function timeOf(frame: Frame | undefined): number {
  return frame === undefined ? Infinity : frame.seconds * 1000 + frame.nanoseconds / 1e6;
}
