/** Nodes with several addresses, from the agent that has them over the collector to the agents that see them. */
import { describe, expect, it } from 'vitest';
import { Membership } from '../../../agent/membership/membership.ts';
import { SharedMembers } from '../../../agent/membership/shared.ts';
import { SharedViews } from '../../../collector/membership/shared-views.ts';
import type { Follower } from '../../../collector/membership/view.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { NODES_KEY } from '../../../common/shared-view.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView, prefixesView } from '../../support/fake-provider.ts';

const W1 = '10.0.0.11';
const W2 = '10.0.0.12';
const STRANGER = '203.0.113.66';

interface NodeOptions {
  readonly own?: readonly string[];
  readonly isBound?: boolean;
  readonly from?: string;
}

/** A collector, and agents of nodes of a cluster that sources know by one address each. */
function fleet({ isUnknownPeer }: { isUnknownPeer?: (address: string) => boolean } = {}) {
  const clock = new FakeClock();
  const views = new SharedViews({ clock, metrics: createCollectorMetrics(), isUnknownPeer });
  const agent = async (name: string, { own = [], isBound = true, from = 'elsewhere' }: NodeOptions = {}) => {
    const shared = new SharedMembers(clock, () => 0);
    const provider = new FakeProvider(membersView(W1, W2));
    const membership = new Membership({
      providers: new Map([['cluster', [provider]]]),
      clock,
      localAddresses: () => own,
      nodeAddresses: shared.nodes,
    });
    await membership.start();
    let changes = 0;
    membership.onChange(() => changes++);
    const follower: Follower = {
      agent: name,
      isBound,
      from,
      send: (message) => {
        shared.take(message);
        return true;
      },
    };
    const connect = (): void =>
      shared.connected((message) => {
        if (message.type === 'members') views.report(follower, message);
        else views.follow(follower, message.cluster);
      });
    connect();
    const offer = (): void => shared.offerOwn(membership.ownAddresses());
    offer();
    return {
      provider,
      membership,
      shared,
      follower,
      offer,
      connect,
      changes: () => changes,
      isMember: (text: string): boolean => membership.inGroup('cluster', address(text), clock.now()),
    };
  };
  return { clock, views, agent, pass: () => clock.advance(120_000) };
}

describe('a second address of a node', () => {
  it.each([
    ['a second interface', '10.9.0.11'],
    ['IPv6 beside IPv4', 'fd77::11'],
  ])('%s is a member where its agent has a credential of its own', async (_, second) => {
    const { agent, pass } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    expect(w2.isMember(second)).toBe(false);
    await agent('w1', { own: ['127.0.0.1', '::1', second, W1] });
    pass();
    expect(w2.isMember(second)).toBe(true);
    expect(w2.changes()).toBe(1);
  });

  it('is told to an agent that comes later, and again after the collector was restarted', async () => {
    const { agent } = fleet();
    await agent('w1', { own: [W1, '10.9.0.11'] });
    const w2 = await agent('w2', { own: [W2] });
    expect(w2.isMember('10.9.0.11')).toBe(true);
    w2.shared.disconnected();
    expect(w2.isMember('10.9.0.11')).toBe(true);
  });

  it('is one no more when its node takes it back', async () => {
    const { agent, pass } = fleet();
    const own = [W1, '10.9.0.11'];
    const w1 = await agent('w1', { own });
    const w2 = await agent('w2', { own: [W2] });
    own.pop();
    pass();
    w1.offer();
    pass();
    expect(w2.isMember('10.9.0.11')).toBe(false);
  });

  it('is one as long as the node is, and a former member afterwards', async () => {
    const { agent, clock } = fleet();
    await agent('w1', { own: [W1, '10.9.0.11'] });
    const w2 = await agent('w2', { own: [W2] });
    w2.provider.publish({ ...membersView(W2), ended: [W1] });
    clock.advance(60_000);
    expect(w2.isMember('10.9.0.11')).toBe(false);
    expect(w2.membership.isFormerMember(address('10.9.0.11'), clock.now())).toBe(true);
  });

  it('counts in a group of ranges as well', async () => {
    const { agent, pass } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    w2.provider.publish(prefixesView('10.0.0.0/24'));
    const w1 = await agent('w1', { own: ['10.9.0.11', W1] });
    w1.provider.publish(prefixesView('10.0.0.0/24'));
    w1.offer();
    pass();
    expect(w2.isMember('10.9.0.11')).toBe(true);
  });
});

