/** Every part of the collector that waits, while the wall clock is set or the process is paused: nothing comes of it. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RequestLimits } from '../../collector/edge/request-limits.ts';
import { SharedViews } from '../../collector/membership/shared-views.ts';
import { createAlertmanagerNotifier } from '../../collector/notify/alertmanager.ts';
import { Dispatcher } from '../../collector/notify/dispatcher.ts';
import { Reminders } from '../../collector/notify/reminders.ts';
import { Retention } from '../../collector/store/retention.ts';
import { formatMilliseconds } from '../../common/time.ts';
import { CLOCK_STEPS, DISTURBANCES, type Disturbance } from '../support/clock-disturbances.ts';
import {
  openParts,
  sampleIncident,
  sampleNotification,
  TEST_EPOCH,
  TEST_TIMING,
  type PartsOptions,
} from '../support/collector-parts.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { sampleAnomaly, sampleFlowReport } from '../support/sample-report.ts';
import { settle } from '../support/settle.ts';

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const TEST_START_MS = new FakeClock().now();

const TIMING = { ...TEST_TIMING, updateIntervalMs: 4 * MINUTE_MS, repeatIntervalMs: 70 * MINUTE_MS };

let parts: Awaited<ReturnType<typeof openParts>>;
let sequence = 0;

async function open(quietMs: number, options: PartsOptions = {}): Promise<void> {
  parts = await openParts({ quietMs, maxQuietMs: 100 * HOUR_MS, timing: TIMING, ...options });
  parts.storeClock.start();
  parts.recorder.start();
  parts.announcer.start();
  parts.fleet.start();
}

function report(severity: 'critical' | 'warning' = 'critical', count = 1): void {
  const time = formatMilliseconds(parts.clock.now());
  const anomaly = { ...sampleAnomaly(1), severity, count, first: time, last: time };
  parts.recorder.record('w1', TEST_EPOCH, [{ sequence: ++sequence, report: anomaly }]);
}

function hear(agent: string): void {
  parts.store.greetAgent(
    { name: agent, epoch: TEST_EPOCH, version: '1', capture: 'ring' },
    parts.clock.now(),
  );
  parts.fleet.heard(agent);
}

/** What happened within so much time, and after how much of it, in minutes. */
function happenings(look: () => readonly string[], forMs: number, each: () => void = () => {}): string[] {
  const seen: string[] = [];
  const before = look().length;
  for (let passedMs = MINUTE_MS; passedMs <= forMs; passedMs += MINUTE_MS) {
    for (let second = 0; second < 60; second += 5) {
      parts.clock.advance(5 * SECOND_MS);
      each();
    }
    for (const text of look().slice(before + seen.length))
      seen.push(`${text} after ${passedMs / MINUTE_MS} min`);
  }
  return seen;
}

const told = (): string[] => parts.store.pending('ops', 1000).map(({ type }) => type);
const events = (): string[] =>
  parts.events.map(({ type, incident }) => `${type} ${incident.kind} ${incident.nodes.join()}`);

