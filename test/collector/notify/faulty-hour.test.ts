/** An hour in which receivers fail in every way: every incident arrives, none twice, in order. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createPagerdutyNotifier } from '../../../collector/notify/pagerduty.ts';
import { createSlackNotifier, type SlackMessage } from '../../../collector/notify/slack.ts';
import { createTeamsNotifier } from '../../../collector/notify/teams.ts';
import { createWebhookNotifier } from '../../../collector/notify/webhook.ts';
import { passFaultyHour, type FaultyHour } from '../../support/faulty-hour.ts';
import { HttpReceiver, type Answer, type ReceivedRequest } from '../../support/http-receiver.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';
const SIGNING_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const SECRETS = /SECRET|TokenOfTheChannel|MfKQ9r8GKYqr|127\.0\.0\.1/;
const LIMIT_MS = 120_000;

const FAULTS: readonly Answer[] = [
  { status: 429, headers: { 'retry-after': '30' }, body: 'ratelimited' },
  { status: 429, headers: { 'retry-after': '120' }, body: 'ratelimited' },
  { status: 500, body: SECRET_PATH },
  { status: 503 },
  { status: 403, body: SIGNING_SECRET },
  { status: 302, headers: { location: '/SECRET' } },
  'silence',
  'cut',
];
/** A proxy's, with a status of success. */
const BAD_BODIES: readonly Answer[] = [
  { status: 200, body: '<html>log in</html>' },
  { status: 200, body: '<' },
];

interface Told {
  readonly type: string;
  readonly id: string;
}

let receiver: HttpReceiver;
beforeEach(async () => {
  receiver = await HttpReceiver.open();
});
afterEach(() => receiver.close());

/** What should have been told: every opened and every resolved incident. */
function wanted({ events }: FaultyHour, type: string): string[] {
  return events.filter((event) => event.type === type).map(({ incident }) => incident.id);
}

function expectEachOnceInOrder(hour: FaultyHour, told: readonly Told[]): void {
  const named = (type: string): string[] => told.filter((each) => each.type === type).map(({ id }) => id);
  expect(hour.store.pendingCount('ops')).toBe(0);
  expect(wanted(hour, 'opened').length).toBeGreaterThan(0);
  expect(named('opened')).toEqual(wanted(hour, 'opened'));
  expect(named('resolved')).toEqual(wanted(hour, 'resolved'));
  for (const id of wanted(hour, 'opened')) {
    expect(told.filter((each) => each.id === id).map(({ type }) => type)).toEqual(['opened', 'resolved']);
  }
  expect(hour.attemptsInTheHour).toBeGreaterThan(40);
  expect(hour.log).toContain('was not delivered');
  expect(hour.log).not.toMatch(SECRETS);
  expect(tooSoonAfter429(receiver.given, hour.gaps)).toEqual([]);
}

/** Attempts that came before a Retry-After was over. */
function tooSoonAfter429(given: readonly Answer[], gaps: readonly number[]): number[] {
  return gaps.filter((gap, index) => {
    const answer = given[index];
    const asked = typeof answer === 'object' ? Number(answer.headers?.['retry-after'] ?? 0) : 0;
    return gap < asked * 1000;
  });
}

const WORDS: Readonly<Record<string, string>> = { New: 'opened', Resolved: 'resolved' };

/** What a message for people says of which incidents: one, or the lines of a digest. */
function toldIn(text: string): Told[] {
  const lines = [...text.matchAll(/[•-] \*{1,2}([^*]+)\*{1,2}: (INC\\{0,2}-\d+)/g)];
  return lines.flatMap(([, happened = '', id = '']) =>
    happened.split(' → ').map((word) => ({ type: WORDS[word] ?? word, id: id.replaceAll('\\', '') })),
  );
}

function toldBySlack({ body }: ReceivedRequest): Told[] {
  const { text, blocks } = JSON.parse(body) as SlackMessage;
  const all = JSON.stringify(blocks);
  const lines = toldIn(all);
  if (lines.length > 0) return lines;
  return [{ type: WORDS[text.split(':')[0] ?? ''] ?? '', id: /INC-\d+/.exec(all)?.[0] ?? '' }];
}

function toldByTeams({ body }: ReceivedRequest): Told[] {
  const lines = toldIn(body);
  if (lines.length > 0) return lines;
  const word = /"text":"(New|Resolved):/.exec(body)?.[1] ?? '';
  return [{ type: WORDS[word] ?? '', id: /INC-\d+/.exec(body)?.[0] ?? '' }];
}

describe('an hour of faults', () => {
  it(
    'of Slack: all arrives once and in order, at most one message a second',
    async () => {
      const accepts: Answer = { status: 200, body: 'ok' };
      const hour = await passFaultyHour({
        receiver,
        accepts,
        faults: [...FAULTS, ...BAD_BODIES, { status: 200, body: '' }],
        stories: 120,
        seed: 20_261_125,
        createNotifier: (parts) => createSlackNotifier({ ...parts, url: receiver.url(SECRET_PATH) }),
      });
      expectEachOnceInOrder(hour, hour.accepted.flatMap(toldBySlack));
      expect(hour.events).toHaveLength(240);
      expect(Math.min(...hour.gaps)).toBeGreaterThanOrEqual(1000);
      expect((await hour.metrics.notificationsMerged.get()).values[0]?.value).toBeGreaterThan(0);
    },
    LIMIT_MS,
  );

  it(
    'of Teams: all arrives once and in order',
    async () => {
      const hour = await passFaultyHour({
        receiver,
        accepts: { status: 202 },
        faults: [...FAULTS, ...BAD_BODIES],
        stories: 60,
        seed: 2,
        createNotifier: (parts) => createTeamsNotifier({ ...parts, url: receiver.url(SECRET_PATH) }),
      });
      expectEachOnceInOrder(hour, hour.accepted.flatMap(toldByTeams));
      expect(hour.events).toHaveLength(120);
    },
    LIMIT_MS,
  );

  it(
    'of a webhook: all arrives once and in order, each under an id of its own',
    async () => {
      const hour = await passFaultyHour({
        receiver,
        accepts: { status: 204 },
        faults: FAULTS,
        stories: 60,
        seed: 3,
        createNotifier: (parts) =>
          createWebhookNotifier({ ...parts, url: receiver.url(SECRET_PATH), signingSecret: SIGNING_SECRET }),
      });
      const told = hour.accepted.map(({ body }): Told => {
        const { type, data } = JSON.parse(body) as { type: string; data: { id: string } };
        return { type: type.replace('incident.', ''), id: data.id };
      });
      expectEachOnceInOrder(hour, told);
      const ids = hour.accepted.map(({ headers }) => headers['webhook-id']);
      expect(new Set(ids).size).toBe(ids.length);
    },
    LIMIT_MS,
  );

  it(
    'of PagerDuty: all arrives once and in order',
    async () => {
      const hour = await passFaultyHour({
        receiver,
        accepts: { status: 202 },
        faults: [...FAULTS, ...BAD_BODIES],
        stories: 60,
        seed: 4,
        createNotifier: (parts) =>
          createPagerdutyNotifier({ ...parts, url: receiver.url('/v2/enqueue'), routingKey: 'SECRET' }),
      });
      const told = hour.accepted.map(({ body }): Told => {
        const event = JSON.parse(body) as {
          event_action: string;
          payload: { custom_details: { id: string } };
        };
        const type = event.event_action === 'trigger' ? 'opened' : 'resolved';
        return { type, id: event.payload.custom_details.id };
      });
      expectEachOnceInOrder(hour, told);
      expect(hour.events).toHaveLength(120);
    },
    LIMIT_MS,
  );
});
