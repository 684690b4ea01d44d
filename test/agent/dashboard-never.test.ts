import { afterEach, describe, expect, it } from 'vitest';
import {
  savedMembersSchema,
  type MembersStore,
  type SavedMembers,
} from '../../agent/detect/known-members.ts';
import { DEFAULT_TIMES } from '../../rules/membership.ts';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { HEAD, OTHER_WORKER, WorkerAgent, WORKER } from '../support/worker-agent.ts';

const MINUTE_S = 60;
const OUTSIDE = '192.0.2.66';
/** In the worker's own network, and no node. */
const NEIGHBOUR = '10.77.0.99';

/** Roll-out in the worst order: the agent runs on a worker, and nothing answers who belongs to the cluster. */
describe('an agent that has never seen a list of the members', () => {
  let worker: WorkerAgent;

  afterEach(async () => {
    await worker.stop();
    expect(worker.clock.pending).toBe(0);
  });

  /** What nodes of the cluster do all the time, in both directions. */
  function work(second: number): void {
    if (second % 10 === 0) for (const node of [HEAD, OTHER_WORKER]) worker.exchange(node);
    if (second % 10 === 5) worker.exchange(WORKER, OTHER_WORKER);
  }

  function selfMonitoring() {
    return worker.reports.filter(({ kind }) => kind === 'unknown-membership');
  }

  it('raises no false alarm about nodes', async () => {
    worker = await WorkerAgent.start();
    await worker.pass(2 * MINUTE_S, work);
    expect(worker.told).toEqual([]);
  }, 60_000);

  it('says of all pending peers in one condition that the membership is not known yet', async () => {
    worker = await WorkerAgent.start();
    await worker.pass(5 * MINUTE_S, work);
    expect(worker.told).toEqual(['unknown-membership warning']);
    expect(worker.reports[0]).toMatchObject({ count: 1, flow: null });
    expect(worker.reports[0]?.message).toMatch(
      /^Cluster membership on w1 is not known yet: no source has listed the members since .*Z; 1 peer may be members? \(10\.77\.0\.12\): pending/,
    );
  }, 60_000);

  it.each([
    ['in no network of a node', OUTSIDE, WORKER],
    ['that a program of this node calls', WORKER, OUTSIDE],
    ['in a network of containers elsewhere', '172.18.0.12', WORKER],
  ])('reports a peer at once that is %s', async (_what, from, to) => {
    worker = await WorkerAgent.start({ localNetworks: () => [`${WORKER}/24`, '127.0.0.1/8', '::1/128'] });
    await worker.pass(20, work);
    worker.exchange(from, to);
    await worker.pass(3, work);
    expect(worker.told).toEqual([`unexpected-${from === WORKER ? 'destination' : 'peer'} critical ${from}`]);
  });

  it('keeps the packets of an outsider, however many members await the list', async () => {
    worker = await WorkerAgent.start({ localNetworks: () => [`${WORKER}/16`] });
    for (let node = 0; node < 200; node++) worker.open(`10.77.1.${node}`);
    worker.open(OUTSIDE);
    await worker.pass(10);
    expect(worker.told).toEqual([`unexpected-peer critical ${OUTSIDE}`]);
    expect(worker.evidence.map(({ anomaly }) => anomaly)).toEqual([worker.reports[0]?.id]);
  });

  it.each([0, 0.3, 0.6, 0.9])(
    'reports an outsider within a second, whenever the raylet was looked at last: %d s before',
    async (beforeS) => {
      worker = await WorkerAgent.start({ localNetworks: () => [`${WORKER}/24`] });
      await worker.pass(20 + beforeS);
      worker.open('192.0.2.66');
      await worker.pass(0.9);
      expect(worker.told).toEqual(['unexpected-peer critical 192.0.2.66']);
    },
  );

  it('waits for peers outside of its networks to which its own raylet connects', async () => {
    worker = await WorkerAgent.start({ localNetworks: () => [`${WORKER}/24`] });
    worker.rayletPeers = ['10.99.7.7'];
    worker.exchange('10.99.7.7');
    worker.exchange(WORKER, '10.99.7.7');
    await worker.pass(MINUTE_S);
    expect(worker.told).toEqual([]);
  });

  it('takes nobody for an outsider while the raylet cannot be looked for, and not for long', async () => {
    worker = await WorkerAgent.start({ localNetworks: () => [`${WORKER}/24`] });
    worker.areProcessesHidden = true;
    worker.rayletPeers = ['10.99.7.7'];
    await worker.pass(20);
    worker.open('10.99.7.7');
    worker.open('192.0.2.66');
    await worker.pass(5);
    expect(worker.told).toEqual([]);
    worker.areProcessesHidden = false;
    await worker.pass(3);
    expect(worker.told).toEqual(['unexpected-peer critical 192.0.2.66']);
    worker.areProcessesHidden = true;
    worker.open('192.0.2.67');
    await worker.pass(12);
    expect(worker.told).toEqual([
      'unexpected-peer critical 192.0.2.66',
      'unexpected-peer critical 192.0.2.67',
    ]);
  });

  it('waits for neighbours of the head, whose network is another one than its own', async () => {
    worker = await WorkerAgent.start({ localNetworks: () => [`10.99.7.1/24`] });
    worker.exchange('10.77.0.200');
    await worker.pass(MINUTE_S);
    expect(worker.told).toEqual([]);
  });

  it.each(['open', 'exchange', 'refused'] as const)(
    'judges again who was pending when the list arrives (%s), and reports who is no member with first time and count',
    async (way) => {
      worker = await WorkerAgent.start();
      await worker.pass(10, work);
      const firstMs = worker.clock.now();
      for (let count = 0; count < 3; count++) worker[way](NEIGHBOUR);
      worker[way](OTHER_WORKER);
      await worker.pass(MINUTE_S, work);
      expect(worker.told).toEqual([]);
      worker.isDashboardThere = true;
      await worker.pass(20, work);
      const severity = way === 'refused' ? 'warning' : 'critical';
      expect(worker.told).toEqual([`unexpected-peer ${severity} ${NEIGHBOUR}`]);
      const [report] = worker.reports;
      expect(report?.count).toBe(3);
      expect(Date.parse(report?.first ?? '')).toBe(firstMs);
      expect(worker.evidence.map(({ anomaly }) => anomaly)).toEqual(way === 'refused' ? [] : [report?.id]);
    },
  );

  it('reports everybody when the longest wait is over, and says so first and as critical', async () => {
    worker = await WorkerAgent.start({ times: { ...DEFAULT_TIMES, firstListMs: 4 * MINUTE_S * 1000 } });
    worker.open(NEIGHBOUR);
    await worker.pass(4 * MINUTE_S - 1);
    expect(worker.told).toEqual(['unknown-membership warning']);
    await worker.pass(MINUTE_S);
    expect(worker.told).toEqual(['unknown-membership warning', `unexpected-peer critical ${NEIGHBOUR}`]);
    expect(selfMonitoring().at(-1)).toMatchObject({ severity: 'critical', count: 1 });
    expect(selfMonitoring().at(-1)?.message).toContain('the wait is over, and each is reported');
    // Nobody who comes later gets a wait of its own.
    worker.open('10.77.0.98');
    await worker.pass(3);
    expect(worker.told.at(-1)).toBe('unexpected-peer critical 10.77.0.98');
  }, 60_000);

  it('does not begin the wait anew when the raylet is started again, however often', async () => {
    worker = await WorkerAgent.start({ times: { ...DEFAULT_TIMES, firstListMs: MINUTE_S * 1000 } });
    const { raylets } = worker;
    worker.open(NEIGHBOUR);
    await worker.pass(65, (second) => {
      worker.raylets = second % 20 < 10 ? raylets : [];
    });
    expect(worker.told).toContain(`unexpected-peer critical ${NEIGHBOUR}`);
  });

  it('ends the condition with the list, and is not told that the list is old', async () => {
    worker = await WorkerAgent.start();
    await worker.pass(6 * MINUTE_S, work);
    worker.isDashboardThere = true;
    await worker.pass(30, work);
    expect(selfMonitoring().at(-1)).toMatchObject({ ended: true });
    await worker.pass(2 * MINUTE_S, work);
    expect(worker.told).toEqual(['unknown-membership warning']);
  }, 60_000);

  it('says so in its log, once, and in its status until the list is there', async () => {
    const warning = 'cluster membership not known yet: unknown peers are pending';
    const said = () => worker.warnings.filter((text) => text === warning).length;
    worker = await WorkerAgent.start();
    await worker.pass(MINUTE_S, work);
    expect(said()).toBe(1);
    expect(worker.agent.state().status).toContain(', membership not known yet, ');
    worker.isDashboardThere = true;
    await worker.pass(20, work);
    expect(worker.agent.state().status).not.toContain('not known');
    expect(said()).toBe(1);
  });

  it('says it though no peer comes, after the time in which a source grows stale', async () => {
    worker = await WorkerAgent.start();
    await worker.pass(15 * MINUTE_S);
    expect(worker.told).toEqual(['unknown-membership warning']);
    expect(worker.reports.every(({ severity, count }) => severity === 'warning' && count === 0)).toBe(true);
  }, 60_000);

  it('awaits no list where no raylet runs, and reports an unknown peer there as ever', async () => {
    worker = await WorkerAgent.start({ raylets: [] });
    await worker.pass(20);
    worker.open(NEIGHBOUR);
    await worker.pass(15);
    expect(worker.told).toEqual([`unexpected-peer critical ${NEIGHBOUR}`]);
  });

  it('waits for each kind of source that has never answered', async () => {
    for (const cluster of [
      { dns: 'ray.example.' },
      { file: '/nonexistent/members.yaml' },
      { hosts: ['w2.example', 'head.example', WORKER] },
    ]) {
      worker = await WorkerAgent.start({ cluster });
      await worker.pass(3 * MINUTE_S, work);
      expect(worker.told).toEqual(['unknown-membership warning']);
      if (!('hosts' in cluster)) await worker.stop();
    }
  }, 60_000);

  it('takes hosts for a list as soon as one of their names resolves, though another is wrong', async () => {
    worker = await WorkerAgent.start({ cluster: { hosts: ['w2.example', 'wrong.example', WORKER] } });
    worker.exchange(OTHER_WORKER);
    worker.open(NEIGHBOUR);
    await worker.pass(20);
    expect(worker.told).toEqual([]);
    worker.names = { 'w2.example': [OTHER_WORKER] };
    await worker.pass(10);
    expect(worker.told).toEqual([`unexpected-peer critical ${NEIGHBOUR}`]);
    worker.open('10.77.0.98');
    await worker.pass(15);
    expect(worker.told).toContain('unexpected-peer critical 10.77.0.98');
  });

  it('needs no name where the rules have addresses', async () => {
    worker = await WorkerAgent.start({ cluster: { hosts: [OTHER_WORKER, WORKER] } });
    worker.exchange(OTHER_WORKER);
    worker.open(NEIGHBOUR);
    await worker.pass(2);
    expect(worker.told).toEqual([`unexpected-peer critical ${NEIGHBOUR}`]);
  });

  it('holds a stale list in force after it was once complete', async () => {
    worker = await WorkerAgent.start({ isDashboardThere: true });
    await worker.pass(10, work);
    worker.isDashboardThere = false;
    worker.open(NEIGHBOUR);
    await worker.pass(15, work);
    expect(worker.told).toEqual([`unexpected-peer critical ${NEIGHBOUR}`]);
  });
});