describe.each(DISTURBANCES)('while the clock is $name', ({ apply, isPause, byMs }: Disturbance) => {
  beforeEach(() => open(10 * HOUR_MS));
  afterEach(() => {
    parts.storeClock.stop();
    parts.store.close();
  });

  it('a notification that waits for others goes out when it is due', () => {
    report('warning');
    parts.clock.advance(2 * SECOND_MS);
    apply(parts.clock);
    parts.clock.advance(2 * SECOND_MS);
    // After a pause it is overdue, as after a restart.
    expect(told()).toEqual(isPause ? ['opened'] : []);
    parts.clock.advance(7 * SECOND_MS);
    expect(told()).toEqual(['opened']);
  });

  it('a reminder of an incident comes after its interval', () => {
    report();
    parts.clock.advance(50 * MINUTE_MS);
    apply(parts.clock);
    const due = isPause ? [] : ['repeated after 20 min'];
    expect(happenings(told, 25 * MINUTE_MS)).toEqual(due);
    // After a pause it is overdue, and comes at once.
    expect(told()).toEqual(['opened', 'repeated']);
  });

  it('an incident with higher numbers is told of no sooner and no later', () => {
    report();
    parts.clock.advance(MINUTE_MS);
    apply(parts.clock);
    report('critical', 100);
    const due = isPause ? [] : ['updated after 3 min'];
    expect(happenings(told, 10 * MINUTE_MS)).toEqual(due);
    expect(told()).toEqual(['opened', 'updated']);
  });

  it('the flood guard counts the messages of an hour', () => {
    for (let message = 1; message <= 12; message++) {
      report('critical', message);
      parts.recorder.resolve('INC-1', 'ops');
    }
    const opened = () => told().filter((type) => type !== 'resolved').length;
    expect(opened()).toBe(10);
    apply(parts.clock);
    parts.clock.advance(30 * MINUTE_MS);
    report('critical', 13);
    expect(opened()).toBe(isPause ? 11 : 10);
    parts.clock.advance(31 * MINUTE_MS);
    expect(opened()).toBe(11);
  });

  it('an incident is resolved when it has been quiet for as long as it may', async () => {
    parts.storeClock.stop();
    await open(30 * MINUTE_MS);
    report();
    parts.clock.advance(20 * MINUTE_MS);
    apply(parts.clock);
    // After a pause its agent has the whole time again to report.
    expect(happenings(events, 35 * MINUTE_MS)).toEqual([
      `resolved unexpected-peer w1 after ${isPause ? 30 : 10} min`,
    ]);
  });

  it('an incident opens again within its time, and no other one is opened', () => {
    report();
    parts.recorder.resolve('INC-1', 'ops');
    parts.clock.advance(HOUR_MS);
    apply(parts.clock);
    report('critical', 5);
    expect(events().slice(2)).toEqual(['reopened unexpected-peer w1']);
  });

  it('an incident that a person resolved opens again when its condition lasts', () => {
    report('warning');
    parts.clock.advance(MINUTE_MS);
    apply(parts.clock);
    parts.storeClock.compare();
    parts.recorder.resolve('INC-1', 'ops');
    parts.clock.advance(MINUTE_MS);
    report('warning');
    expect(events().slice(2)).toEqual(['reopened unexpected-peer w1']);
  });

  it('an agent that is heard is not missing, and one that is not is missing in time', () => {
    for (const agent of ['w1', 'w2']) hear(agent);
    parts.clock.advance(30 * SECOND_MS);
    hear('w1');
    apply(parts.clock);
    expect(events()).toEqual([]);
    const seen = happenings(events, 10 * MINUTE_MS, () => hear('w1'));
    expect(seen).toEqual(['opened missing w2 after 1 min']);
  });

  it('an agent that was missing before is heard again', () => {
    hear('w1');
    parts.clock.advance(2 * MINUTE_MS);
    apply(parts.clock);
    parts.clock.advance(MINUTE_MS);
    hear('w1');
    expect(events()).toEqual(['opened missing w1', 'resolved missing w1']);
  });

  it('an enrolment token holds for its time', () => {
    const issued = parts.enrolments.issue('w9', 'admin');
    const header = `Bearer ${issued?.token}`;
    parts.clock.advance(30 * MINUTE_MS);
    apply(parts.clock);
    parts.clock.advance(SECOND_MS);
    parts.storeClock.compare();
    expect(parts.enrolments.identify(header)?.kind).toBe(isPause ? 'shared' : 'token');
    parts.clock.advance(31 * MINUTE_MS);
    expect(parts.enrolments.identify(header)?.kind).toBe('shared');
  });

  it('a silence for an hour silences for an hour, and one that was ended stays so', () => {
    const isMuted = () => parts.silences.mutedBy(sampleIncident(), parts.clock.now()) !== undefined;
    const ask = (durationMs: number) =>
      parts.silences.add({ matchers: { node: ['w1'] }, reason: 'a drill', durationMs }, 'ops');
    ask(DAY_MS);
    parts.silences.end('SIL-1', 'ops');
    ask(HOUR_MS);
    parts.clock.advance(30 * MINUTE_MS);
    apply(parts.clock);
    parts.clock.advance(SECOND_MS);
    expect(isMuted()).toBe(!isPause);
    parts.clock.advance(29 * MINUTE_MS);
    expect(isMuted()).toBe(!isPause);
    parts.clock.advance(MINUTE_MS);
    expect(isMuted()).toBe(false);
  });

  it('a delivery that failed is tried again after the same times', async () => {
    const attemptsMs: number[] = [];
    const dispatcher = new Dispatcher({
      ...parts,
      notifiers: new Map([
        [
          'ops',
          {
            minIntervalMs: 0,
            send: () => {
              attemptsMs.push(parts.clock.monotonic());
              return Promise.resolve({ outcome: 'retry', reason: 'down' } as const);
            },
          },
        ],
      ]),
      random: () => 0.5,
      giveUpMs: 3 * HOUR_MS,
    });
    report();
    dispatcher.start();
    await settle();
    for (let second = 0; second < 240; second++) {
      if (second === 60) apply(parts.clock);
      parts.clock.advance(SECOND_MS);
      await settle();
    }
    await dispatcher.stop();
    const startMs = attemptsMs[0] ?? 0;
    const seconds = attemptsMs.map((atMs) => Math.round((atMs - startMs) / SECOND_MS));
    // 5, 10, 20, 40 and 80 s; after a pause what is overdue is tried at once.
    expect(seconds.slice(0, 4)).toEqual([0, 5, 15, 35]);
    expect(seconds.length).toBe(6);
    expect(seconds.at(-1)).toBeLessThanOrEqual(156);
    expect(parts.store.pendingCount('ops')).toBe(1);
  });

  it('a request that had to wait is answered after the time that it was told', () => {
    const limits = new RequestLimits({ clock: parts.clock, requestsPerSecond: 1 });
    let waitMs = 0;
    for (let request = 0; request < 100 && waitMs === 0; request++) waitMs = limits.takeOfCaller('ci');
    expect(waitMs).toBeGreaterThan(0);
    apply(parts.clock);
    expect(limits.takeOfCaller('ci')).toBe(waitMs);
    parts.clock.advance(waitMs);
    expect(limits.takeOfCaller('ci')).toBe(0);
  });

  it('a receiver that forgets is reminded at its intervals', async () => {
    const reminders = new Reminders(
      'ops',
      { intervalMs: MINUTE_MS, send: () => Promise.resolve({ outcome: 'delivered' }) },
      parts,
    );
    parts.clock.advance(20 * SECOND_MS);
    apply(parts.clock);
    expect(reminders.dueInMs()).toBe(40 * SECOND_MS);
    await reminders.remind(AbortSignal.timeout(MINUTE_MS));
    expect(reminders.dueInMs()).toBe(MINUTE_MS);
  });

  it('alerts at Alertmanager, whose clock is right, do not end, and end when they are resolved', async () => {
    // Its clock goes on in a pause of ours.
    const itsMs = (): number => parts.clock.monotonic() + (isPause ? parts.clock.pausedMs() : 0);
    let alerts: { startsAt: string; endsAt: string }[] = [];
    const notifier = createAlertmanagerNotifier({
      url: 'http://alerts.example',
      clock: parts.clock,
      fetch: (_url, request) => {
        alerts = JSON.parse(typeof request?.body === 'string' ? request.body : '[]') as typeof alerts;
        return Promise.resolve(new Response('', { headers: { date: new Date(itsMs()).toUTCString() } }));
      },
    });
    const signal = AbortSignal.timeout(MINUTE_MS);
    const incident = sampleIncident({ openedMs: parts.clock.now() });
    await notifier.send(sampleNotification({ incident }), signal);
    apply(parts.clock);
    for (let minute = 0; minute < 3; minute++) {
      parts.clock.advance(MINUTE_MS);
      await notifier.reminder.send([incident], signal);
      const [alert] = alerts;
      const leftMs = Date.parse(alert?.endsAt ?? '') - itsMs();
      expect(leftMs).toBeGreaterThan(2 * MINUTE_MS);
      expect(leftMs).toBeLessThan(10 * MINUTE_MS);
      expect(Date.parse(alert?.startsAt ?? '')).toBeLessThan(Date.parse(alert?.endsAt ?? ''));
    }
    const resolved = { ...incident, state: 'resolved' as const, resolvedMs: parts.clock.now() };
    await notifier.send(sampleNotification({ type: 'resolved', incident: resolved }), signal);
    expect(Date.parse(alerts[0]?.endsAt ?? '')).toBeLessThanOrEqual(itsMs());
    expect(Date.parse(alerts[0]?.startsAt ?? '')).toBeLessThanOrEqual(Date.parse(alerts[0]?.endsAt ?? ''));
  });

  it('the first alert fires at Alertmanager, though its clock was not known', async () => {
    if (isPause) return;
    const itsMs = parts.clock.now();
    apply(parts.clock);
    const ends: number[] = [];
    const notifier = createAlertmanagerNotifier({
      url: 'http://alerts.example',
      clock: parts.clock,
      fetch: (_url, request) => {
        const [alert] = JSON.parse(typeof request?.body === 'string' ? request.body : '[]') as {
          endsAt: string;
        }[];
        ends.push(Date.parse(alert?.endsAt ?? '') - itsMs);
        return Promise.resolve(new Response('', { headers: { date: new Date(itsMs).toUTCString() } }));
      },
    });
    const incident = sampleIncident({ openedMs: parts.clock.now() });
    await notifier.send(sampleNotification({ incident }), AbortSignal.timeout(MINUTE_MS));
    expect(ends).toHaveLength(2);
    expect(ends[1]).toBe(4 * MINUTE_MS);
  });

  it('a limit that was reached is an incident until it was not reached for five minutes', () => {
    parts.ownLimits.start();
    parts.ownLimits.note('agents');
    parts.clock.advance(MINUTE_MS);
    expect(events()).toEqual(['opened blind (collector)']);
    apply(parts.clock);
    expect(happenings(events, 6 * MINUTE_MS)).toEqual(['resolved blind (collector) after 4 min']);
    parts.ownLimits.stop();
  });

  it('a report is kept for its time', () => {
    const flow = { sequence: ++sequence, report: sampleFlowReport() };
    parts.recorder.record('w1', TEST_EPOCH, [flow]);
    const retention = new Retention({ ...parts, keepMs: 3 * HOUR_MS, maxReports: 1000, keepAuditMs: DAY_MS });
    retention.start();
    apply(parts.clock);
    const left = () => parts.store.reportsAfter(0, 10).length;
    parts.announcer.stop();
    parts.fleet.stop();
    parts.storeClock.stop();
    parts.clock.advance((isPause ? 1 : 2) * HOUR_MS + 50 * MINUTE_MS);
    expect(left()).toBe(1);
    // A clock that was put back keeps it for as much longer.
    parts.clock.advance(25 * MINUTE_MS);
    expect(left()).toBe(byMs < 0 ? 1 : 0);
    retention.stop();
  });

  it('the age of a view that agents share is that of its reading', () => {
    const views = new SharedViews({ ...parts, reporters: [{ agent: 'w1' }] });
    const ages: number[] = [];
    const reader = { agent: 'w1', from: 'a node', send: () => true };
    const members = [{ id: 'x', addresses: ['10.0.0.1'], ports: [] }];
    views.report(reader, { type: 'members', cluster: 'a', ageMs: 1000, members });
    parts.clock.advance(3 * SECOND_MS);
    apply(parts.clock);
    ages.push(...views.views().map(({ asOfMs }) => parts.clock.now() - asOfMs));
    expect(ages).toEqual([4000]);
    views.stop();
  });
});