describe('an agent lies about its own node and nothing else', () => {
  it('nobody is a member by a claim of a node that no source knows', async () => {
    const { agent, pass } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    await agent('rogue', { own: ['10.66.0.1', STRANGER], from: '10.66.0.1', isBound: false });
    pass();
    expect(w2.isMember(STRANGER)).toBe(false);
  });

  it.each<[string, NodeOptions]>([
    ['does not connect from its address', { from: '10.66.0.1' }],
    ['connects from loopback, as others may', { from: 'loopback' }],
    ['connects from an address of a range', { from: 'fd77::/64' }],
  ])('an agent that shares its token and %s proves nothing', async (_, options) => {
    const { agent, pass, views } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    await agent('w1', { own: [W1, '10.9.0.11'], isBound: false, ...options });
    pass();
    expect(w2.isMember('10.9.0.11')).toBe(false);
    expect(views.nodes().find(({ node }) => node === 'w1')?.refused[0]?.why).toBe('the agent is not proven');
  });

  it('one that shares its token and connects from its address speaks for that address', async () => {
    const { agent, pass } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    await agent('w1', { own: ['10.9.0.11', W1], isBound: false, from: W1 });
    pass();
    expect(w2.isMember('10.9.0.11')).toBe(true);
  });

  it('what it connects from comes first, so that it borrows no member of which nobody speaks', async () => {
    const { agent, pass } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    await agent('rogue', { own: [W1, '10.66.0.1', STRANGER], isBound: false, from: '10.66.0.1' });
    pass();
    expect([w2.isMember('10.66.0.1'), w2.isMember(STRANGER)]).toEqual([false, false]);
  });

  it('the address that another agent connects from stays its own', async () => {
    const { agent, pass, views } = fleet();
    await agent('w1', { own: [W1, '10.9.0.11'], from: W1 });
    const w2 = await agent('w2', { own: [W2], from: W2 });
    // The first of them is the one by which its word would count.
    await agent('w3', { own: [W1, STRANGER], from: '10.0.0.13' });
    pass();
    expect([w2.isMember(STRANGER), w2.isMember('10.9.0.11')]).toEqual([false, true]);
    expect(views.nodes().find(({ node }) => node === 'w3')?.refused).toEqual([
      { address: W1, why: 'another agent connects from it' },
    ]);
  });

  it("what every machine has, such as the bridge of its containers, is nobody's", async () => {
    const { agent, pass } = fleet();
    await agent('w1', { own: [W1, '172.17.0.1', '10.9.0.11'] });
    await agent('w3', { own: ['10.0.0.13', '172.17.0.1'] });
    const w2 = await agent('w2', { own: [W2] });
    pass();
    expect([w2.isMember('172.17.0.1'), w2.isMember('10.9.0.11')]).toEqual([false, true]);
  });

  it.each(['169.254.1.1', '0.0.0.0', '224.0.0.5', 'fe80::1', 'ff02::1'])(
    '%s is an address of no node in particular',
    async (text) => {
      const { agent, pass } = fleet();
      const w2 = await agent('w2', { own: [W2] });
      await agent('w1', { own: [W1, text] });
      pass();
      expect(w2.isMember(text)).toBe(false);
    },
  );

  it('the unknown peer of an open incident stays one until a person resolves it, and who claims it is told', async () => {
    let isOpen = true;
    const { agent, pass, views } = fleet({ isUnknownPeer: (text) => isOpen && text === STRANGER });
    const w2 = await agent('w2', { own: [W2] });
    const w1 = await agent('w1', { own: [W1, STRANGER, '10.9.0.11'] });
    pass();
    expect([w2.isMember(STRANGER), w2.isMember('10.9.0.11')]).toEqual([false, true]);
    expect(w2.membership.claimant(address(STRANGER))).toBe('w1');
    expect(views.nodes().find(({ node }) => node === 'w1')?.refused).toEqual([
      { address: STRANGER, why: 'unknown peer of an open incident' },
    ]);
    isOpen = false;
    w1.offer();
    pass();
    expect(w2.isMember(STRANGER)).toBe(true);
    expect(w2.membership.claimant(address(STRANGER))).toBeUndefined();
  });

  it('what counts is not taken back by an incident of an agent that has not heard of it yet', async () => {
    let isOpen = false;
    const { agent, pass } = fleet({ isUnknownPeer: () => isOpen });
    const w2 = await agent('w2', { own: [W2] });
    const w1 = await agent('w1', { own: [W1, '10.9.0.11'] });
    pass();
    isOpen = true;
    w1.offer();
    pass();
    expect(w2.isMember('10.9.0.11')).toBe(true);
  });

  it('a store that cannot say whether an incident is open counts as one that is', async () => {
    const { agent, pass } = fleet({
      isUnknownPeer: () => {
        throw new Error('disk');
      },
    });
    const w2 = await agent('w2', { own: [W2] });
    await agent('w1', { own: [W1, '10.9.0.11'] });
    pass();
    expect(w2.isMember('10.9.0.11')).toBe(false);
  });

  it('no more addresses count than a node has', async () => {
    const { agent, pass } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    await agent('w1', { own: [W1, ...Array.from({ length: 100 }, (_, index) => `10.9.0.${index}`)] });
    pass();
    const members = Array.from({ length: 100 }, (_, index) => w2.isMember(`10.9.0.${index}`));
    expect(members.filter(Boolean)).toHaveLength(15);
  });

  it('invented names from one place keep nobody else from being heard', async () => {
    const { agent, pass, views } = fleet();
    const w2 = await agent('w2', { own: [W2] });
    for (let index = 0; index < 100; index++)
      await agent(`invented-${index}`, { own: ['10.66.0.1'], isBound: false, from: '10.66.0.1' });
    await agent('w1', { own: ['10.9.0.11', W1], isBound: false, from: W1 });
    pass();
    expect(views.nodes().filter(({ node }) => node.startsWith('invented'))).toHaveLength(16);
    expect(w2.isMember('10.9.0.11')).toBe(true);
  });
});

