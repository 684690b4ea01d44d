import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Agent, type AgentDependencies, type AgentOptions } from '../../agent/agent.ts';
import type { Raylet } from '../../agent/ray/raylet.ts';
import type { ProcessSocket } from '../../agent/ray/sockets.ts';
import { openSpool, type Spool } from '../../agent/uplink/spool.ts';
import { parseAddress, type Address } from '../../common/address.ts';
import { PlasmawatchError } from '../../common/errors.ts';
import type { Anomaly } from '../../common/event.ts';
import { createWarningLogger, silentLogger } from '../../common/log.ts';
import { PORT_SOURCES } from '../../common/port-source.ts';
import { loadRules } from '../../rules/load.ts';
import type { Ruleset } from '../../rules/match.ts';
import { writeFile } from 'node:fs/promises';
import { FakeClock } from '../support/fake-clock.ts';
import { FakeSource } from '../support/fake-source.ts';
import { noProcesses } from '../support/no-processes.ts';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { settle } from '../support/settle.ts';
import { sendConnection, sendHandshake } from '../support/tcp-traffic.ts';
import { waitFor } from '../support/wait-for.ts';

const NODE = '10.0.0.1:43800';

describe('Agent', () => {
  let folder: string;
  let clock: FakeClock;
  let spool: Spool;
  let sources: FakeSource[];
  let durable: Anomaly[];
  let events: string[];
  let sockets: ProcessSocket[];
  let agent: Agent;
  let dependencies: AgentDependencies;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'plasmawatch-agent-'));
    clock = new FakeClock();
    spool = await openSpool({ path: join(folder, 'spool.db'), maxBytes: 1e6, maxReports: 1000 });
    sources = [];
    durable = [];
    events = [];
    sockets = [];
    let ids = 0;
    dependencies = {
      clock,
      spool,
      logger: silentLogger,
      fetch: () => Promise.reject(new Error('no network here')),
      resolve: () => Promise.reject(new Error('no names here')),
      lookUpRecords: () => Promise.reject(new Error('no names here')),
      findRaylets: () => Promise.resolve([]),
      localAddresses: () => ['10.0.0.1'],
      ...noProcesses,
      rayletSockets: () => Promise.resolve([...sockets]),
      createId: () => `anomaly-${++ids}`,
      random: () => 0.5,
      onAnomaly: (anomaly) => durable.push(anomaly),
      openSource: (ports) => {
        const source = new FakeSource();
        source.setPorts(ports);
        sources.push(source);
        return Promise.resolve(source);
      },
      rulesRefused: () => 0,
      createUplink: (capture) => ({
        start: () => events.push(`uplink starts, capture ${capture}`),
        nudge: () => events.push(`nudged with ${spool.counters().pending} on disk`),
        stop: () => Promise.resolve(void events.push('uplink stops')),
        counters: () => ({ connected: 0, connections: 0, failures: 0, reportsSent: 0 }),
      }),
    };
    agent = await Agent.start(
      { node: 'w1', ruleset: await rules(['10.0.0.1', '10.0.0.2']), maxFlows: 1024 },
      dependencies,
    );
  });

  afterEach(async () => {
    await agent.stop();
    spool.close();
    await rm(folder, { recursive: true });
  });

  async function rules(hosts: readonly string[], ports: readonly number[] = [43_800]): Promise<Ruleset> {
    const path = join(folder, 'rules.yaml');
    await writeFile(
      path,
      JSON.stringify({
        version: 1,
        services: { 'object-manager': ports },
        groups: { cluster: { hosts } },
        allow: [{ name: 'nodes', from: 'cluster', to: 'object-manager' }],
      }),
    );
    const { ruleset } = await loadRules(path, { clock });
    if (ruleset === undefined) throw new Error('the test wrote wrong rules');
    return ruleset;
  }

  function strangerTalks(source = sources[0]): void {
    source?.deliver((sink) =>
      sendHandshake(sink, { from: '192.0.2.9:5000', to: NODE, time: clock.now() / 1000 }),
    );
  }

  it('has an anomaly on disk at the end of its block, before anybody hears of it', () => {
    strangerTalks();
    expect(events).toEqual(['uplink starts, capture fake', 'nudged with 1 on disk']);
    expect(durable.map(({ id, kind }) => [id, kind])).toEqual([['anomaly-1', 'unexpected-peer']]);
    expect(JSON.parse(spool.peek(0, 10, 1e6)[0]?.text ?? '')).toEqual(durable[0]);
  });

  it('says nothing of members, but reports their connections when they end', async () => {
    sources[0]?.deliver((sink) =>
      sendConnection(sink, { from: '10.0.0.2:5000', to: NODE, time: clock.now() / 1000 }),
    );
    await agent.stop();
    expect(durable).toEqual([]);
    expect(JSON.parse(spool.peek(0, 10, 1e6)[0]?.text ?? '')).toMatchObject({
      type: 'flow-report',
      verdict: { rule: 'nodes' },
    });
  });

  it('takes over rules: other ports are captured, open connections judged again', async () => {
    sources[0]?.deliver((sink) =>
      sendHandshake(sink, { from: '10.0.0.2:5000', to: NODE, time: clock.now() / 1000 }),
    );
    await agent.setRules(await rules(['10.0.0.1'], [43_800, 45_000]));
    expect(sources[0]?.ports.ranges()).toEqual([
      { first: 43_800, last: 43_800 },
      { first: 45_000, last: 45_000 },
    ]);
    clock.advance(1000);
    expect(durable.map(({ flow }) => flow?.source.ip)).toEqual(['10.0.0.2']);
  });

  it('captures the port of a stranger to whom the raylet connected', async () => {
    sockets = [rayletSocket('192.0.2.9', 7777)];
    clock.advance(1000);
    await waitFor(() => sources[0]?.ports.size === 2, 'another port to be captured');
    expect(sources[0]?.ports.has(7777)).toBe(true);
  });

  it('opens the capture again when it fails, keeps the counts, and says that it stood still', async () => {
    const [first] = sources;
    if (first === undefined) throw new Error('no source');
    first.received = 100;
    first.overflowed = 7;
    first.fail(new PlasmawatchError('PW_CAPTURE_FAILED', 'the interface is gone'));
    await waitFor(() => agent.counters().capture_running === 0, 'the capture to stand still');
    clock.advance(2000);
    await waitFor(() => sources.length === 2, 'another source');
    await waitFor(() => agent.counters().capture_running === 1, 'the capture to run');
    expect(agent.counters()).toMatchObject({
      capture_restarts: 1,
      capture_received: 100,
      capture_dropped: 0,
      capture_overflowed: 7,
    });
    strangerTalks(sources[1]);
    expect(durable.map(({ kind }) => kind)).toEqual(['unexpected-peer']);
  });

  it('reports that it is partly blind when packets are lost', () => {
    const [source] = sources;
    if (source === undefined) throw new Error('no source');
    source.received = 1000;
    source.dropped = 500;
    clock.advance(10_000);
    expect(durable.map(({ kind, count }) => [kind, count])).toEqual([['blind', 500]]);
  });

  it('says "unknown" where the source cannot know its losses', () => {
    const [source] = sources;
    if (source === undefined) throw new Error('no source');
    source.dropped = null;
    expect(agent.counters().capture_dropped).toBeNull();
  });

  describe('at a port that nobody has confirmed', () => {
    let raylets: readonly Raylet[];
    let warnings: string[];

    async function startGuessing(options: Partial<AgentOptions> = {}): Promise<void> {
      await agent.stop();
      raylets = [];
      warnings = [];
      const logger = createWarningLogger(({ msg, reason }) => warnings.push(`${msg}: ${String(reason)}`));
      const path = join(folder, 'auto.yaml');
      await writeFile(path, JSON.stringify({ version: 1, groups: { cluster: { hosts: ['10.0.0.1'] } } }));
      const { ruleset } = await loadRules(path, { clock });
      if (ruleset === undefined) throw new Error('the test wrote wrong rules');
      agent = await Agent.start(
        { node: 'w1', ruleset, maxFlows: 1024, ...options },
        { ...dependencies, logger, findRaylets: () => Promise.resolve(raylets) },
      );
    }

    async function pass(seconds: number): Promise<void> {
      for (let passed = 0; passed < seconds; passed++) {
        clock.advance(1000);
        await settle();
      }
    }

    const source = (): string | undefined => PORT_SOURCES[agent.counters().object_manager_port_source ?? -1];

    it('says so at once, and reports it after five minutes until a raylet is there', async () => {
      await startGuessing();
      expect(warnings).toEqual(['object-manager port guessed, not confirmed: no raylet is seen here']);
      expect(agent.counters()).toMatchObject({ object_manager_port: 43_800, object_manager_port_source: 0 });
      expect(agent.ownPort).toMatchObject({ source: 'guess', ports: [43_800] });
      await pass(299);
      expect(durable).toEqual([]);
      await pass(30);
      expect(durable).toMatchObject([{ kind: 'unconfirmed-port' }]);
      raylets = [sampleRaylet()];
      await pass(20);
      expect(durable.at(-1)).toMatchObject({ kind: 'unconfirmed-port', ended: true });
      expect(source()).toBe('raylet');
      expect(agent.counters().object_manager_port).toBe(36_875);
    });

    it('notices that a port which was confirmed is one no more', async () => {
      await startGuessing({ confirmWithinMs: 60_000 });
      raylets = [sampleRaylet()];
      await pass(20);
      expect(source()).toBe('raylet');
      raylets = [];
      await pass(20);
      expect(source()).toBe('guess');
      expect(warnings).toHaveLength(2);
      await pass(80);
      expect(durable).toMatchObject([{ kind: 'unconfirmed-port' }]);
    });

    it('says nothing where no raylet is expected, and watches one that comes all the same', async () => {
      await startGuessing({ isRayExpected: false });
      await pass(400);
      expect({ warnings, durable, source: source() }).toEqual({
        warnings: [],
        durable: [],
        source: 'not expected',
      });
      raylets = [sampleRaylet()];
      await pass(20);
      expect(source()).toBe('raylet');
    });
  });

  it('refuses to start where nothing can be captured, and leaves nothing running', async () => {
    await agent.stop();
    const openSource = (): Promise<never> =>
      Promise.reject(new PlasmawatchError('PW_CAPTURE_UNAVAILABLE', 'no way'));
    const ruleset = await rules(['10.0.0.1']);
    await expect(
      Agent.start({ node: 'w1', ruleset, maxFlows: 1024 }, { ...dependencies, openSource }),
    ).rejects.toThrow('no way');
    expect(clock.pending).toBe(0);
  });

  it('keeps reports while the disk refuses, and writes them when it takes them again', () => {
    const { append } = spool;
    spool.append = () => {
      throw new PlasmawatchError('PW_STORE', 'the disk is full', { retryable: true });
    };
    strangerTalks();
    expect(durable).toEqual([]);
    spool.append = append;
    clock.advance(1000);
    expect(durable.map(({ kind }) => kind)).toEqual(['unexpected-peer']);
  });
});

function rayletSocket(remote: string, remotePort: number): ProcessSocket {
  return {
    local: address('10.0.0.1'),
    localPort: 5000,
    remote: address(remote),
    remotePort,
    state: 'established',
    listening: false,
    outgoing: true,
  };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
