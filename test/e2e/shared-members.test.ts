import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { createKubernetesProvider } from '../../agent/membership/kubernetes.ts';
import type { GroupView, Provider } from '../../agent/membership/provider.ts';
import { createRayProvider } from '../../agent/membership/ray.ts';
import { SharedMembers } from '../../agent/membership/shared.ts';
import { createUplink } from '../../agent/uplink/client.ts';
import { openSpool } from '../../agent/uplink/spool.ts';
import { createKubernetesApi } from '../../cli/kubernetes.ts';
import { createCollector, type Collector } from '../../collector/collector.ts';
import { collectorConfigSchema } from '../../collector/config.ts';
import { formatAddress } from '../../common/address.ts';
import { systemClock } from '../../common/clock.ts';
import { silentLogger } from '../../common/log.ts';
import { freePort } from '../support/free-port.ts';
import { createHastenedClock } from '../support/hastened-clock.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { KubernetesApiServer } from '../support/kubernetes-api.ts';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { API_TOKENS } from '../support/running-collector.ts';
import { waitFor } from '../support/wait-for.ts';

const AGENTS = 50;
/** Timers run ten times as fast: the head is asked every half second. */
const clock = createHastenedClock(10);

let head: HttpReceiver;
let folder: string;
let port: number;
let collector: Collector;
/** Who asked the head, in order. */
let asked: string[];
const agents: FakeAgent[] = [];
/** Agents that were given an address of their own. */
let places = 0;

beforeEach(async () => {
  head = await HttpReceiver.open();
  listNodes('10.0.0.1', '10.0.0.2');
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-shared-'));
  port = await freePort();
  asked = [];
  collector = await startCollector();
});

afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.stop()));
  await collector.stop();
  await head.close();
  await rm(folder, { recursive: true });
});

async function startCollector(): Promise<Collector> {
  const config = collectorConfigSchema.parse({
    listen: { port },
    store: { path: join(folder, 'collector.db') },
    // The agents come back ten times as often, too.
    limits: { maxConnections: 100, connectionsPerSecond: 500 },
    membership: { reporters: ['head-node'] },
    // Each agent is told apart by the address that it is given below.
    trustedProxies: ['127.0.0.1/32'],
    receivers: [],
  });
  const created = await createCollector({
    config,
    secrets: { apiTokens: API_TOKENS, receivers: new Map() },
    clock: systemClock,
    logger: silentLogger,
    fetch: globalThis.fetch,
    random: Math.random,
  });
  await created.start();
  return created;
}

function listNodes(...addresses: string[]): void {
  const summary = addresses.map((nodeManagerAddress) => ({
    raylet: {
      nodeId: `node-${nodeManagerAddress}`,
      nodeManagerAddress,
      objectManagerPort: 40_001,
      state: 'ALIVE',
    },
  }));
  head.answers = [{ status: 200, body: JSON.stringify({ data: { summary } }) }];
}

interface FakeAgent {
  readonly name: string;
  readonly views: GroupView[];
  readonly shared: SharedMembers;
  stop(): Promise<void>;
}

/** An agent of a Ray node. */
function startAgent(
  name: string,
  clusterId = 'abcdef',
  reachesHead = true,
  address?: string,
): Promise<FakeAgent> {
  const createProvider = (sharedMembers: SharedMembers): Provider =>
    createRayProvider({
      clock,
      logger: silentLogger,
      sharedMembers,
      fetch: (_url, init) => {
        asked.push(name);
        if (!reachesHead) return Promise.reject(new Error('connection refused'));
        return globalThis.fetch(head.url('/nodes?view=summary'), init);
      },
      findRaylets: () =>
        Promise.resolve([
          sampleRaylet({
            nodeId: name,
            nodeAddress: '10.0.0.9',
            gcsAddress: '10.0.0.1:6379',
            clusterId,
            objectManagerPort: 40_000,
          }),
        ]),
      localAddresses: () => [],
    });
  return connect(name, createProvider, address);
}