describe('an agent that stops before it has seen a list of the members', () => {
  it('names who is pending, in one report that is no alarm about any of them', async () => {
    const worker = await WorkerAgent.start();
    worker.open(NEIGHBOUR);
    worker.open(OTHER_WORKER);
    await worker.pass(20);
    await worker.stop();
    expect(worker.told).toEqual(['unknown-membership warning']);
    expect(worker.reports[0]?.message).toContain(
      `2 peers may be members (${NEIGHBOUR}, ${OTHER_WORKER}): the agent stops, and does not report what they did`,
    );
  });
});

describe('an agent that is restarted while nothing answers', () => {
  const DAY_MS = 86_400_000;

  /** What an agent keeps that has seen the list of its cluster; the clock goes on from there. */
  async function before(aheadMs = 0) {
    let saved: SavedMembers | undefined;
    const membersStore: MembersStore = {
      load: () => saved && savedMembersSchema.parse(JSON.parse(JSON.stringify(saved))),
      save: (members) => (saved = members),
    };
    const after = await WorkerAgent.start({ isDashboardThere: true, membersStore });
    after.clock.step(aheadMs);
    await after.pass(20);
    await after.stop();
    return { after, membersStore };
  }

  it('begins with its last list: members are members, and who is none is reported as ever', async () => {
    const worker = await WorkerAgent.start(await before());
    await worker.pass(30, (second) => {
      if (second % 10 === 0) worker.exchange(OTHER_WORKER);
      if (second % 10 === 5) worker.exchange(WORKER, OTHER_WORKER);
    });
    expect(worker.told).toEqual([]);
    worker.open(NEIGHBOUR);
    await worker.pass(12);
    expect(worker.told).toEqual([`unexpected-peer critical ${NEIGHBOUR}`]);
    await worker.stop();
  });

  it.each([0, -6, 6])('says that the list is stale, with the wall clock %d hours ahead', async (hours) => {
    const { after, membersStore } = await before(hours * 3_600_000);
    after.clock.advance(MINUTE_S * 1000 * 10);
    const worker = await WorkerAgent.start({ after, membersStore });
    await worker.pass(15);
    expect(worker.told).toEqual(['stale-membership warning']);
    await worker.stop();
  });

  it.each([
    ['older than lists are kept', DAY_MS + 1, HEAD],
    ['of another cluster', 1000, '10.77.0.200'],
  ])('does not take a list that is %s: the membership is not known then', async (_what, ageMs, head) => {
    const { after, membersStore } = await before();
    after.clock.advance(ageMs);
    const raylets = [
      sampleRaylet({ nodeAddress: WORKER, objectManagerPort: 43_800, gcsAddress: `${head}:6379` }),
    ];
    const worker = await WorkerAgent.start({ after, membersStore, raylets });
    worker.exchange(OTHER_WORKER);
    await worker.pass(3 * MINUTE_S);
    expect(worker.told).toEqual(['unknown-membership warning']);
    await worker.stop();
  });
});
