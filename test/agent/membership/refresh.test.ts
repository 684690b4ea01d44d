/** An on-demand refresh of an agent that rests on what another one reads: an old view says nothing of a node that has joined since. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GroupView, LookResult, Provider } from '../../../agent/membership/provider.ts';
import { createRayProvider } from '../../../agent/membership/ray.ts';
import { SharedMembers } from '../../../agent/membership/shared.ts';
import { SharedViews } from '../../../collector/membership/shared-views.ts';
import type { Follower } from '../../../collector/membership/view.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { formatAddress } from '../../../common/address.ts';
import { silentLogger } from '../../../common/log.ts';
import type { SharedMembersMessage, MembersWanted } from '../../../common/shared-view.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleRaylet } from '../../support/sample-raylet.ts';
import { settle } from '../../support/settle.ts';

const CLUSTER = 'ab'.repeat(28);
const HEAD = '10.77.0.10';
const NEW = '10.77.0.13';

/** One node's Ray provider with its link to the collector. */
interface Node {
  readonly provider: Provider;
  readonly views: GroupView[];
  /** How often it has asked the dashboard. */
  asked: number;
  readonly follower: Follower;
  readonly shared: SharedMembers;
}

describe('a refresh of an agent that rests on a shared view', () => {
  const nodes = new Map<string, Node>();
  let hanging: (() => void)[];
  let clock: FakeClock;
  let collector: SharedViews;
  let listed: string[];
  /** By node: whether the dashboard answers it, refuses it, or leaves it waiting. */
  let dashboard: Record<string, 'answers' | 'refuses' | 'hangs'>;
  let head: Node;
  let worker: Node;

  beforeEach(async () => {
    clock = new FakeClock();
    hanging = [];
    listed = [HEAD, '10.77.0.11'];
    dashboard = { head: 'answers', w1: 'refuses' };
    collector = new SharedViews({ clock, metrics: createCollectorMetrics(), reporters: [{ agent: 'head' }] });
    head = await start('head', HEAD);
    worker = await start('w1', '10.77.0.11');
    await pass(5000);
  });

  afterEach(async () => {
    dashboard = {};
    for (const end of hanging) end();
    await Promise.all([head.provider.stop(), worker.provider.stop()]);
    collector.stop();
    expect(clock.pending).toBe(0);
  });

  async function start(agent: string, address: string): Promise<Node> {
    const views: GroupView[] = [];
    const shared = new SharedMembers(clock, () => 0.999);
    const follower: Follower = {
      agent,
      from: agent,
      send(message: SharedMembersMessage | MembersWanted) {
        void Promise.resolve().then(() => shared.take(message));
        return true;
      },
    };
    shared.connected((message) => {
      if (message.type === 'members') collector.report(follower, message);
      else collector.follow(follower, message.cluster);
    });
    const provider = createRayProvider({
      clock,
      logger: silentLogger,
      fetch: () => answer(agent),
      findRaylets: () =>
        Promise.resolve([
          sampleRaylet({ nodeAddress: address, gcsAddress: `${HEAD}:6379`, clusterId: CLUSTER }),
        ]),
      localAddresses: () => ['127.0.0.1', address],
      sharedMembers: shared,
    });
    const node: Node = { provider, views, asked: 0, follower, shared };
    nodes.set(agent, node);
    await provider.start((view) => views.push(view));
    return node;
  }

  function answer(agent: string): Promise<Response> {
    const node = nodes.get(agent);
    if (node !== undefined) node.asked++;
    if (dashboard[agent] === undefined || dashboard[agent] === 'refuses')
      return Promise.reject(new Error('refused'));
    if (dashboard[agent] === 'hangs')
      return new Promise((_resolve, reject) => hanging.push(() => reject(new Error('timed out'))));
    const summary = listed.map((nodeManagerAddress) => ({
      raylet: { nodeId: `id of ${nodeManagerAddress}`, nodeManagerAddress, state: 'ALIVE' },
    }));
    return Promise.resolve(new Response(JSON.stringify({ data: { summary } })));
  }

  /** Lets time pass in steps of a quarter of a second. */
  async function pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += 250) {
      clock.advance(250);
      await settled();
    }
  }

  async function settled(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await settle();
  }

  function knows(node: Node, address: string): boolean {
    return (node.views.at(-1)?.members ?? []).some(({ addresses }) =>
      addresses.map(formatAddress).includes(address),
    );
  }

  /** Asks as somebody unknown talks, and lets so much time pass. */
  async function refresh(ms: number): Promise<LookResult | undefined> {
    let result: LookResult | undefined;
    void worker.provider.refresh?.().then((found) => (result = found));
    await settled();
    await pass(ms);
    return result;
  }

  it('rests on the view of the head in the first place', () => {
    expect(knows(worker, HEAD)).toBe(true);
    expect(head.asked).toBeGreaterThan(0);
  });

  it('learns of a node that has just joined at once, from the agent that reads the dashboard', async () => {
    listed.push(NEW);
    expect(await refresh(0)).toBe('answered');
    expect(knows(worker, NEW)).toBe(true);
  });

  it('asks the readers once a second, however often it is asked', async () => {
    const before = head.asked;
    for (let count = 0; count < 100; count++) {
      collector.follow(worker.follower, CLUSTER);
      await settle();
    }
    await pass(1000);
    expect(head.asked - before).toBeLessThanOrEqual(2);
  });

  it('is answered by no view of before the question', async () => {
    dashboard['head'] = 'hangs';
    listed.push(NEW);
    expect(await refresh(1500)).toBeUndefined();
    expect(await refresh(4000)).toBe('failed');
    expect(knows(worker, HEAD)).toBe(true);
  });

  it.each([
    ['its readers are gone', () => collector.leave(head.follower)],
    ['the collector is away', () => worker.shared.disconnected()],
  ])('asks the dashboard itself where %s, and says so where that cannot be', async (_name, breakLink) => {
    breakLink();
    listed.push(NEW);
    expect(await refresh(0)).toBe('failed');
    dashboard['w1'] = 'answers';
    expect(await refresh(0)).toBe('answered');
    expect(knows(worker, NEW)).toBe(true);
  });

  it('does not have every follower read when the reader goes', async () => {
    dashboard['w1'] = 'answers';
    const before = worker.asked;
    collector.leave(head.follower);
    await settled();
    expect(worker.asked).toBe(before);
  });
});
