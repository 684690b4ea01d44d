/** What operators do to a cluster: none of it is an intrusion, and after each of it an unknown peer is still reported. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packagePath } from '../../common/package.ts';
import { Lab, type HostName } from './lab.ts';
import { UnknownPeers } from './unknown-peers.ts';
import { inWords, Watch } from './watch.ts';

const NODES: readonly HostName[] = ['head', 'w1', 'w2'];
/** Watches every service of Ray's, and not the object managers alone. */
const ALL_SERVICES = readFileSync(packagePath('rules/ray-cluster.yaml'), 'utf8');
/** Longer than a node that has left may still talk. */
const FAREWELL_MS = 45_000;
/** What the hosts files of workers say. */
const HEAD_NAME = 'head.ray.example';
/** Ports of Ray's workers and drivers. */
const WORKER_PORTS = { first: 10_002, last: 19_999 };

const EXCHANGE = [
  { on: 'w1', to: ['w2', 'head'], bytes: 300_000 },
  { on: 'head', to: ['w1', 'w2'], bytes: 3_000_000 },
  { on: 'w2', to: ['w1', 'head'], bytes: 8_000_000 },
] as const;

let lab: Lab;
let watch: Watch;
let unknownPeers: UnknownPeers;

/** All that was reported since the last call. */
async function reported(settleMs?: number): Promise<string[]> {
  return (await watch.news(settleMs)).map(inWords);
}

/** What was reported beside members that joined, which is said and is no alarm. */
async function alarms(settleMs?: number): Promise<string[]> {
  const anomalies = await watch.news(settleMs);
  return anomalies.filter(({ kind }) => kind !== 'new-member').map(inWords);
}

/** Lets an unknown peer appear; whether it is reported by this node, and nothing else by anybody. */
async function expectUnknownPeer(at: HostName, from?: 'client' | 'intruder'): Promise<void> {
  expect(await unknownPeers.appear(at, from)).toEqual([`${at}: unexpected-peer of the unknown peer`]);
}

describe('a cluster with random ports, all its services watched', () => {
  beforeAll(async () => {
    lab = await Lab.up(['--random-ports']);
    watch = await Watch.start(lab, NODES, ALL_SERVICES);
    unknownPeers = new UnknownPeers(lab, watch);
  });
  afterAll(async () => {
    console.log(unknownPeers?.summary());
    console.log([...(watch?.incidents() ?? []), ...(watch?.warnings() ?? [])].join('\n'));
    await watch?.stop();
    await lab?.down();
  });

  it('works: nothing is reported but an unknown peer', async () => {
    await lab.move(EXCHANGE);
    expect(await reported()).toEqual([]);
    await expectUnknownPeer('w1');
  });

  it('is worked with by a driver on a worker', async () => {
    await lab.move(EXCHANGE, 'w2');
    expect(await reported()).toEqual([]);
    await expectUnknownPeer('w2', 'client');
  });

  it('has Ray stopped on a worker whose agent goes on', async () => {
    await lab.stopRay('w2');
    await lab.move([{ on: 'head', to: ['w1'], bytes: 500_000 }]);
    expect(await reported(FAREWELL_MS)).toEqual([]);
    await expectUnknownPeer('w1');
  });

  it('has Ray started again in its session, and then the agent', async () => {
    await watch.stopAgents(['w2']);
    await lab.startRay('w2');
    await watch.startAgents(['w2']);
    await lab.move(EXCHANGE);
    expect(await alarms()).toEqual([]);
    await expectUnknownPeer('w2');
  });

  it('has a worker that knows the head by name, watched by its own agent alone', async () => {
    await watch.stopAgents(NODES);
    await lab.stopRay('w1');
    await lab.nameHost('w1', HEAD_NAME, 'head');
    await lab.startRay('w1', { headName: HEAD_NAME });
    await watch.startAgents(['w1']);
    await lab.move(EXCHANGE);
    expect(await reported()).toEqual([]);
    await expectUnknownPeer('w1', 'client');
    await watch.startAgents(['head', 'w2']);
    expect(await reported()).toEqual([]);
  });

  it('has a node with a second network card', async () => {
    await lab.addCard('w1', lab.address('w1').replace(/11$/, '211'), 'w2');
    await lab.stopRay('w1');
    await lab.startRay('w1');
    await lab.move(EXCHANGE);
    expect(await alarms()).toEqual([]);
    await expectUnknownPeer('w2', 'client');
  });

  it('has members approved one by one, and a driver that talks to workers of one that is not', async () => {
    await watch.stopAgents(NODES);
    const approved = NODES.filter((node) => node !== 'w2').map((node) => lab.address(node));
    await watch.startAgents(
      NODES,
      `version: 1
members: approved
approved: { hosts: [${approved.join(', ')}] }
groups: { cluster: { ray: auto } }
allow: [{ name: nodes exchange objects, from: cluster, to: object-manager }]
`,
    );
    await lab.move(EXCHANGE);
    const news = await watch.news();
    const isWorkers = (port = 0): boolean => port >= WORKER_PORTS.first && port <= WORKER_PORTS.last;
    const wrong = news.filter(
      ({ kind, flow }) =>
        kind === 'foreign-process' ||
        (flow?.plasmawatch.service === 'object-manager' && isWorkers(flow.destination.port)),
    );
    expect(wrong.map(inWords)).toEqual([]);
    expect(news.some(({ flow }) => flow?.source.ip === lab.address('w2'))).toBe(true);
  });
});

