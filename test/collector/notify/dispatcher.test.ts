import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Dispatcher } from '../../../collector/notify/dispatcher.ts';
import {
  SEND_TIMEOUT_MS,
  type Batch,
  type Delivery,
  type Notifier,
  type Reminder,
} from '../../../collector/notify/notifier.ts';
import { DIGEST } from '../../../collector/notify/wording.ts';
import type { Notification } from '../../../collector/store/store.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import type { Severity } from '../../../common/event.ts';
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

/** A dispatcher with one receiver that people read; notes what it was sent, and when. */
async function openPeople(
  sent: { readonly atMs: number; readonly ids: readonly string[] }[],
  { isWoken = true } = {},
) {
  const note = (notifications: readonly Notification[]): Delivery => {
    sent.push({ atMs: parts.clock.now(), ids: notifications.map(({ id }) => id) });
    return { outcome: 'delivered' };
  };
  const batch: Batch = { ...DIGEST, send: async (notifications) => note(notifications) };
  const ops: Notifier = { minIntervalMs: 1000, send: async (only) => note([only]), batch };
  const parts = await openDispatcher({ ops });
  parts.dispatcher.start();
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn++) await nextTurn();
  };
  let number = 0;
  const send = async (severity: Severity): Promise<string> => {
    const id = `msg_${++number}`;
    const incident = { ...parts.incident, severity };
    parts.store.enqueue(sampleNotification({ id, receiver: 'ops', incident, createdMs: parts.clock.now() }));
    if (isWoken) {
      parts.dispatcher.wake();
      await settle();
    }
    return id;
  };
  const pass = async (durationMs: number): Promise<void> => {
    parts.dispatcher.wake();
    for (let passedMs = 0; passedMs < durationMs; passedMs += 500) {
      parts.clock.advance(500);
      await settle();
    }
  };
  return { parts, people: { pass }, send };
}

