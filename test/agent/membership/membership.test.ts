import { describe, expect, it } from 'vitest';
import { Membership } from '../../../agent/membership/membership.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { LINGER_MS } from '../../../rules/membership.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView, prefixesView } from '../../support/fake-provider.ts';

/** The source says that its one member has ended. */
const GONE = { ...membersView(), ended: ['10.0.0.1'] };

describe('Membership', () => {
  it('has an address in a group when any provider of the group names it or covers it', async () => {
    const { membership, clock } = await start([
      membersView('10.0.0.1'),
      prefixesView('10.1.0.0/16', 'fd77::/64'),
    ]);
    const inCluster = (text: string): boolean => membership.inGroup('cluster', address(text), clock.now());
    expect(['10.0.0.1', '10.1.2.3', 'fd77::5'].map(inCluster)).toEqual([true, true, true]);
    expect(['10.0.0.2', '10.2.0.0', 'fd78::5'].map(inCluster)).toEqual([false, false, false]);
  });

  it('has nobody in a group that is not defined', async () => {
    const { membership, clock } = await start([membersView('10.0.0.1')]);
    expect(membership.inGroup('notebooks', address('10.0.0.1'), clock.now())).toBe(false);
  });

  it('replaces the view of one provider and keeps those of the others', async () => {
    const { membership, providers, clock } = await start([membersView('10.0.0.1'), membersView('10.0.0.2')]);
    providers[0]?.publish({ ...membersView('10.0.0.3'), ended: ['10.0.0.1'] });
    clock.advance(LINGER_MS + 1);
    const inCluster = (text: string): boolean => membership.inGroup('cluster', address(text), clock.now());
    expect(['10.0.0.1', '10.0.0.2', '10.0.0.3'].map(inCluster)).toEqual([false, true, true]);
    expect(membership.members().map(({ id }) => id)).toEqual(['10.0.0.3', '10.0.0.2']);
  });

  it('counts a node once, however many sources tell of it', async () => {
    const { membership } = await start([
      membersView('10.0.0.1', '10.0.0.2'),
      membersView('10.0.0.2', '10.0.0.3'),
    ]);
    expect(membership.members()).toHaveLength(4);
    expect(membership.nodeCount()).toBe(3);
  });

  it('tells of changes, but neither of the first views nor of those that say nothing new', async () => {
    const { membership, providers } = await start([membersView('10.0.0.1')]);
    let changes = 0;
    membership.onChange(() => changes++);
    providers[0]?.publish(membersView('10.0.0.1'));
    expect(changes).toBe(0);
    providers[0]?.publish(GONE);
    expect(changes).toBe(1);
  });

  it('lists what each source tells, once it has told of all', async () => {
    const { membership, providers } = await start([
      { ...membersView('10.0.0.1'), isPartial: true },
      membersView('10.0.0.2'),
    ]);
    const ids = (): string[][] => membership.listings().map(({ members }) => members.map(({ id }) => id));
    expect(ids()).toEqual([['10.0.0.2']]);
    providers[0]?.publish(membersView('10.0.0.1', '10.0.0.3'));
    expect(ids()).toEqual([['10.0.0.1', '10.0.0.3'], ['10.0.0.2']]);
  });

  it('remembers who left the cluster from the linger time on, until they are back', async () => {
    const { membership, providers, clock } = await start([membersView('10.0.0.1')]);
    const isFormer = (text = '10.0.0.1'): boolean => membership.isFormerMember(address(text), clock.now());
    expect(isFormer()).toBe(false);
    providers[0]?.publish(GONE);
    clock.advance(LINGER_MS);
    expect(isFormer()).toBe(false);
    clock.advance(1);
    expect(isFormer()).toBe(true);
    expect(membership.isFormerMember(address('10.0.0.1'), clock.now() - 1)).toBe(false);
    expect(isFormer('10.0.0.9')).toBe(false);
    providers[0]?.publish(membersView('10.0.0.1'));
    expect(isFormer()).toBe(false);
  });

  it('takes other times than the usual ones for the grace and the leave of nodes', async () => {
    const clock = new FakeClock();
    const provider = new FakeProvider(membersView());
    const times = { graceMs: 1000, lingerMs: 2000, keepMs: 60_000 };
    const membership = new Membership({ providers: new Map([['cluster', [provider]]]), clock, times });
    await membership.start();
    clock.advance(60_000);
    provider.publish(membersView('10.0.0.1'));
    const joinedMs = clock.now();
    provider.publish(GONE);
    const isMember = (offsetMs: number): boolean =>
      membership.inGroup('cluster', address('10.0.0.1'), joinedMs + offsetMs);
    expect([-1001, -1000, 2000, 2001].map(isMember)).toEqual([false, true, true, false]);
  });

  it('counts what stands in the rules among no listing: its writer knows it', async () => {
    const given = Object.assign(new FakeProvider(membersView('10.0.0.1')), {
      given: 'in the rules' as const,
    });
    const membership = new Membership({ providers: new Map([['cluster', [given]]]), clock: new FakeClock() });
    await membership.start();
    expect(membership.members()).toHaveLength(1);
    expect(membership.listings()).toEqual([]);
  });
});

async function start(views: readonly Parameters<FakeProvider['publish']>[0][]) {
  const clock = new FakeClock();
  const providers = views.map((view) => new FakeProvider(view));
  const membership = new Membership({ providers: new Map([['cluster', providers]]), clock });
  await membership.start();
  return { membership, providers, clock };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
