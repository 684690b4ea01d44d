import { afterEach, describe, expect, it, vi } from 'vitest';
import { Dispatcher } from '../../../collector/notify/dispatcher.ts';
import { SEND_TIMEOUT_MS, type Delivery, type Notifier } from '../../../collector/notify/notifier.ts';
import type { Notification } from '../../../collector/store/store.ts';
import { openParts, sampleIncident, sampleNotification } from '../../support/collector-parts.ts';

const DAY_MS = 86_400_000;
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A notifier that answers in turn (the last answer stays), and remembers what it was given. */
class ScriptedNotifier implements Notifier {
  readonly minIntervalMs: number;
  readonly sent: Notification[] = [];
  answers: (Delivery | 'silence')[] = [{ outcome: 'delivered' }];

  constructor(minIntervalMs = 0) {
    this.minIntervalMs = minIntervalMs;
  }

  async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
    this.sent.push(notification);
    const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
    if (answer !== undefined && answer !== 'silence') return answer;
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => resolve({ outcome: 'retry', reason: 'no answer in time' }));
    });
  }
}

async function openDispatcher(notifiers: Record<string, Notifier>) {
  const parts = await openParts();
  const incident = parts.store.insertIncident(sampleIncident());
  const dispatcher = new Dispatcher({
    ...parts,
    notifiers: new Map(Object.entries(notifiers)),
    random: () => 0.5,
    giveUpMs: 3 * DAY_MS,
  });
  stops.push(() => dispatcher.stop());
  let number = 0;
  const enqueue = (receiver: string): string => {
    const id = `msg_${++number}`;
    parts.store.enqueue(sampleNotification({ id, receiver, incident, createdMs: parts.clock.now() }));
    dispatcher.wake();
    return id;
  };
  const stateOf = (id: string) =>
    parts.store.notifications(incident.id, 100).find((entry) => entry.id === id);
  return { ...parts, incident, dispatcher, enqueue, stateOf };
}

const retry: Delivery = { outcome: 'retry', reason: 'HTTP status 500' };

describe('the dispatcher', () => {
  it('delivers in order, one at a time', async () => {
    const ops = new ScriptedNotifier();
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ ops });
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(stateOf(ids[2] ?? '')?.state).toBe('delivered'));
    expect(ops.sent.map(({ id }) => id)).toEqual(ids);
  });

  it("keeps the receiver's pace", async () => {
    const ops = new ScriptedNotifier(1000);
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops });
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(stateOf(ids[0] ?? '')?.state).toBe('delivered'));
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(999);
    expect(ops.sent).toHaveLength(1);
    clock.advance(1);
    await vi.waitFor(() => expect(ops.sent).toHaveLength(2));
  });

  it('tries again with the same id, not before the time that the receiver asked for', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [
      { outcome: 'retry', reason: 'HTTP status 429', afterMs: 60_000 },
      { outcome: 'delivered' },
    ];
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops });
    dispatcher.start();
    const id = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(id)).toMatchObject({ attempts: 1, reason: 'HTTP status 429' }));
    clock.advance(59_999);
    dispatcher.wake();
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    expect(ops.sent).toHaveLength(1);
    clock.advance(1);
    await vi.waitFor(() =>
      expect(stateOf(id)).toMatchObject({ state: 'delivered', attempts: 2, reason: null }),
    );
    expect(ops.sent.map((sent) => sent.id)).toEqual([id, id]);
  });

  it('does not hold other receivers up for one that fails or says nothing', async () => {
    const slow = new ScriptedNotifier();
    slow.answers = ['silence'];
    const quick = new ScriptedNotifier();
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ slow, quick });
    dispatcher.start();
    enqueue('slow');
    const id = enqueue('quick');
    await vi.waitFor(() => expect(stateOf(id)?.state).toBe('delivered'));
  });

  it('ends an attempt that takes too long', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = ['silence', { outcome: 'delivered' }];
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops });
    dispatcher.start();
    const id = enqueue('ops');
    await vi.waitFor(() => expect(ops.sent).toHaveLength(1));
    clock.advance(SEND_TIMEOUT_MS);
    await vi.waitFor(() => expect(stateOf(id)).toMatchObject({ attempts: 1, reason: 'no answer in time' }));
  });

  it('gives up after the days it was told, and goes on with the next', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [retry];
    const { dispatcher, enqueue, stateOf, clock, metrics } = await openDispatcher({ ops });
    dispatcher.start();
    const id = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(id)?.attempts).toBe(1));
    clock.advance(3 * DAY_MS);
    await vi.waitFor(() => expect(stateOf(id)).toMatchObject({ state: 'failed', reason: 'HTTP status 500' }));
    ops.answers = [{ outcome: 'delivered' }];
    const next = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(next)?.state).toBe('delivered'));
    expect((await metrics.notifications.get()).values).toContainEqual(
      expect.objectContaining({ labels: { receiver: 'ops', outcome: 'failed' }, value: 1 }),
    );
  });

  it('gives a rejected message up at once', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [{ outcome: 'rejected', reason: 'HTTP status 400' }, { outcome: 'delivered' }];
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ ops });
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(stateOf(ids[1] ?? '')?.state).toBe('delivered'));
    expect(stateOf(ids[0] ?? '')).toMatchObject({ state: 'failed', attempts: 1 });
  });

  it('sends nothing more to a receiver that is gone', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [{ outcome: 'rejected', reason: 'HTTP status 410', isGone: true }];
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ ops });
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(stateOf(ids[2] ?? '')?.state).toBe('failed'));
    expect(ops.sent).toHaveLength(1);
  });

  it('delivers once what an earlier run left, and drops what is for nobody', async () => {
    const before = new ScriptedNotifier();
    before.answers = [retry];
    const { dispatcher, enqueue, stateOf, ...parts } = await openDispatcher({ ops: before });
    dispatcher.start();
    const id = enqueue('ops');
    const orphan = enqueue('no-longer-there');
    await vi.waitFor(() => expect(stateOf(id)?.attempts).toBe(1));
    await dispatcher.stop();
    parts.clock.advance(60_000);
    const after = new ScriptedNotifier();
    const options = { ...parts, random: () => 0.5, giveUpMs: 3 * DAY_MS };
    const restarted = new Dispatcher({ ...options, notifiers: new Map([['ops', after]]) });
    stops.push(() => restarted.stop());
    restarted.start();
    await vi.waitFor(() => expect(stateOf(id)?.state).toBe('delivered'));
    restarted.wake();
    expect(after.sent.map((sent) => sent.id)).toEqual([id]);
    expect(before.sent).toHaveLength(1);
    expect(stateOf(orphan)?.state).toBe('failed');
  });

  it('leaves a message that was under way when it stopped for the next run', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = ['silence'];
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops });
    dispatcher.start();
    const id = enqueue('ops');
    await vi.waitFor(() => expect(ops.sent).toHaveLength(1));
    await dispatcher.stop();
    expect(stateOf(id)).toMatchObject({ state: 'pending', attempts: 0 });
    expect(clock.pending).toBe(0);
  });
});