describe('the dispatcher', () => {
  it('delivers in order, one at a time', async () => {
    const ops = new ScriptedNotifier();
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ ops });
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(stateOf(ids[2] ?? '')?.state).toBe('delivered'));
    expect(ops.sent.map(({ id }) => id)).toEqual(ids);
  });

  it('sends no message again because the store refuses to note that it was delivered', async () => {
    const ops = new ScriptedNotifier();
    const { dispatcher, enqueue, stateOf, store, clock, metrics } = await openDispatcher({ ops });
    const { updateDelivery } = store;
    store.updateDelivery = () => {
      throw new PlasmawatchError('PW_DISK_FULL', 'cannot use the store: disk is full');
    };
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(clock.pending).toBe(2));
    for (let round = 0; round < 20; round++) {
      clock.advance(10_000);
      await new Promise(setImmediate);
    }
    expect(ops.sent.map(({ id }) => id)).toEqual(ids.slice(0, 1));
    store.updateDelivery = updateDelivery.bind(store);
    clock.advance(10_000);
    await vi.waitFor(() => expect(ids.map((id) => stateOf(id)?.state)).toEqual(['delivered', 'delivered']));
    expect(ops.sent.map(({ id }) => id)).toEqual(ids);
    const { values } = await metrics.notifications.get();
    expect(values).toMatchObject([{ labels: { outcome: 'delivered' }, value: 2 }]);
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

  it('keeps what a receiver has to say of a message that it took', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [
      { outcome: 'delivered', remark: '1 of 2 addressees were refused' },
      { outcome: 'delivered' },
    ];
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ ops });
    dispatcher.start();
    const ids = [enqueue('ops'), enqueue('ops')];
    await vi.waitFor(() => expect(stateOf(ids[1] ?? '')?.state).toBe('delivered'));
    expect(ids.map((id) => stateOf(id)?.reason)).toEqual(['1 of 2 addressees were refused', null]);
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

  it('sends what waits together where the receiver takes that, from so many on', async () => {
    const sizes: string[][] = [];
    const ops = new ScriptedNotifier();
    const batch: Batch = {
      minCount: 3,
      maxCount: 4,
      async send(notifications) {
        sizes.push(notifications.map(({ id }) => id));
        return { outcome: 'delivered' };
      },
    };
    const { dispatcher, enqueue, stateOf, metrics } = await openDispatcher({
      ops: Object.assign(ops, { batch }),
    });
    const ids = Array.from({ length: 6 }, () => enqueue('ops'));
    dispatcher.start();
    await vi.waitFor(() => expect(stateOf(ids[5] ?? '')?.state).toBe('delivered'));
    expect(sizes).toEqual([ids.slice(0, 4)]);
    expect(ops.sent.map(({ id }) => id)).toEqual(ids.slice(4));
    expect(ids.map((id) => stateOf(id)?.attempts)).toEqual([1, 1, 1, 1, 1, 1]);
    expect((await metrics.notificationsMerged.get()).values).toMatchObject([{ value: 4 }]);
  });

  it('sends people no more messages a minute than they read, loses none, and is at once with what is critical', async () => {
    const sent: { readonly atMs: number; readonly ids: readonly string[] }[] = [];
    const { parts, people, send } = await openPeople(sent);
    const startMs = parts.clock.now();
    const ids: string[] = [];
    for (let second = 0; second < 120; second++) {
      ids.push(await send('warning'));
      await people.pass(1000);
    }
    await people.pass(2000);
    ids.push(await send('critical'));
    expect(sent.at(-1)?.ids).toContain(ids.at(-1));
    await people.pass(60_000);
    expect(sent.flatMap((each) => each.ids)).toEqual(ids);
    for (let second = 0; second < 180; second++) {
      const fromMs = startMs + second * 1000;
      const ofMinute = sent.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + 60_000);
      expect(ofMinute.length).toBeLessThanOrEqual(6);
    }
  });

  it('sends people soon what has come while their receiver was away', async () => {
    const sent: { readonly atMs: number; readonly ids: readonly string[] }[] = [];
    const { people, send } = await openPeople(sent, { isWoken: false });
    for (let number = 0; number < 2000; number++) await send('warning');
    await people.pass(400_000);
    expect(sent.flatMap(({ ids }) => ids)).toHaveLength(2000);
  });

  it('sends one by one what the receiver refused together: one that cannot be sent takes no other with it', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [
      { outcome: 'delivered' },
      { outcome: 'rejected', reason: 'HTTP status 400' },
      { outcome: 'delivered' },
    ];
    let together = 0;
    const batch: Batch = {
      minCount: 2,
      maxCount: 3,
      async send() {
        together++;
        return { outcome: 'rejected', reason: 'HTTP status 400' };
      },
    };
    const { dispatcher, enqueue, stateOf } = await openDispatcher({ ops: Object.assign(ops, { batch }) });
    const ids = [enqueue('ops'), enqueue('ops'), enqueue('ops')];
    dispatcher.start();
    await vi.waitFor(() => expect(stateOf(ids[2] ?? '')?.state).toBe('delivered'));
    expect(together).toBe(1);
    expect(ids.map((id) => stateOf(id)?.state)).toEqual(['delivered', 'failed', 'delivered']);
  });

  it('keeps all of what went together when it did not arrive', async () => {
    const ops = new ScriptedNotifier();
    const outcomes: Delivery[] = [retry, { outcome: 'delivered' }];
    const batch: Batch = {
      minCount: 2,
      maxCount: 9,
      async send() {
        return outcomes.shift() ?? { outcome: 'delivered' };
      },
    };
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({
      ops: Object.assign(ops, { batch }),
    });
    const ids = [enqueue('ops'), enqueue('ops')];
    dispatcher.start();
    await vi.waitFor(() => expect(stateOf(ids[1] ?? '')).toMatchObject({ state: 'pending', attempts: 1 }));
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(5000);
    await vi.waitFor(() => expect(stateOf(ids[1] ?? '')).toMatchObject({ state: 'delivered', attempts: 2 }));
    expect(stateOf(ids[0] ?? '')).toMatchObject({ state: 'delivered', attempts: 2 });
    expect(ops.sent).toEqual([]);
  });

  it('looks whether a receiver is back when there is something new, instead of waiting for hours', async () => {
    const ops = Object.assign(new ScriptedNotifier(), { retryDelaysMs: [10 * 3_600_000] });
    ops.answers = [retry, { outcome: 'delivered' }];
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops });
    dispatcher.start();
    const first = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(first)?.attempts).toBe(1));
    clock.advance(30_000);
    const second = enqueue('ops');
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    expect(ops.sent).toHaveLength(1);
    clock.advance(30_000);
    await vi.waitFor(() => expect(stateOf(second)?.state).toBe('delivered'));
    expect(ops.sent.map(({ id }) => id)).toEqual([first, first, second]);
  });

  it('does not look before the time that the receiver asked for, whatever is new', async () => {
    const ops = new ScriptedNotifier();
    ops.answers = [
      { outcome: 'retry', reason: 'HTTP status 429', afterMs: 600_000 },
      { outcome: 'delivered' },
    ];
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops });
    dispatcher.start();
    const first = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(first)?.attempts).toBe(1));
    for (let minute = 1; minute < 10; minute++) {
      clock.advance(60_000);
      enqueue('ops');
      await vi.waitFor(() => expect(clock.pending).toBe(1));
    }
    expect(ops.sent).toHaveLength(1);
    clock.advance(60_000);
    await vi.waitFor(() => expect(stateOf(first)?.state).toBe('delivered'));
  });

  it('reminds of many incidents in portions', async () => {
    const sizes: number[] = [];
    const reminder: Reminder = {
      intervalMs: 10_000,
      async send(incidents) {
        sizes.push(incidents.length);
        return { outcome: 'delivered' };
      },
    };
    const ops = Object.assign(new ScriptedNotifier(), { reminder });
    const { dispatcher, clock, store } = await openDispatcher({ ops });
    store.transaction(() => {
      for (let number = 1; number <= 450; number++) {
        const incident = store.insertIncident(sampleIncident({ fingerprint: `story ${number}` }));
        const id = `msg_of_${number}`;
        store.enqueue(sampleNotification({ id, receiver: 'ops', incident }));
        store.updateDelivery({ id, state: 'delivered', attempts: 1, nextAttemptMs: 0, reason: null });
      }
    });
    dispatcher.start();
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(10_000);
    await vi.waitFor(() => expect(sizes).toEqual([200, 200, 50]));
  });

  it('reminds a receiver that forgets of what it was told, and never while a delivery is under way', async () => {
    const reminded: string[][] = [];
    const reminder: Reminder = {
      intervalMs: 10_000,
      async send(incidents) {
        reminded.push(incidents.map(({ id }) => id));
        return { outcome: 'delivered' };
      },
    };
    const ops = Object.assign(new ScriptedNotifier(), { reminder });
    const { dispatcher, enqueue, stateOf, clock, store, incident } = await openDispatcher({ ops });
    dispatcher.start();
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(10_000);
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    expect(reminded).toEqual([]);
    const opened = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(opened)?.state).toBe('delivered'));
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(10_000);
    await vi.waitFor(() => expect(reminded).toEqual([[incident.id]]));

    ops.answers = ['silence', { outcome: 'delivered' }];
    store.updateIncident({ ...incident, state: 'resolved' });
    const resolved = enqueue('ops');
    await vi.waitFor(() => expect(ops.sent).toHaveLength(2));
    clock.advance(10_000);
    expect(reminded).toHaveLength(1);
    clock.advance(SEND_TIMEOUT_MS - 10_000);
    await vi.waitFor(() => expect(stateOf(resolved)?.attempts).toBe(1));
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(10_000);
    await vi.waitFor(() => expect(stateOf(resolved)?.state).toBe('delivered'));
    expect(reminded).toHaveLength(1);
  });

  it('looks within an hour of a restart whether a receiver is back, and not before what an earlier run was asked', async () => {
    const away = Object.assign(new ScriptedNotifier(), { retryDelaysMs: [10 * 3_600_000] });
    away.answers = [retry];
    const { dispatcher, enqueue, stateOf, ...parts } = await openDispatcher({ ops: away });
    dispatcher.start();
    const id = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(id)?.attempts).toBe(1));
    await dispatcher.stop();
    const back = new ScriptedNotifier();
    const options = { ...parts, random: () => 0.5, giveUpMs: 3 * DAY_MS };
    const restarted = new Dispatcher({ ...options, notifiers: new Map([['ops', back]]) });
    stops.push(() => restarted.stop());
    restarted.start();
    await vi.waitFor(() => expect(parts.clock.pending).toBe(1));
    parts.clock.advance(3_599_999);
    restarted.wake();
    await vi.waitFor(() => expect(parts.clock.pending).toBe(1));
    expect(back.sent).toEqual([]);
    parts.clock.advance(1);
    await vi.waitFor(() => expect(stateOf(id)?.state).toBe('delivered'));
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

