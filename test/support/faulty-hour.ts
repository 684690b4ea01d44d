/**
 * An hour of a clock of the test in which a receiver fails in every way, from the agents' reports through recorder, store
 * and dispatcher to a real HTTP server; then it is well until everything has arrived.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { Clock } from '../../common/clock.ts';
import type { IncidentEvent } from '../../collector/incident/tally.ts';
import { Dispatcher } from '../../collector/notify/dispatcher.ts';
import type { Notifier } from '../../collector/notify/notifier.ts';
import type { Fetch } from '../../collector/notify/post.ts';
import type { CollectorMetrics } from '../../collector/metrics.ts';
import type { Store } from '../../collector/store/store.ts';
import { openParts, TEST_EPOCH } from './collector-parts.ts';
import type { Answer, HttpReceiver, ReceivedRequest } from './http-receiver.ts';
import { sampleAnomaly } from './sample-report.ts';
import { seededRandom } from './seeded-random.ts';

const SECOND_MS = 1000;
const HOUR_S = 3600;
const QUIET_MS = 600_000;
/** Until a receiver whose waits are long is looked at again. */
const LONGEST_END_S = 6 * HOUR_S;

export interface FaultyHourOptions {
  readonly receiver: HttpReceiver;
  readonly createNotifier: (parts: { readonly fetch: Fetch; readonly clock: Clock }) => Notifier;
  readonly accepts: Answer;
  readonly faults: readonly Answer[];
  /** Incidents, each of a stranger of its own, at random times of the hour. */
  readonly stories: number;
  readonly seed: number;
}

export interface FaultyHour {
  readonly events: readonly IncidentEvent[];
  readonly store: Store;
  readonly metrics: CollectorMetrics;
  /** What the receiver took, in order. */
  readonly accepted: readonly ReceivedRequest[];
  readonly attemptsInTheHour: number;
  /** Milliseconds from each attempt to the next. */
  readonly gaps: readonly number[];
  readonly log: string;
}

/** Two attempts of three fail. After half of the hour the dispatcher is stopped, and another one goes on. */
export async function passFaultyHour(options: FaultyHourOptions): Promise<FaultyHour> {
  const { receiver, accepts, faults, stories, seed } = options;
  const random = seededRandom(seed);
  const plan = Array.from({ length: 1000 }, (): Answer => {
    if (random() < 1 / 3) return accepts;
    return faults[Math.floor(random() * faults.length)] ?? 'cut';
  });
  receiver.answers = [...plan];
  const parts = await openParts({ quietMs: QUIET_MS, limits: { maxUnresolved: 1000 } });
  const { clock, store, recorder, metrics, events } = parts;
  const lines: string[] = [];
  const sentAtMs: number[] = [];
  const stampedFetch: Fetch = (...request) => {
    sentAtMs.push(clock.now());
    return fetch(...request);
  };
  const openDispatcher = (): Dispatcher => {
    const notifier = options.createNotifier({ fetch: stampedFetch, clock });
    const logger = pino({ level: 'debug' }, lineSink(lines));
    const notifiers = new Map([['ops', notifier]]);
    return new Dispatcher({ ...parts, logger, notifiers, random, giveUpMs: 86_400_000 });
  };
  const settledAttempts = async (): Promise<number> =>
    (await metrics.notificationAttempts.get()).values.reduce((sum, { value }) => sum + value, 0);
  let interrupted = 0;
  /** Moves time on, and waits until all is answered that will be answered without more time. */
  const pass = async (): Promise<void> => {
    clock.advance(SECOND_MS);
    dispatcher.wake();
    for (;;) {
      await nextTurn();
      const open = sentAtMs.length - interrupted - (await settledAttempts());
      const isSilent =
        plan[sentAtMs.length - 1] === 'silence' && receiver.requests.length === sentAtMs.length;
      if (open === 0 || (open === 1 && isSilent)) return;
    }
  };

  let dispatcher = openDispatcher();
  recorder.start();
  dispatcher.start();
  const dueS = Array.from({ length: stories }, () => Math.floor(random() * HOUR_S)).toSorted((a, b) => a - b);
  let number = 0;
  for (let second = 0; second < HOUR_S; second++) {
    while ((dueS[number] ?? Infinity) <= second) {
      number++;
      recorder.record('w1', TEST_EPOCH, [{ sequence: number, report: storyOf(number) }]);
    }
    if (second === HOUR_S / 2) {
      const before = await settledAttempts();
      await dispatcher.stop();
      interrupted = sentAtMs.length - before;
      dispatcher = openDispatcher();
      dispatcher.start();
    }
    await pass();
  }
  const attemptsInTheHour = sentAtMs.length;
  receiver.answers = [accepts];
  plan.length = sentAtMs.length;
  const isOver = (): boolean => store.pendingCount('ops') === 0 && store.unresolvedCount() === 0;
  for (let second = 0; second < LONGEST_END_S && !isOver(); second++) await pass();
  await dispatcher.stop();
  recorder.stop();
  return {
    events,
    store,
    metrics,
    accepted: receiver.requests.filter((_request, index) => receiver.given[index] === accepts),
    attemptsInTheHour,
    gaps: sentAtMs.slice(1).map((at, index) => at - (sentAtMs[index] ?? 0)),
    log: lines.join(''),
  };
}

/** A stranger and a service of its own for each story, so that each is an incident, and none is part of a burst. */
function storyOf(number: number) {
  const anomaly = sampleAnomaly(1);
  const { flow } = anomaly;
  if (flow === null) throw new Error('the sample has a flow');
  const ip = `10.9.${Math.floor(number / 250)}.${(number % 250) + 1}`;
  const plasmawatch = { ...flow.plasmawatch, service: `service-${number}` };
  return {
    ...anomaly,
    id: `story-${number}`,
    flow: { ...flow, source: { ...flow.source, ip }, plasmawatch },
  };
}

function lineSink(lines: string[]): Writable {
  return new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk));
      done();
    },
  });
}