describe('a cluster whose workers know the head by name and cannot reach its dashboard', () => {
  beforeAll(async () => {
    lab = await Lab.up(['--random-ports']);
    for (const node of NODES.toReversed()) await lab.stopRay(node);
    await lab.startRay('head', { dashboardHost: '127.0.0.1' });
    for (const node of ['w1', 'w2'] as const) {
      await lab.nameHost(node, HEAD_NAME, 'head');
      await lab.startRay(node, { headName: HEAD_NAME });
    }
    // Only an agent on the head can read that dashboard, and the collector's settings name none.
    watch = await Watch.start(lab, ['w1']);
    unknownPeers = new UnknownPeers(lab, watch);
  });
  afterAll(async () => {
    console.log(unknownPeers?.summary());
    console.log([...(watch?.incidents() ?? []), ...(watch?.warnings() ?? [])].join('\n'));
    await watch?.stop();
    await lab?.down();
  });

  it('gets its agents on the workers first: members are no intruders, and an outsider is one', async () => {
    await lab.move(EXCHANGE);
    await watch.startAgents(['w2']);
    await lab.move(EXCHANGE);
    expect(await reported(30_000)).toEqual([]);
    await expectUnknownPeer('w1');
  });

  it('gets the agent of its head last: members become known by it, and any unknown peer is reported', async () => {
    await watch.startAgents(['head']);
    await lab.move(EXCHANGE);
    expect(await alarms()).toEqual([]);
    // In the nodes' own subnet, where workers report nobody before they know the members.
    await expectUnknownPeer('w1', 'client');
    await expectUnknownPeer('w2', 'client');
    await expectUnknownPeer('head', 'client');
    await expectUnknownPeer('w2');
    // What was left open at first may have been settled, or reported, meanwhile.
    const others = watch.all().filter(({ flow }) => flow === null || !unknownPeers.has(flow.source.ip));
    expect(others.filter(({ kind }) => kind !== 'new-member').map(inWords)).toEqual([]);
  });
});

describe('a cluster that new nodes join, all its services watched', () => {
  beforeAll(async () => {
    lab = await Lab.up(['--random-ports']);
    watch = await Watch.start(lab, NODES, ALL_SERVICES);
    unknownPeers = new UnknownPeers(lab, watch);
  });
  afterAll(async () => {
    console.log(unknownPeers?.summary());
    console.log([...(watch?.incidents() ?? []), ...(watch?.warnings() ?? [])].join('\n'));
    await watch?.stop();
    await lab?.down();
  });

  /** Which of the first nodes report that a host joined, and what is reported besides. */
  async function joinOf(host: HostName): Promise<{ witnesses: string[]; alarms: string[] }> {
    const news = await watch.news();
    const joins = news.filter(
      ({ kind, message }) => kind === 'new-member' && message.includes(lab.address(host)),
    );
    return {
      witnesses: NODES.filter((name) => joins.some(({ node }) => node === name)),
      alarms: news.filter((anomaly) => !joins.includes(anomaly)).map(inWords),
    };
  }

  it('is joined by a host whose agent was there before Ray', async () => {
    // The host of Ray's clients has no Ray yet.
    await watch.startAgents(['client']);
    await lab.startRay('client');
    await lab.move([...EXCHANGE, { on: 'client', to: ['w1', 'head'], bytes: 500_000 }]);
    expect(await joinOf('client')).toEqual({ witnesses: NODES, alarms: [] });
    await expectUnknownPeer('client');
  });

  it('is joined by a host whose agent is started afterwards', async () => {
    await lab.add('w3');
    await lab.move([...EXCHANGE, { on: 'w3', to: ['w1', 'head', 'client'], bytes: 500_000 }]);
    expect(await joinOf('w3')).toEqual({ witnesses: NODES, alarms: [] });
    await watch.startAgents(['w3']);
    await lab.move([{ on: 'w3', to: ['w1', 'w2'], bytes: 500_000 }]);
    expect(await alarms()).toEqual([]);
    await expectUnknownPeer('w3');
  });
});
