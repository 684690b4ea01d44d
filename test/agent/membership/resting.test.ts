import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GroupView, Provider } from '../../../agent/membership/provider.ts';
import { createRestingProvider } from '../../../agent/membership/resting.ts';
import { SharedMembers, type SharingMessage } from '../../../agent/membership/shared.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { FakeProvider, membersView } from '../../support/fake-provider.ts';
import { waitFor } from '../../support/wait-for.ts';

const KEY = 'kubernetes/a/ray/b';

describe('createRestingProvider', () => {
  let clock: FakeClock;
  let shared: SharedMembers;
  let sent: SharingMessage[];
  let views: GroupView[];
  /** The providers that were started, and whether they still run. */
  let readers: { provider: FakeProvider; isRunning: boolean }[];
  let provider: Provider;

  beforeEach(async () => {
    clock = new FakeClock();
    shared = new SharedMembers(clock, () => 0.5);
    sent = [];
    views = [];
    readers = [];
    provider = createRestingProvider({
      name: 'kubernetes b',
      clock,
      shared,
      freshMs: 150_000,
      findKey: () => Promise.resolve(KEY),
      create() {
        const reader = { provider: new FakeProvider(viewNow('10.1.0.1')), isRunning: true };
        readers.push(reader);
        reader.provider.stop = () => Promise.resolve(void (reader.isRunning = false));
        return reader.provider;
      },
    });
    await provider.start((view) => views.push(view));
    shared.connected((message) => sent.push(message));
  });
  afterEach(async () => {
    await provider.stop();
    expect(readers.map(({ isRunning }) => isRunning)).not.toContain(true);
    expect(clock.pending).toBe(0);
  });

  function viewNow(...texts: string[]): GroupView {
    return { ...membersView(...texts), asOfMs: clock.now() };
  }

  /** The collector hands out what another agent has read. */
  function handOut(...addresses: string[]): void {
    const members = addresses.map((address) => ({ id: address, addresses: [address], ports: [] }));
    shared.take({ type: 'members', cluster: KEY, reporter: 'w9', ageMs: 0, members });
  }

  async function pass(milliseconds: number): Promise<void> {
    for (let passed = 0; passed < milliseconds; passed += 1000) {
      clock.advance(1000);
      await waitFor(() => clock.pending === 1, 'the look to end');
    }
  }

  function newest(): string[] {
    return (views.at(-1)?.members ?? []).map(({ id, source }) => `${id} by ${source}`);
  }

  function running(): number {
    return readers.filter(({ isRunning }) => isRunning).length;
  }

  it('reads the source where nobody else does, and offers what it reads', async () => {
    expect(newest()).toEqual(['10.1.0.1 by fake']);
    await pass(1000);
    expect(sent.at(-1)).toMatchObject({
      type: 'members',
      cluster: KEY,
      ageMs: 1000,
      members: [{ id: '10.1.0.1' }],
    });
  });

  it('offers changes once a second, and what is unchanged every five seconds', async () => {
    await pass(1000);
    sent = [];
    for (const address of ['10.1.0.2', '10.1.0.3', '10.1.0.4'])
      readers[0]?.provider.publish(viewNow(address));
    await pass(1000);
    expect(sent).toMatchObject([{ members: [{ id: '10.1.0.4' }] }]);
    await pass(4000);
    expect(sent).toHaveLength(1);
    await pass(1000);
    expect(sent[1]).toMatchObject({ ageMs: 6000 });
    expect(sent[1]).not.toHaveProperty('members');
  });

  it('offers nothing of a source that is away', async () => {
    await pass(150_000);
    sent = [];
    await pass(20_000);
    expect(sent).toEqual([]);
  });

  it("lets go of the source for another agent's view", async () => {
    handOut('10.1.0.7');
    await pass(1000);
    expect(running()).toBe(0);
    expect(newest()).toEqual(['10.1.0.7 by kubernetes, read by w9']);
    handOut('10.1.0.8');
    await pass(1000);
    expect(newest()).toEqual(['10.1.0.8 by kubernetes, read by w9']);
    expect(sent.filter(({ type }) => type === 'members')).toEqual([]);
  });

  it('takes the names of pods for lasting, and the ids of Ray for those of one start', async () => {
    handOut('10.1.0.7');
    await pass(1000);
    const members = [{ id: 'a1b2', addresses: ['10.1.0.9'], ports: [] }];
    shared.restOn('f00d');
    shared.take({ type: 'members', cluster: 'f00d', reporter: 'w9', ageMs: 0, members });
    const listed = [views.at(-1), shared.restOn('f00d')].map((view) => view?.members[0]?.hasFleetingId);
    expect(listed).toEqual([undefined, true]);
  });

  it('reads itself again when the other agent is lost, not at once', async () => {
    handOut('10.1.0.7');
    await pass(1000);
    shared.take({ type: 'members-wanted', cluster: KEY });
    await pass(4000);
    expect(running()).toBe(0);
    await pass(2000);
    expect(running()).toBe(1);
    expect(newest()).toEqual(['10.1.0.1 by fake']);
  });

  it('reads once where somebody waits, and rests again', async () => {
    handOut('10.1.0.7');
    await pass(1000);
    expect(await provider.refresh?.()).toBe('answered');
    expect(newest()).toEqual(['10.1.0.1 by fake']);
    expect(running()).toBe(1);
    handOut('10.1.0.7');
    await pass(1000);
    expect(running()).toBe(0);
    expect(newest()).toEqual(['10.1.0.7 by kubernetes, read by w9']);
  });
});
