import { describe, expect, it } from 'vitest';
import { Membership } from '../../../agent/membership/membership.ts';
import type { GroupView, Member } from '../../../agent/membership/provider.ts';
import { ServiceLocator } from '../../../agent/membership/services.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import type { ServicePorts } from '../../../rules/schema.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';

describe('ServiceLocator', () => {
  it('watches the convention 43800 everywhere while no port is known', async () => {
    const { locator } = await locate({}, membersView('10.0.0.1'));
    expect(locator.serviceAt(address('10.0.0.1'), 43_800)).toBe('object-manager');
    expect(locator.serviceAt(address('192.0.2.9'), 43_800)).toBe('object-manager');
    expect(locator.ports().ranges()).toEqual([{ first: 43_800, last: 43_800 }]);
  });

  it("watches each member at its own port, and a stranger at every member's", async () => {
    const { locator } = await locate({}, membersView('10.0.0.1:45019', '10.0.0.2:33059'));
    const at = (text: string, port: number): string | undefined => locator.serviceAt(address(text), port);
    expect(at('10.0.0.1', 45_019)).toBe('object-manager');
    expect(at('10.0.0.1', 33_059)).toBeUndefined();
    expect(at('192.0.2.9', 33_059)).toBe('object-manager');
    expect(at('192.0.2.9', 43_800)).toBeUndefined();
    expect(locator.ports().ranges()).toEqual([
      { first: 33_059, last: 33_059 },
      { first: 45_019, last: 45_019 },
    ]);
  });

  it.each([
    ['gcs', 6379],
    ['dashboard', 8265],
    ['client-server', 10_001],
    ['dashboard-agent', 52_365],
    ['worker', 10_002],
    ['worker', 19_999],
    ['serve', 8000],
  ])("watches %s at Ray's default where nobody tells it: %i", async (service, port) => {
    const { locator } = await locate({ [service]: 'auto' }, membersView('10.0.0.1'));
    expect(locator.serviceAt(address('10.0.0.1'), port)).toBe(service);
    expect(locator.ports().has(port)).toBe(true);
  });

  it.each(['node-manager', 'dashboard-agent-grpc', 'metrics-export', 'runtime-env-agent'])(
    'does not watch %s where nobody tells it: Ray picks any port',
    async (service) => {
      const { locator } = await locate({ [service]: 'auto' }, membersView('10.0.0.1:43800'));
      expect(locator.ports().ranges()).toEqual([{ first: 43_800, last: 43_800 }]);
    },
  );

  it('watches a service that the head tells at its port, and at no default', async () => {
    const view = viewOf({ ports: new Map([['gcs', [6380]]]) });
    const { locator } = await locate({ gcs: 'auto' }, view);
    expect(locator.serviceAt(address('10.0.0.1'), 6380)).toBe('gcs');
    expect(locator.serviceAt(address('10.0.0.1'), 6379)).toBeUndefined();
  });

  it('knows the port of a member that has just left, for as long as it counts as one', async () => {
    const { locator, provider } = await locate({}, membersView('10.0.0.1:45019', '10.0.0.2:33059'));
    const leftMs = new FakeClock().now();
    provider.publish(membersView('10.0.0.1:45019'));
    locator.refresh();
    const servicesAt = (timeMs: number): string[] =>
      locator.servicesOfMember(address('10.0.0.2'), 33_059, timeMs);
    expect(servicesAt(leftMs + 29_000)).toEqual(['object-manager']);
    expect(servicesAt(leftMs + 31_000)).toEqual([]);
  });

  it('watches the workers of a range that this node tells, on all nodes', async () => {
    const view = viewOf({ workerPorts: { first: 20_000, last: 20_999 } });
    const { locator } = await locate({ worker: 'auto' }, view);
    const at = (text: string, port: number): string | undefined => locator.serviceAt(address(text), port);
    expect([20_000, 20_999].map((port) => at('10.0.0.1', port))).toEqual(['worker', 'worker']);
    expect([19_999, 21_000].map((port) => at('10.0.0.1', port))).toEqual([undefined, undefined]);
    expect(at('10.0.0.2', 20_500)).toBe('worker');
  });

  it("takes a member of unknown ports to use the others'", async () => {
    const { locator } = await locate({}, membersView('10.0.0.1:45019', '10.0.0.2'));
    expect(locator.serviceAt(address('10.0.0.2'), 45_019)).toBe('object-manager');
  });

  it('takes ports of the rules for every node', async () => {
    const { locator } = await locate(
      { 'object-manager': [{ first: 5000, last: 5001 }], gcs: [{ first: 6379, last: 6379 }] },
      membersView('10.0.0.1:45019'),
    );
    expect(locator.serviceAt(address('10.0.0.1'), 5001)).toBe('object-manager');
    expect(locator.serviceAt(address('10.0.0.1'), 6379)).toBe('gcs');
    expect(locator.serviceAt(address('10.0.0.1'), 45_019)).toBeUndefined();
  });

  it('offers services at members only', async () => {
    const { locator } = await locate({}, membersView('10.0.0.1'));
    expect(locator.servicesOfMember(address('10.0.0.1'), 43_800, 0)).toEqual(['object-manager']);
    expect(locator.servicesOfMember(address('192.0.2.9'), 43_800, 0)).toEqual([]);
    expect(locator.servicesOfMember(address('10.0.0.1'), 80, 0)).toEqual([]);
  });

  it('watches an endpoint to which the raylet connected, there and nowhere else', async () => {
    const { locator } = await locate({}, membersView('10.0.0.1'));
    expect(locator.observe(address('192.0.2.9'), 7777, 0)).toBe(true);
    expect(locator.observe(address('192.0.2.9'), 7777, 0)).toBe(false);
    expect(locator.serviceAt(address('192.0.2.9'), 7777)).toBe('object-manager');
    expect(locator.serviceAt(address('192.0.2.8'), 7777)).toBeUndefined();
    expect(locator.ports().has(7777)).toBe(true);
  });

  it.each([
    ["in Ray's range of workers", {}, 18_204, 'worker'],
    [
      "in this node's range of workers",
      { isLocal: true, workerPorts: { first: 30_000, last: 30_999 } },
      30_500,
      'worker',
    ],
    ['anywhere else', {}, 30_500, 'object-manager'],
  ] satisfies [string, Partial<Member>, number, string][])(
    'names an endpoint to which the raylet connected as what it is: a port %s',
    async (_title, local, port, service) => {
      const { locator } = await locate({}, viewOf(local));
      locator.observe(address('192.0.2.9'), port, 0);
      expect(locator.serviceAt(address('192.0.2.9'), port)).toBe(service);
      expect(locator.ports().has(port)).toBe(true);
      expect(locator.isUncertainAt(address('192.0.2.9'), port)).toBe(true);
    },
  );

  it.each([
    [40_001, 'object-manager'],
    [40_002, 'node-manager'],
    [12_000, 'worker'],
    // Its driver picked any port.
    [50_000, 'worker'],
  ])('names what is at a node that nobody has approved by its own ports: %i', async (port, service) => {
    const rogue: Member = {
      id: 'rogue',
      addresses: [address('10.0.0.66')],
      ports: new Map([
        ['object-manager', [40_001]],
        ['node-manager', [40_002]],
      ]),
      source: 'ray',
    };
    const provider = new FakeProvider({ members: [rogue], prefixes: [] });
    const approved = { providers: [], ids: new Set<string>(), nodeGroups: new Set<string>() };
    const membership = new Membership({
      providers: new Map([['cluster', [provider]]]),
      approved,
      clock: new FakeClock(),
    });
    await membership.start();
    const locator = new ServiceLocator({ services: new Map([['object-manager', 'auto']]), membership });
    locator.observe(address('10.0.0.66'), port, 0);
    expect(locator.serviceAt(address('10.0.0.66'), port)).toBe(service);
    expect(locator.ports().has(port)).toBe(true);
  });

  it('names an endpoint anew when its node is listed, and nobody has approved of it', async () => {
    const provider = new FakeProvider({ members: [], prefixes: [] });
    const approved = { providers: [], ids: new Set<string>(), nodeGroups: new Set<string>() };
    const membership = new Membership({
      providers: new Map([['cluster', [provider]]]),
      approved,
      clock: new FakeClock(),
    });
    await membership.start();
    const locator = new ServiceLocator({ services: new Map([['object-manager', 'auto']]), membership });
    locator.observe(address('10.0.0.1'), 50_000, 0);
    expect(locator.serviceAt(address('10.0.0.1'), 50_000)).toBe('object-manager');
    provider.publish(membersView('10.0.0.1:4711'));
    locator.refresh();
    expect(locator.serviceAt(address('10.0.0.1'), 50_000)).toBe('worker');
  });

  it('is certain of an object manager that others list or claim, and not of a port at which the own raylet listens', async () => {
    const own: Member = {
      id: 'this node',
      addresses: [address('10.0.0.1')],
      ports: new Map(),
      claimedPorts: new Map([['object-manager', [36_875, 39_629]]]),
      source: 'ray',
      isLocal: true,
    };
    const listed: Member = { ...own, id: 'w1', claimedPorts: new Map([['object-manager', [36_875]]]) };
    const { isLocal: _, ...foreign } = listed;
    const shared: Member = { ...foreign, id: 'w2', addresses: [address('10.0.0.2')] };
    const { locator } = await locate({}, { members: [own, foreign, shared], prefixes: [] });
    const isUncertain = (at: string, port: number): boolean => locator.isUncertainAt(address(at), port);
    expect(isUncertain('10.0.0.1', 39_629)).toBe(true);
    expect(isUncertain('10.0.0.1', 36_875)).toBe(false);
    expect(isUncertain('10.0.0.2', 36_875)).toBe(false);
    expect(isUncertain('10.0.0.1', 43_800)).toBe(false);
  });

  it('watches the endpoint that comes after a thousand, wherever its port is while those are open', async () => {
    const { locator } = await locate({}, membersView('10.0.0.1'));
    for (let port = 20_000; port < 21_000; port++) locator.observe(address('192.0.2.9'), port, 0);
    expect(locator.observe(address('192.0.2.7'), 7777, 1000)).toBe(true);
    expect(locator.serviceAt(address('192.0.2.7'), 7777)).toBe('object-manager');
    expect(locator.serviceAt(address('10.0.0.1'), 7777)).toBeUndefined();
    expect(locator.serviceAt(address('192.0.2.9'), 20_000)).toBe('object-manager');
    expect(locator.ports().has(7777)).toBe(true);
  });

  it('lets the endpoint go whose connection is gone longest where there is no room for another', async () => {
    const { locator } = await locate({}, membersView('10.0.0.1'));
    for (let port = 20_000; port < 21_000; port++) locator.observe(address('192.0.2.9'), port, 0);
    locator.observe(address('192.0.2.9'), 20_000, 60_000);
    locator.observe(address('192.0.2.7'), 7777, 60_000);
    expect(locator.serviceAt(address('192.0.2.7'), 7777)).toBe('object-manager');
    expect(locator.serviceAt(address('192.0.2.8'), 7777)).toBeUndefined();
    expect(locator.serviceAt(address('192.0.2.9'), 20_000)).toBe('object-manager');
    expect(locator.serviceAt(address('192.0.2.9'), 20_001)).toBeUndefined();
  });

  it('watches a port that is claimed besides those that are known, and takes it for no other service', async () => {
    const member = (claimed: number, isLocal?: true): Member => ({
      ...(isLocal === undefined ? {} : { isLocal }),
      id: 'w1',
      addresses: [address('10.0.0.1')],
      ports: new Map(),
      claimedPorts: new Map([['object-manager', [claimed]]]),
      source: 'test',
    });
    const services: Record<string, ServicePorts> = { 'client-server': 'auto' };
    const { locator } = await locate(services, { members: [member(1)], prefixes: [] });
    expect(locator.serviceAt(address('10.0.0.1'), 1)).toBe('object-manager');
    expect(locator.servicesOfMember(address('10.0.0.1'), 1, 0)).toEqual(['object-manager']);
    expect(locator.serviceAt(address('10.0.0.1'), 43_800)).toBe('object-manager');
    expect(locator.serviceAt(address('192.0.2.9'), 1)).toBe('object-manager');
    // What a program of this node claims accuses nobody elsewhere.
    const local = await locate({}, { members: [member(1, true)], prefixes: [] });
    expect(local.locator.serviceAt(address('10.0.0.1'), 1)).toBe('object-manager');
    expect(local.locator.serviceAt(address('192.0.2.9'), 1)).toBeUndefined();
    expect(locator.ports().has(1) && locator.ports().has(43_800)).toBe(true);
    const other = await locate(services, { members: [member(10_001)], prefixes: [] });
    expect(other.locator.serviceAt(address('10.0.0.1'), 10_001)).toBe('client-server');
    expect(other.locator.servicesOfMember(address('10.0.0.1'), 10_001, 0)).toEqual(['client-server']);
  });

  it('lets an endpoint go whose address has come into the cluster since', async () => {
    const { locator, provider } = await locate({}, membersView('10.0.0.1'));
    locator.observe(address('10.0.0.3'), 16_434, 0);
    locator.observe(address('192.0.2.9'), 7777, 0);
    provider.publish(membersView('10.0.0.1', '10.0.0.3'));
    locator.refresh();
    expect(locator.serviceAt(address('10.0.0.3'), 16_434)).toBeUndefined();
    expect(locator.ports().has(16_434)).toBe(false);
    expect(locator.serviceAt(address('192.0.2.9'), 7777)).toBe('object-manager');
  });

  it('follows the members after a refresh', async () => {
    const { locator, provider } = await locate({}, membersView('10.0.0.1:45019'));
    provider.publish(membersView('10.0.0.1:46000'));
    locator.refresh();
    expect(locator.serviceAt(address('10.0.0.1'), 46_000)).toBe('object-manager');
    expect(locator.serviceAt(address('10.0.0.1'), 45_019)).toBeUndefined();
  });
});

/** A view of one member, 10.0.0.1. */
function viewOf(member: Partial<Member>): GroupView {
  const [known] = membersView('10.0.0.1').members;
  return { members: known === undefined ? [] : [{ ...known, ...member }], prefixes: [] };
}

async function locate(services: Readonly<Record<string, ServicePorts>>, view: GroupView) {
  const provider = new FakeProvider(view);
  const membership = new Membership({
    providers: new Map([['cluster', [provider]]]),
    clock: new FakeClock(),
  });
  await membership.start();
  const watched = new Map<string, ServicePorts>([['object-manager', 'auto'], ...Object.entries(services)]);
  return { locator: new ServiceLocator({ services: watched, membership }), provider };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
