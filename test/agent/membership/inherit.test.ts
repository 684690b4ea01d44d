import { describe, expect, it } from 'vitest';
import { createHostsProvider } from '../../../agent/membership/hosts.ts';
import { Membership } from '../../../agent/membership/membership.ts';
import type { GroupView, Provider } from '../../../agent/membership/provider.ts';
import { parseAddress, type Address } from '../../../common/address.ts';
import { silentLogger } from '../../../common/log.ts';
import { GRACE_MS, LINGER_MS } from '../../../rules/membership.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';

const clock = new FakeClock();
const SILENT: GroupView = { ...membersView(), isPartial: true };

function membershipOf(provider: Provider): Membership {
  return new Membership({ clock, providers: new Map([['cluster', [provider]]]) });
}

/** The membership of the rules before, and that of the rules after. */
async function changeRules(before: Provider, after: Provider, meanwhile = () => {}): Promise<Membership> {
  const first = membershipOf(before);
  await first.start();
  meanwhile();
  const second = membershipOf(after);
  second.inherit(first);
  await second.start();
  await first.stop();
  return second;
}

function isMember(membership: Membership, text: string, timeMs = clock.now()): boolean {
  return membership.inGroup('cluster', address(text), timeMs);
}

describe('a membership after a change of the rules', () => {
  it('knows since when a member is one', async () => {
    const before = new FakeProvider(membersView('10.0.0.1'));
    const both = membersView('10.0.0.1', '10.0.0.2');
    const membership = await changeRules(before, new FakeProvider(both), () => {
      clock.advance(60_000);
      before.publish(both);
      clock.advance(60_000);
    });
    const joinedMs = clock.now() - 60_000;
    expect(isMember(membership, '10.0.0.2', joinedMs - GRACE_MS)).toBe(true);
    expect(isMember(membership, '10.0.0.2', joinedMs - GRACE_MS - 1)).toBe(false);
    expect(isMember(membership, '10.0.0.1', 0)).toBe(true);
  });

  it('keeps the members of a source that does not answer at that moment', async () => {
    const after = new FakeProvider(SILENT);
    const membership = await changeRules(new FakeProvider(membersView('10.0.0.1:40001')), after);
    expect(isMember(membership, '10.0.0.1')).toBe(true);
    expect(membership.members()).toHaveLength(1);
    after.publish(membersView('10.0.0.3'));
    clock.advance(LINGER_MS + 1);
    expect([isMember(membership, '10.0.0.1'), isMember(membership, '10.0.0.3')]).toEqual([false, true]);
  });

  it('keeps the age of what such a source told before', async () => {
    const toldMs = clock.now();
    const before = new FakeProvider({ ...membersView('10.0.0.1'), asOfMs: toldMs });
    const membership = await changeRules(
      before,
      new FakeProvider({ ...SILENT, asOfMs: toldMs + 60_000 }),
      () => clock.advance(60_000),
    );
    expect(membership.ageMs(clock.now())).toBe(60_000);
  });

  it('ends whom the source lists no more, and remembers who had left', async () => {
    const before = new FakeProvider(membersView('10.0.0.1', '10.0.0.2', '10.0.0.3'));
    const after = new FakeProvider(membersView('10.0.0.1'));
    const membership = await changeRules(before, after, () =>
      before.publish({ ...membersView('10.0.0.1', '10.0.0.2'), ended: ['10.0.0.3'] }),
    );
    clock.advance(LINGER_MS + 1);
    const former = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].filter((text) =>
      membership.isFormerMember(address(text), clock.now()),
    );
    expect(former).toEqual(['10.0.0.2', '10.0.0.3']);
  });

  it('has nobody who stood in the rules and stands there no more', async () => {
    const hosts = (...names: string[]): Provider =>
      createHostsProvider(names, { clock, logger: silentLogger, resolve: () => Promise.reject(new Error()) });
    const membership = await changeRules(hosts('10.0.0.1', '10.0.0.2'), hosts('10.0.0.1'));
    expect([isMember(membership, '10.0.0.1'), isMember(membership, '10.0.0.2')]).toEqual([true, false]);
    expect(membership.isFormerMember(address('10.0.0.2'), clock.now() + LINGER_MS + 1)).toBe(false);
  });
});

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new Error(`no address: ${text}`);
  return parsed;
}