describe.each(CLOCK_STEPS)('a collector whose clock is $name', ({ apply, byMs }) => {
  beforeEach(() => open(10 * HOUR_MS));
  afterEach(() => {
    parts.storeClock.stop();
    parts.store.close();
  });

  async function gauge(name: 'clocksWrong' | 'clockWrong'): Promise<number | undefined> {
    parts.clocks.measure();
    return (await parts.metrics[name].get()).values[0]?.value;
  }

  /** Asks agents, whose clocks are right but for the last one's. */
  function ask(agents: number, wrongByMs: number): void {
    for (let agent = 0; agent < agents; agent++) {
      const itsMs = parts.clock.monotonic() + (agent === agents - 1 ? wrongByMs : 0);
      let originMs = 0;
      const meter = parts.clocks.open(`w${agent}`, (question) => {
        if (question.type === 'ask-time') ({ originMs } = question);
      });
      meter.ask();
      expect(meter.take({ type: 'time', originMs, receivedMs: itsMs, sentMs: itsMs })).toBe(true);
    }
  }

  it('does not blame its agents, and still one whose clock is wrong', async () => {
    ask(9, 3 * DAY_MS);
    expect([await gauge('clocksWrong'), await gauge('clockWrong')]).toEqual([1, 0]);
    apply(parts.clock);
    expect([await gauge('clocksWrong'), await gauge('clockWrong')]).toEqual([1, 1]);
    ask(9, 3 * DAY_MS);
    expect([await gauge('clocksWrong'), await gauge('clockWrong')]).toEqual([1, 1]);
    parts.clock.step(-byMs);
    expect([await gauge('clocksWrong'), await gauge('clockWrong')]).toEqual([1, 0]);
  });

  it('counts the step, and not again when it is started anew', async () => {
    apply(parts.clock);
    parts.clock.advance(5 * SECOND_MS);
    parts.storeClock.stop();
    parts.storeClock.start();
    parts.clock.advance(5 * SECOND_MS);
    expect((await parts.metrics.clockSteps.get()).values[0]?.value).toBe(1);
  });
});

