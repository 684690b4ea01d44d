/** An hour in which Slack fails in every way, against a clock of the test and a real HTTP server. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { afterEach, expect, it } from 'vitest';
import { Dispatcher } from '../../../collector/notify/dispatcher.ts';
import { createSlackNotifier, type SlackMessage } from '../../../collector/notify/slack.ts';
import type { Fetch } from '../../../collector/notify/post.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { HttpReceiver, type Answer } from '../../support/http-receiver.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';
import { seededRandom } from '../../support/seeded-random.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';
const SECRETS = /SECRET|TokenOfTheChannel|127\.0\.0\.1/;
const SECOND_MS = 1000;
const HOUR_S = 3600;
const STORIES = 120;
const QUIET_MS = 600_000;

const FAULTS: readonly Answer[] = [
  { status: 429, headers: { 'retry-after': '30' }, body: 'ratelimited' },
  { status: 429, headers: { 'retry-after': '120' }, body: 'ratelimited' },
  { status: 500, body: SECRET_PATH },
  { status: 503 },
  { status: 200, body: '<html>log in</html>' },
  { status: 200, body: '' },
  'silence',
  'cut',
];

let receiver: HttpReceiver;
afterEach(() => receiver.close());

it('every incident arrives, none twice, in order, and at the pace that Slack asks for', async () => {
  const random = seededRandom(20_261_125);
  receiver = await HttpReceiver.open();
  // Two attempts of three fail in the hour; after it Slack is well.
  const plan = Array.from({ length: 400 }, (): Answer => {
    if (random() < 1 / 3) return { status: 200, body: 'ok' };
    return FAULTS[Math.floor(random() * FAULTS.length)] ?? 'cut';
  });
  receiver.answers = [...plan, { status: 200, body: 'ok' }];

  const log: string[] = [];
  const sink = new Writable({
    write(chunk, _encoding, done) {
      log.push(String(chunk));
      done();
    },
  });
  const { clock, store, recorder, metrics, guard, events } = await openParts({
    quietMs: QUIET_MS,
    maxUnresolved: 1000,
  });
  const sentAtMs: number[] = [];
  const stampedFetch: Fetch = (...request) => {
    sentAtMs.push(clock.now());
    return fetch(...request);
  };
  const openDispatcher = (): Dispatcher => {
    const slack = createSlackNotifier({ url: receiver.url(SECRET_PATH), fetch: stampedFetch, clock });
    return new Dispatcher({
      store,
      guard,
      clock,
      metrics,
      logger: pino({ level: 'debug' }, sink),
      notifiers: new Map([['ops', slack]]),
      random,
      giveUpMs: 86_400_000,
    });
  };
  /** Waits until all is answered that will be answered without time going on. */
  const settle = async (): Promise<void> => {
    for (;;) {
      await nextTurn();
      const { values } = await metrics.notificationAttempts.get();
      const settled = values.reduce((sum, { value }) => sum + value, 0) + interrupted;
      const isSilent =
        plan[sentAtMs.length - 1] === 'silence' && receiver.requests.length === sentAtMs.length;
      if (settled === sentAtMs.length || (isSilent && settled === sentAtMs.length - 1)) return;
    }
  };

  let interrupted = 0;
  let dispatcher = openDispatcher();
  recorder.start();
  dispatcher.start();
  const dueS = Array.from({ length: STORIES }, () => Math.floor(random() * HOUR_S)).toSorted((a, b) => a - b);
  let number = 0;
  const pass = async (): Promise<void> => {
    clock.advance(SECOND_MS);
    dispatcher.wake();
    await settle();
  };
  for (let second = 0; second < HOUR_S; second++) {
    while ((dueS[number] ?? Infinity) <= second) {
      number++;
      const anomaly = storyOf(number);
      recorder.record('w1', TEST_EPOCH, [{ sequence: number, report: anomaly }]);
    }
    if (second === HOUR_S / 2) {
      const before = (await metrics.notificationAttempts.get()).values.reduce(
        (sum, { value }) => sum + value,
        0,
      );
      await dispatcher.stop();
      interrupted = sentAtMs.length - before;
      dispatcher = openDispatcher();
      dispatcher.start();
    }
    await pass();
  }
  const attemptsInTheHour = sentAtMs.length;
  receiver.answers = [{ status: 200, body: 'ok' }];
  plan.length = 0;
  for (
    let second = 0;
    second < HOUR_S && (store.pendingCount('ops') > 0 || store.unresolvedCount() > 0);
    second++
  ) {
    await pass();
  }
  await dispatcher.stop();
  recorder.stop();

  expect(store.pendingCount('ops')).toBe(0);
  expect(events).toHaveLength(2 * STORIES);
  const told = acceptedMessages(receiver).flatMap(toldBy);
  const named = (type: string): string[] => told.filter((each) => each.type === type).map(({ id }) => id);
  const wanted = (type: string): string[] =>
    events.filter((each) => each.type === type).map(({ incident }) => incident.id);
  expect(named('New')).toEqual(wanted('opened'));
  expect(named('Resolved')).toEqual(wanted('resolved'));
  for (const id of wanted('opened')) {
    expect(told.filter((each) => each.id === id).map(({ type }) => type)).toEqual(['New', 'Resolved']);
  }
  const gaps = sentAtMs.slice(1).map((at, index) => at - (sentAtMs[index] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1000);
  expect(attemptsInTheHour).toBeGreaterThan(50);
  expect(tooSoonAfter429(receiver.given, gaps)).toEqual([]);
  expect((await metrics.notificationsMerged.get()).values[0]?.value).toBeGreaterThan(0);
  expect(log.join('')).not.toMatch(SECRETS);
  expect(log.length).toBeGreaterThan(0);
}, 120_000);

/** A stranger of its own for each story, so that each is an incident. */
function storyOf(number: number) {
  const anomaly = sampleAnomaly(1);
  const flow = anomaly.flow;
  if (flow === null) throw new Error('the sample has a flow');
  const ip = `10.9.${Math.floor(number / 250)}.${(number % 250) + 1}`;
  return { ...anomaly, id: `story-${number}`, flow: { ...flow, source: { ...flow.source, ip } } };
}

function acceptedMessages({ requests, given }: HttpReceiver): SlackMessage[] {
  return requests
    .filter((_request, index) => {
      const answer = given[index];
      return typeof answer === 'object' && answer.status === 200 && answer.body === 'ok';
    })
    .map(({ body }) => JSON.parse(body) as SlackMessage);
}

interface Told {
  readonly type: string;
  readonly id: string;
}

/** What a message says of which incidents: one, or the lines of a digest. */
function toldBy({ text, blocks }: SlackMessage): Told[] {
  const all = JSON.stringify(blocks);
  const lines = [...all.matchAll(/• \*([^*]+)\*: (INC-\d+)/g)];
  if (lines.length > 0) {
    return lines.flatMap(([, happened = '', id = '']) => happened.split(' → ').map((type) => ({ type, id })));
  }
  return [{ type: text.split(':')[0] ?? '', id: /INC-\d+/.exec(all)?.[0] ?? '' }];
}

/** Attempts that came before a Retry-After was over. */
function tooSoonAfter429(given: readonly Answer[], gaps: readonly number[]): number[] {
  return gaps.filter((gap, index) => {
    const answer = given[index];
    const asked = typeof answer === 'object' ? Number(answer.headers?.['retry-after'] ?? 0) : 0;
    return gap < asked * 1000;
  });
}