it('an older collector, which answers nothing under the key, is told no address', () => {
  const sent: unknown[] = [];
  const shared = new SharedMembers(new FakeClock(), () => 0);
  shared.connected((message) => sent.push(message));
  shared.offerOwn([address(W1)]);
  shared.offerOwn([address(W1), address('10.9.0.11')]);
  expect(sent).toEqual([{ type: 'follow-members', cluster: NODES_KEY }]);
});

it('an unchanged address is told once a minute, and a change at once', () => {
  const clock = new FakeClock();
  const sent: { type: string }[] = [];
  const shared = new SharedMembers(clock, () => 0);
  shared.connected((message) => sent.push(message));
  shared.offerOwn([address(W1)]);
  shared.take({ type: 'members', cluster: NODES_KEY, reporter: 'collector', ageMs: 0, members: [] });
  const told = (): number => sent.filter(({ type }) => type === 'members').length;
  for (let second = 0; second < 60; second += 10) {
    shared.offerOwn([address(W1)]);
    clock.advance(10_000);
  }
  expect(told()).toBe(1);
  shared.offerOwn([address(W1)]);
  expect(told()).toBe(2);
  shared.offerOwn([address(W1), address('10.9.0.11')]);
  expect(told()).toBe(3);
});

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(text);
  return parsed;
}