/** An agent without packets: its membership and its uplink are the real ones. */
async function connect(
  name: string,
  createProvider: (sharedMembers: SharedMembers) => Provider,
  address = `10.9.${++places >> 8}.${places & 255}`,
): Promise<FakeAgent> {
  const spool = await openSpool({ path: ':memory:', maxBytes: 1e7, maxReports: 100 });
  const shared = new SharedMembers(systemClock, Math.random);
  const views: GroupView[] = [];
  const provider = createProvider(shared);
  const uplink = createUplink({
    url: `ws://127.0.0.1:${port}`,
    token: undefined,
    spool,
    identity: { agent: name, version: '0.1.0', capture: 'ring' },
    heartbeat: () => ({}),
    members: shared,
    clock,
    logger: silentLogger,
    random: Math.random,
    connect: (url, options) =>
      new WebSocket(url, { ...options, headers: { ...options.headers, 'x-forwarded-for': address } }),
  });
  uplink.start();
  await provider.start((view) => views.push(view));
  const agent = {
    name,
    views,
    shared,
    async stop() {
      await provider.stop();
      await uplink.stop();
      spool.close();
    },
  };
  agents.push(agent);
  return agent;
}

async function clusters(): Promise<{ state: string }[]> {
  const answer = await fetch(`http://127.0.0.1:${port}/api/members`, {
    headers: { authorization: `Bearer ${API_TOKENS[0].token}` },
  });
  return ((await answer.json()) as { clusters: { state: string }[] }).clusters;
}

function knows({ views }: FakeAgent, address: string): boolean {
  return (
    views.at(-1)?.members.some(({ addresses }) => addresses.map(formatAddress).includes(address)) ?? false
  );
}

describe('members that agents share through the collector', () => {
  it('has two of fifty agents ask the head, and another one when one of them dies', async () => {
    await Promise.all(Array.from({ length: AGENTS }, (_, index) => startAgent(`w${index}`)));
    const readersOf = ({ shared }: FakeAgent): string | undefined => shared.restOn('abcdef')?.reporter;
    const readers = (): FakeAgent[] => agents.filter((agent) => readersOf(agent) === undefined);
    await waitFor(() => readers().length === 2, 'a view of two others at all but two');
    const [first, second] = readers();
    const names = new Set([first?.name, second?.name]);
    asked = [];
    await waitFor(() => asked.length >= 6, 'six more looks at the head');
    // A look that had begun before the view came may still end.
    expect(asked.slice(2).every((name) => names.has(name))).toBe(true);

    listNodes('10.0.0.1', '10.0.0.2', '10.0.0.3');
    await waitFor(() => agents.every((agent) => knows(agent, '10.0.0.3')), 'the new node at all agents');
    expect(asked.slice(2).every((name) => names.has(name))).toBe(true);

    asked = [];
    agents.splice(
      agents.findIndex((agent) => agent === first),
      1,
    );
    await first?.stop();
    listNodes('10.0.0.1', '10.0.0.4');
    await waitFor(() => agents.every((agent) => knows(agent, '10.0.0.4')), 'the view of the next two');
    await waitFor(() => readers().length === 2, 'all but two to rest');
    expect(agents.map(readersOf).join()).not.toContain(`${first?.name} and`);
    expect(new Set(asked).size).toBeLessThan(AGENTS / 2);
  }, 60_000);

  it('takes no word of one agent that no other confirms, and reports who is new in the first view', async () => {
    const liar = await startAgent('liar');
    const blind = await startAgent('w1', 'abcdef', false);
    await waitFor(async () => (await clusters())[0]?.state === 'waiting', 'the view that nobody confirms');
    expect(liar.views.at(-1)?.members).not.toHaveLength(0);
    expect(knows(blind, '10.0.0.2')).toBe(false);
    await startAgent('w2');
    await waitFor(() => knows(blind, '10.0.0.2'), 'the view that two agents confirm');
    expect((await clusters())[0]).toMatchObject({ state: 'confirmed' });
    const member = blind.views.at(-1)?.members.find(({ id }) => id === 'node-10.0.0.2');
    expect(member).toMatchObject({ readBy: 'liar and w2' });
  }, 60_000);

  it.each([['127.0.0.1'], ['127.0.0.1', '127.0.0.2', '::1'], ['2001:db8::1', '2001:db8::2']])(
    'takes no word that one machine confirms to itself under several names (%s)',
    async (...addresses) => {
      const blind = await startAgent('w1', 'abcdef', false);
      for (let index = 0; index < 4; index++)
        await startAgent(`liar-${index}`, 'abcdef', true, addresses[index % addresses.length]);
      await waitFor(() => new Set(asked).size === 5, 'all to have asked');
      await waitFor(async () => (await clusters())[0]?.state === 'waiting', 'the view that nobody confirms');
      expect(knows(blind, '10.0.0.2')).toBe(false);
    },
    60_000,
  );

  it('knows the nodes where the head does not answer, keeps clusters apart, and outlives the collector', async () => {
    const reader = await startAgent('head-node');
    const blind = await startAgent('w1', 'abcdef', false);
    const stranger = await startAgent('other', '123456', false);
    await waitFor(() => knows(blind, '10.0.0.2'), 'the nodes through the collector');
    expect(blind.views.at(-1)?.members.map(({ source }) => source)).toContain('ray, read by head-node');
    expect(knows(stranger, '10.0.0.2')).toBe(false);

    await collector.stop();
    expect(knows(blind, '10.0.0.2')).toBe(true);
    listNodes('10.0.0.1', '10.0.0.5');
    collector = await startCollector();
    await waitFor(() => knows(blind, '10.0.0.5'), 'the view that is sent again');
    const answer = await fetch(`http://127.0.0.1:${port}/api/members`, {
      headers: { authorization: `Bearer ${API_TOKENS[0].token}` },
    });
    expect(await answer.json()).toMatchObject({
      clusters: [
        {
          cluster: 'abcdef',
          reporter: reader.name,
          state: 'named',
          source: 'ray',
          followers: 2,
          members: [{ addresses: ['10.0.0.1'], ports: { 'object-manager': [40_001] } }, {}],
        },
      ],
    });
  }, 60_000);
});

