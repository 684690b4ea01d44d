/** The same cases for every notifier: how answers are understood, and that nothing secret comes out. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import type { Notifier } from '../../../collector/notify/notifier.ts';
import { createSlackNotifier } from '../../../collector/notify/slack.ts';
import { createWebhookNotifier } from '../../../collector/notify/webhook.ts';
import { sampleNotification } from '../../support/collector-parts.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';

const SECRET_PATH = '/services/T0SECRET/B0SECRET/TokenOfTheChannel';
const SIGNING_SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const SECRETS = /SECRET|TokenOfTheChannel|whsec_|MfKQ9r8GKYqr|127\.0\.0\.1/;

const notifiers: [string, (url: string) => Notifier][] = [
  ['slack', (url) => createSlackNotifier({ url, fetch, clock: systemClock })],
  [
    'webhook',
    (url) => createWebhookNotifier({ url, signingSecret: SIGNING_SECRET, fetch, clock: systemClock }),
  ],
];

describe.each(notifiers)('the %s notifier', (_name, create) => {
  let receiver: HttpReceiver;
  let notifier: Notifier;

  beforeEach(async () => {
    receiver = await HttpReceiver.open();
    notifier = create(receiver.url(SECRET_PATH));
  });
  afterEach(() => receiver.close());

  const send = (signal = new AbortController().signal) => notifier.send(sampleNotification(), signal);

  it('delivers one POST of JSON', async () => {
    expect(await send()).toEqual({ outcome: 'delivered' });
    expect(receiver.requests).toHaveLength(1);
    expect(receiver.requests[0]?.path).toBe(SECRET_PATH);
    expect(receiver.requests[0]?.headers['content-type']).toMatch(/^application\/json/);
    expect(JSON.parse(receiver.requests[0]?.body ?? '')).toBeTypeOf('object');
  });

  it.each([
    [
      { status: 429, headers: { 'retry-after': '7' } },
      { outcome: 'retry', reason: 'HTTP status 429', afterMs: 7000 },
    ],
    [
      { status: 500, body: `token ${SECRET_PATH}` },
      { outcome: 'retry', reason: 'HTTP status 500' },
    ],
    [
      { status: 503, headers: { 'retry-after': 'soon' } },
      { outcome: 'retry', reason: 'HTTP status 503' },
    ],
    [
      { status: 400, body: SIGNING_SECRET },
      { outcome: 'rejected', reason: 'HTTP status 400', isGone: false },
    ],
    [{ status: 404 }, { outcome: 'rejected', reason: 'HTTP status 404', isGone: false }],
    [{ status: 410 }, { outcome: 'rejected', reason: 'HTTP status 410', isGone: true }],
  ])('understands %j', async (answer, delivery) => {
    receiver.answers = [answer];
    expect(await send()).toEqual(delivery);
  });

  it('follows no redirect', async () => {
    receiver.answers = [{ status: 307, headers: { location: receiver.url('/elsewhere') } }];
    expect(await send()).toEqual({
      outcome: 'rejected',
      reason: 'HTTP status 307: redirects are not followed',
    });
    expect(receiver.requests).toHaveLength(1);
  });

  it('tries again after a connection that was cut', async () => {
    receiver.answers = ['cut'];
    expect(await send()).toMatchObject({
      outcome: 'retry',
      reason: expect.stringMatching(/^connection failed/),
    });
  });

  it('tries again when the answer does not come in time', async () => {
    receiver.answers = ['silence'];
    const controller = new AbortController();
    const sent = send(controller.signal);
    await expect.poll(() => receiver.requests.length).toBe(1);
    controller.abort();
    expect(await sent).toEqual({ outcome: 'retry', reason: 'no answer in time' });
  });

  it('reads only the start of an endless answer', async () => {
    receiver.answers = [{ status: 500, body: 'x'.repeat(5_000_000) }];
    expect(await send()).toMatchObject({ outcome: 'retry', reason: 'HTTP status 500' });
  });

  it('never says a secret, whatever goes wrong', async () => {
    const outcomes = [];
    for (const answer of [
      { status: 500, body: SECRET_PATH },
      { status: 403, body: SIGNING_SECRET },
      { status: 302, headers: { location: receiver.url(SECRET_PATH) } },
      'cut' as const,
    ]) {
      receiver.answers = [answer];
      outcomes.push(await send());
    }
    const unreachable = create(`http://127.0.0.1:1${SECRET_PATH}`);
    outcomes.push(await unreachable.send(sampleNotification(), new AbortController().signal));
    const unresolvable = create(`http://SECRET.invalid${SECRET_PATH}`);
    outcomes.push(await unresolvable.send(sampleNotification(), new AbortController().signal));
    expect(outcomes.filter(({ outcome }) => outcome === 'delivered')).toEqual([]);
    expect(JSON.stringify(outcomes)).not.toMatch(SECRETS);
  });
});
