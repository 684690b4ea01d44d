import { describe, expect, it } from 'vitest';
import { createCidrProvider } from '../../../agent/membership/static.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import type { GroupView, Member, Provider } from '../../../agent/membership/provider.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { LINGER_MS } from '../../../rules/membership.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';

const LISTED = '10.0.0.1';

interface World {
  readonly sources: readonly Provider[];
  readonly cidr?: readonly string[];
  readonly ids?: readonly string[];
  readonly nodeGroups?: readonly string[];
}

async function start({ sources, cidr = [], ids = [], nodeGroups = [] }: World) {
  const clock = new FakeClock();
  const membership = new Membership({
    clock,
    providers: new Map([
      ['cluster', sources],
      ['notebooks', [new FakeProvider(membersView(LISTED))]],
    ]),
    approved: {
      providers: [createCidrProvider(cidr)],
      ids: new Set(ids),
      nodeGroups: new Set(nodeGroups),
    },
  });
  await membership.start();
  const at = (text: string) => [address(text), clock.now()] as const;
  return {
    membership,
    clock,
    isMember: (text = LISTED) => membership.inGroup('cluster', ...at(text)),
    isUnapproved: (text = LISTED) => membership.isUnapproved(...at(text)),
    isFormer: (text = LISTED) => membership.isFormerMember(...at(text)),
  };
}

describe('a membership that asks for approval', () => {
  it.each([
    ['nobody', {}, false],
    ['another range', { cidr: ['10.1.0.0/16'] }, false],
    ['its range', { cidr: ['10.0.0.0/24'] }, true],
    ['its id', { ids: [LISTED] }, true],
    ['the group of nodes that its source vouches for', { nodeGroups: ['gpu'] }, true],
    ['another group of nodes', { nodeGroups: ['cpu'] }, false],
  ])(
    'takes a listed node for a member or not where the rules approve of %s',
    async (_title, approved, isMember) => {
      const source = new FakeProvider(viewOf({ group: 'gpu' }));
      const world = await start({ sources: [source], ...approved });
      expect([world.isMember(), world.isUnapproved()]).toEqual([isMember, !isMember]);
    },
  );

  it('takes nobody for a member who is approved of, and listed by no source', async () => {
    const world = await start({ sources: [new FakeProvider()], cidr: ['10.0.0.0/24'] });
    expect([world.isMember(), world.isUnapproved()]).toEqual([false, false]);
  });

  it('asks for no approval of whom the rules name, nor of what this node knows by itself', async () => {
    const given: Provider = Object.assign(new FakeProvider(membersView('10.0.0.2')), {
      given: 'in a file' as const,
    });
    const local = new FakeProvider(viewOf({ isLocal: true }));
    const world = await start({ sources: [given, local, createCidrProvider(['10.3.0.0/16'])] });
    expect(['10.0.0.2', LISTED, '10.3.0.4'].map((text) => world.isMember(text))).toEqual([true, true, true]);
  });

  it('asks for approval in the group `cluster` alone', async () => {
    const { membership, clock } = await start({ sources: [new FakeProvider(membersView(LISTED))] });
    const groups = ['cluster', 'notebooks'].filter((group) =>
      membership.inGroup(group, address(LISTED), clock.now()),
    );
    expect(groups).toEqual(['notebooks']);
  });

  it('says who admitted a node, and when', async () => {
    const source = new FakeProvider();
    const world = await start({ sources: [source] });
    world.clock.advance(60_000);
    source.publish(membersView(LISTED));
    expect(world.membership.admission(address(LISTED), world.clock.now())).toMatchObject({
      member: { id: LISTED, source: 'fake' },
      sinceMs: world.clock.now(),
    });
  });

  it('forgets a listed node that leaves: it has never been a member', async () => {
    const source = new FakeProvider(membersView(LISTED));
    const world = await start({ sources: [source] });
    source.publish({ ...membersView(), ended: [LISTED] });
    world.clock.advance(LINGER_MS + 1);
    expect([world.isUnapproved(), world.isFormer()]).toEqual([false, false]);
  });
});

function viewOf(changes: Partial<Member>): GroupView {
  const view = membersView(LISTED);
  return { ...view, members: view.members.map((member) => Object.assign({}, member, changes)) };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
