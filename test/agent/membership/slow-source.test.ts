import { describe, expect, it } from 'vitest';
import { Membership } from '../../../agent/membership/membership.ts';
import type { GroupView, Provider } from '../../../agent/membership/provider.ts';
import { parseAddress } from '../../../common/address.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';

/** A source whose looks never end. */
class StuckProvider implements Provider {
  readonly name = 'stuck';
  publish: (view: GroupView) => void = () => {};

  start(publish: (view: GroupView) => void): Promise<void> {
    this.publish = publish;
    return never();
  }

  refresh(): Promise<'answered'> {
    return never();
  }

  stop(): Promise<void> {
    return never();
  }
}

function never<T>(): Promise<T> {
  return new Promise<T>(() => {});
}

describe('a source whose looks do not end', () => {
  it('holds up neither the start nor the end, and counts as silent until it answers', async () => {
    const clock = new FakeClock();
    const stuck = new StuckProvider();
    const providers = new Map([['cluster', [stuck, new FakeProvider(membersView('10.0.0.1'))]]]);
    const membership = new Membership({ providers, clock });
    const started = membership.start();
    clock.advance(5000);
    await started;
    const address = parseAddress('10.0.0.1');
    expect(address !== undefined && membership.isMemberNow(address)).toBe(true);
    clock.advance(60_000);
    expect(membership.ageMs(clock.now())).toBe(65_000);

    stuck.publish({ ...membersView('10.0.0.2'), asOfMs: clock.now() });
    expect(membership.ageMs(clock.now())).toBe(0);
    const look = membership.lookNow();
    clock.advance(5000);
    expect(await look).toBe('failed');

    const stopped = membership.stop();
    clock.advance(5000);
    await stopped;
    expect(clock.pending).toBe(0);
  });
});
