import { afterEach, describe, expect, it } from 'vitest';
import { sampleRaylet } from '../support/sample-raylet.ts';
import { HEAD, OTHER_WORKER, WORKER, WorkerAgent } from '../support/worker-agent.ts';
import type { ServicePorts } from '../../rules/schema.ts';

const OUTSIDE = '192.0.2.66';
const SERVICES = new Map<string, ServicePorts>([
  ['object-manager', 'auto'],
  ['gcs', 'auto'],
]);
const raylet = sampleRaylet({
  nodeAddress: WORKER,
  gcsAddress: `${HEAD}:6379`,
  objectManagerPort: 43_800,
});

/** Started with the machine: Ray comes later, and talks to its head before there is a raylet. */
describe('an agent that runs before Ray does', () => {
  let worker: WorkerAgent;

  afterEach(async () => {
    await worker.stop();
    expect(worker.clock.pending).toBe(0);
  });

  it.each([
    ['open', true],
    ['open', false],
    ['refused', true],
  ] as const)(
    'does not report that `ray start` asks the head (%s, dashboard there: %s)',
    async (way, isDashboardThere) => {
      worker = await WorkerAgent.start({ services: SERVICES, raylets: [], isDashboardThere });
      await worker.pass(5);
      worker[way](WORKER, `${HEAD}:6379`);
      await worker.pass(12);
      worker.raylets = [raylet];
      worker.open(WORKER, `${HEAD}:6379`);
      await worker.pass(60);
      expect(worker.told).toEqual([]);
    },
  );

  it('reports a question to another GCS when a join would be over', async () => {
    worker = await WorkerAgent.start({ services: SERVICES, raylets: [] });
    worker.open(WORKER, `${OUTSIDE}:6379`);
    await worker.pass(28);
    expect(worker.told).toEqual([]);
    await worker.pass(4);
    expect(worker.told).toEqual([`unexpected-destination critical ${WORKER}`]);
  });

  it('reports a question to another GCS once the head is known', async () => {
    worker = await WorkerAgent.start({ services: SERVICES, raylets: [], isDashboardThere: true });
    worker.open(WORKER, `${OUTSIDE}:6379`);
    worker.raylets = [raylet];
    await worker.pass(15);
    expect(worker.told).toEqual([`unexpected-destination critical ${WORKER}`]);
  });

  it.each([
    ['the dashboard lists', true],
    ['nobody lists yet', false],
  ])('reports no node that %s, though its raylet has only just started', async (_what, isDashboardThere) => {
    worker = await WorkerAgent.start({ services: SERVICES, raylets: [], isDashboardThere });
    // Right after a look at the raylets.
    await worker.pass(5.1);
    worker.raylets = [raylet];
    for (const node of [HEAD, OTHER_WORKER]) {
      worker.exchange(node);
      worker.exchange(WORKER, node);
    }
    await worker.pass(60);
    expect(worker.told).toEqual([]);
  });

  it('reports an unknown peer in the same moment', async () => {
    worker = await WorkerAgent.start({ services: SERVICES, raylets: [], isDashboardThere: true });
    await worker.pass(5.1);
    worker.raylets = [raylet];
    worker.exchange(OUTSIDE);
    await worker.pass(2);
    expect(worker.told).toEqual([`unexpected-peer critical ${OUTSIDE}`]);
  });

  it.each([
    ['an unknown peer at the object manager', OTHER_WORKER, WORKER],
    ['a program that calls an object manager elsewhere', WORKER, OUTSIDE],
  ])('reports within two seconds %s', async (_what, from, to) => {
    worker = await WorkerAgent.start({ services: SERVICES, raylets: [] });
    worker.open(from, to);
    await worker.pass(2);
    expect(worker.told).toHaveLength(1);
  });
});