describe('a collector that starts with a clock that is behind', () => {
  it('tells of what waits when it is due, and misses agents in time', async () => {
    await open(10 * HOUR_MS);
    const { store } = parts;
    hear('w1');
    report('critical');
    happenings(told, 50 * MINUTE_MS, () => hear('w1'));
    parts.storeClock.stop();
    // The machine boots with a clock that is a day behind.
    await open(10 * HOUR_MS, { store, startMs: parts.clock.now() - DAY_MS });
    expect(happenings(told, 25 * MINUTE_MS, () => hear('w1'))).toEqual(['repeated after 20 min']);
    expect(events()).toEqual([]);
    parts.clock.advance(2 * MINUTE_MS);
    expect(events()).toEqual(['opened missing w1']);
    parts.storeClock.stop();
    store.close();
  });
});

describe('a collector that starts with a clock that is wrong, which is then set right', () => {
  const AWAY_MS = 2 * HOUR_MS;

  /** An incident that was opened and told of before the restart, and a token that was issued then. */
  async function restart(wrongByMs: number): Promise<{ header: string; firstMs: number }> {
    await open(10 * HOUR_MS);
    const { store, clock } = parts;
    const firstMs = clock.now();
    hear('w1');
    report('critical');
    const header = `Bearer ${parts.enrolments.issue('w9', 'admin')?.token}`;
    happenings(told, 30 * MINUTE_MS, () => hear('w1'));
    parts.storeClock.stop();
    await open(10 * HOUR_MS, { store, startMs: clock.now() + AWAY_MS + wrongByMs });
    return { header, firstMs };
  }

  afterEach(() => {
    parts.storeClock.stop();
    parts.store.close();
  });

  it.each([
    ['10 years ahead', 3650 * DAY_MS],
    ['a day ahead', DAY_MS],
    ['6 h ahead', 6 * HOUR_MS],
    ['two hours behind, as when it last ran', -AWAY_MS],
    ['a day behind', -DAY_MS],
    ['10 years behind', -3650 * DAY_MS],
    ['in 1970', 5000 - TEST_START_MS - 30 * MINUTE_MS - AWAY_MS],
  ])('%s keeps what was noted before as it was noted', async (_name, wrongByMs) => {
    const { firstMs } = await restart(wrongByMs);
    parts.clock.advance(30 * SECOND_MS);
    report('critical');
    parts.clock.advance(30 * SECOND_MS);
    parts.clock.step(-wrongByMs);
    parts.clock.advance(2 * SECOND_MS);
    const incident = parts.store.incident('INC-1');
    expect(incident).toMatchObject({ state: 'open', openedMs: firstMs });
    expect(parts.clock.now() - (incident?.lastReportMs ?? 0)).toBe(32 * SECOND_MS);
    expect(events().filter((text) => text.includes('missing'))).toEqual([]);
    // It is told of no more often than every 70 minutes.
    expect(happenings(told, 30 * MINUTE_MS, () => hear('w1'))).toEqual([]);
  });

  it.each([3650 * DAY_MS, DAY_MS])('%i ms ahead does not use up a token for good', async (wrongByMs) => {
    const { header } = await restart(wrongByMs - AWAY_MS);
    parts.clock.advance(30 * SECOND_MS);
    expect(parts.enrolments.identify(header)?.kind).toBe('shared');
    parts.clock.step(-wrongByMs);
    parts.clock.advance(2 * SECOND_MS);
    expect(parts.enrolments.identify(header)?.kind).toBe('token');
    parts.clock.advance(30 * MINUTE_MS);
    expect(parts.enrolments.identify(header)?.kind).toBe('shared');
  });
});
