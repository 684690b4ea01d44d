/** An hour in which receivers fail in every way: every incident arrives, none twice, in order. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Notifier } from '../../../collector/notify/notifier.ts';
import { createPagerdutyNotifier } from '../../../collector/notify/pagerduty.ts';
import { createSlackNotifier, type SlackMessage } from '../../../collector/notify/slack.ts';
import { createTeamsNotifier } from '../../../collector/notify/teams.ts';
import { createWebhookNotifier } from '../../../collector/notify/webhook.ts';
import { passFaultyHour, type FaultyHourOptions } from '../../support/faulty-hour.ts';
import { HttpReceiver, type Answer, type ReceivedRequest } from '../../support/http-receiver.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';
const SIGNING_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const SECRETS = /SECRET|TokenOfTheChannel|MfKQ9r8GKYqr|127\.0\.0\.1/;

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

function toldByWebhook({ body }: ReceivedRequest): Told[] {
  const { type, data } = JSON.parse(body) as { type: string; data: { id: string } };
  return [{ type: type.replace('incident.', ''), id: data.id }];
}

function toldByPagerduty({ body }: ReceivedRequest): Told[] {
  const event = JSON.parse(body) as { event_action: string; payload: { custom_details: { id: string } } };
  const type = event.event_action === 'trigger' ? 'opened' : 'resolved';
  return [{ type, id: event.payload.custom_details.id }];
}

interface HourKit {
  readonly accepts: Answer;
  readonly badBodies: readonly Answer[];
  readonly stories: number;
  readonly create: (parts: Parameters<FaultyHourOptions['createNotifier']>[0], url: string) => Notifier;
  readonly toldBy: (request: ReceivedRequest) => Told[];
}

const kits: Record<string, HourKit> = {
  Slack: {
    accepts: { status: 200, body: 'ok' },
    badBodies: [...BAD_BODIES, { status: 200, body: '' }],
    stories: 120,
    create: (parts, url) => createSlackNotifier({ ...parts, url }),
    toldBy: toldBySlack,
  },
  Teams: {
    accepts: { status: 202 },
    badBodies: BAD_BODIES,
    stories: 60,
    create: (parts, url) => createTeamsNotifier({ ...parts, url }),
    toldBy: toldByTeams,
  },
  // By the standard every 2xx is a delivery, whatever the body.
  'a webhook': {
    accepts: { status: 204 },
    badBodies: [],
    stories: 60,
    create: (parts, url) => createWebhookNotifier({ ...parts, url, signingSecret: SIGNING_SECRET }),
    toldBy: toldByWebhook,
  },
  PagerDuty: {
    accepts: { status: 202 },
    badBodies: BAD_BODIES,
    stories: 60,
    create: (parts, url) => createPagerdutyNotifier({ ...parts, url, routingKey: 'R0SECRET' }),
    toldBy: toldByPagerduty,
  },
};

async function passHourOf({ accepts, badBodies, stories, create, toldBy }: HourKit) {
  const hour = await passFaultyHour({
    receiver,
    accepts,
    faults: [...FAULTS, ...badBodies],
    stories,
    seed: 20_261_125,
    createNotifier: (parts) => create(parts, receiver.url(SECRET_PATH)),
  });
  return { hour, told: hour.accepted.flatMap(toldBy) };
}

describe.each(Object.entries(kits))('an hour of faults of %s', (_name, kit) => {
  it('loses no incident, tells none twice, keeps the order, and waits as long as it is asked to', async () => {
    const { hour, told } = await passHourOf(kit);
    const named = (type: string): string[] => told.filter((each) => each.type === type).map(({ id }) => id);
    const wanted = (type: string): string[] =>
      hour.events.filter((event) => event.type === type).map(({ incident }) => incident.id);
    expect(hour.events).toHaveLength(2 * kit.stories);
    expect(named('opened')).toEqual(wanted('opened'));
    expect(named('resolved')).toEqual(wanted('resolved'));
    for (const id of wanted('opened')) {
      expect(told.filter((each) => each.id === id).map(({ type }) => type)).toEqual(['opened', 'resolved']);
    }
    expect(hour.store.pendingCount('ops')).toBe(0);
    expect(hour.attemptsInTheHour).toBeGreaterThan(20);
    expect(tooSoonAfter429(receiver.given, hour.gaps)).toEqual([]);
    expect(hour.log).toContain('was not delivered');
    expect(hour.log).not.toMatch(SECRETS);
  }, 120_000);
});

describe('an hour of faults', () => {
  it('of Slack ends in messages of many, at most one a second', async () => {
    const { hour } = await passHourOf(kits['Slack'] as HourKit);
    expect(Math.min(...hour.gaps)).toBeGreaterThanOrEqual(1000);
    expect((await hour.metrics.notificationsMerged.get()).values[0]?.value).toBeGreaterThan(0);
  }, 120_000);
});