describe('pods that agents share through the collector', () => {
  it('has two of twenty agents watch, and another one when one of them dies', async () => {
    const api = await KubernetesApiServer.open();
    api.put({ name: 'head', ip: '10.1.0.1', labels: { 'ray.io/group': 'headgroup' } });
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        connect(`w${index}`, (sharedMembers) =>
          createKubernetesProvider(
            {},
            {
              clock,
              logger: silentLogger,
              random: Math.random,
              sharedMembers,
              openKubernetes: () =>
                Promise.resolve(
                  createKubernetesApi(api.url, 'ray', { headers: { authorization: `Bearer ${api.token}` } }),
                ),
            },
          ),
        ),
      ),
    );
    await waitFor(() => api.watching === 2, 'all but two to rest');
    api.put({ name: 'w1', ip: '10.1.0.2' });
    await waitFor(() => agents.every((agent) => knows(agent, '10.1.0.2')), 'the new pod at all agents');
    expect(api.watching).toBe(2);
    const sources = agents.map(({ views }) => views.at(-1)?.members[0]?.source ?? '');
    const reporter = agents[sources.findIndex((source) => !source.includes('read by'))];
    expect(sources.filter((source) => source.includes('read by'))).toHaveLength(18);
    expect(agents.map(({ views }) => views.at(-1)?.members[0]?.group)).toEqual(Array(20).fill('headgroup'));

    agents.splice(
      agents.findIndex((agent) => agent === reporter),
      1,
    );
    await reporter?.stop();
    api.put({ name: 'w2', ip: '10.1.0.3' });
    await waitFor(() => agents.every((agent) => knows(agent, '10.1.0.3')), 'the pod at the next reporter');
    await waitFor(() => api.watching === 2, 'all but two to rest');
    await Promise.all(agents.splice(0).map((agent) => agent.stop()));
    await api.close();
  }, 90_000);
});