describe('whether the dispatcher turns', () => {
  it('is not about deliveries that fail, but about a receiver that hangs', async () => {
    const failing = new ScriptedNotifier();
    failing.answers = [{ outcome: 'retry', reason: 'HTTP status 500' }];
    let release = (_delivery: Delivery): void => undefined;
    const deaf: Notifier = {
      minIntervalMs: 0,
      send: () => new Promise((resolve) => (release = resolve)),
    };
    const { dispatcher, enqueue, clock } = await openDispatcher({ failing, deaf });
    dispatcher.start();
    enqueue('failing');
    for (let look = 0; look < 20; look++) {
      clock.advance(SEND_TIMEOUT_MS);
      await nextTurn();
      expect(dispatcher.isTurning()).toBe(true);
    }
    expect(failing.sent.length).toBeGreaterThan(2);
    enqueue('deaf');
    expect(dispatcher.isTurning()).toBe(true);
    clock.advance(4 * SEND_TIMEOUT_MS);
    expect(dispatcher.isTurning()).toBe(false);
    release({ outcome: 'delivered' });
    await vi.waitFor(() => expect(dispatcher.isTurning()).toBe(true));
  });
});

describe('other receivers while the dispatcher runs', () => {
  it('are delivered to from then on; one that stays is not disturbed, and what is for nobody is dropped', async () => {
    const stays = new ScriptedNotifier();
    stays.answers = ['silence'];
    const goes = new ScriptedNotifier();
    goes.answers = [retry];
    const changes = new ScriptedNotifier();
    changes.answers = [retry];
    const { dispatcher, enqueue, stateOf, metrics } = await openDispatcher({ stays, goes, changes });
    dispatcher.start();
    const [kept, dropped, moved] = [enqueue('stays'), enqueue('goes'), enqueue('changes')];
    await vi.waitFor(() => expect([stateOf(dropped)?.attempts, stateOf(moved)?.attempts]).toEqual([1, 1]));
    const changed = new ScriptedNotifier();
    const added = new ScriptedNotifier();
    await dispatcher.replaceNotifiers(new Map(Object.entries({ stays, changes: changed, added })));
    expect(stateOf(dropped)).toMatchObject({ state: 'failed' });
    // Nobody is alerted for ever of what waits for a receiver that is gone.
    expect(await metrics.registry.metrics()).not.toContain(
      'plasmawatch_notifications_waiting{receiver="goes"}',
    );
    // Under way since before, and not begun again.
    expect([stays.sent.length, stateOf(kept)?.state]).toEqual([1, 'pending']);
    const fresh = enqueue('added');
    await vi.waitFor(() => expect(stateOf(fresh)?.state).toBe('delivered'));
    expect(added.sent.map(({ id }) => id)).toEqual([fresh]);
    enqueue('goes');
    expect(goes.sent).toHaveLength(1);
    expect(changes.sent).toHaveLength(1);
  });

  it('take over what waits, as after a restart', async () => {
    const before = new ScriptedNotifier();
    before.answers = [retry];
    const { dispatcher, enqueue, stateOf, clock } = await openDispatcher({ ops: before });
    dispatcher.start();
    const id = enqueue('ops');
    await vi.waitFor(() => expect(stateOf(id)?.attempts).toBe(1));
    const after = new ScriptedNotifier();
    await dispatcher.replaceNotifiers(new Map([['ops', after]]));
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    clock.advance(3_600_000);
    await vi.waitFor(() => expect(stateOf(id)?.state).toBe('delivered'));
    expect([before.sent.length, after.sent.length]).toEqual([1, 1]);
  });
});
