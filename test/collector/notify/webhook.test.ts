import { createHmac } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import { formatNotification } from '../../../collector/notify/format/format.ts';
import { createWebhookNotifier } from '../../../collector/notify/webhook.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { HttpReceiver } from '../../support/http-receiver.ts';

const KEY = Buffer.from('0123456789abcdef0123456789abcdef');
const SIGNING_SECRET = `whsec_${KEY.toString('base64')}`;
const signal = new AbortController().signal;

describe('a webhook', () => {
  let receiver: HttpReceiver;
  beforeEach(async () => {
    receiver = await HttpReceiver.open();
  });
  afterEach(() => receiver.close());

  it('carries a signature that the package of the standard accepts, and refuses once the body is changed', async () => {
    const url = receiver.url('/hook');
    await createWebhookNotifier({ url, signingSecret: SIGNING_SECRET, fetch, clock: systemClock }).send(
      sampleNotification(),
      signal,
    );
    const { headers, body } = receiver.requests[0] ?? { headers: {}, body: '' };
    const verifier = new Webhook(SIGNING_SECRET);
    const signed = headers as Record<string, string>;
    expect(verifier.verify(body, signed)).toMatchObject({
      type: 'incident.opened',
      timestamp: '2026-11-23T09:42:13.000000000Z',
      data: { type: 'incident', id: 'INC-1', peer: '10.77.9.66', nodes: ['w1'], resolved: null },
    });
    expect(() => verifier.verify(body.replace('10.77.9.66', '10.77.9.67'), signed)).toThrow(
      'No matching signature found',
    );
  });

  it('is signed with HMAC-SHA256 over id, time and body', async () => {
    const clock = new FakeClock();
    const url = receiver.url('/hook');
    const notification = sampleNotification();
    await createWebhookNotifier({ url, signingSecret: SIGNING_SECRET, fetch, clock }).send(
      notification,
      signal,
    );
    const { headers, body } = receiver.requests[0] ?? { headers: {}, body: '' };
    const timestamp = String(clock.now() / 1000);
    const expected = createHmac('sha256', KEY)
      .update(`${notification.id}.${timestamp}.${body}`)
      .digest('base64');
    expect(headers).toMatchObject({
      'webhook-id': notification.id,
      'webhook-timestamp': timestamp,
      'webhook-signature': `v1,${expected}`,
    });
  });

  it('keeps its id and body in a later attempt, with a new time', async () => {
    const clock = new FakeClock();
    const notifier = createWebhookNotifier({
      url: receiver.url('/hook'),
      signingSecret: SIGNING_SECRET,
      fetch,
      clock,
    });
    await notifier.send(sampleNotification(), signal);
    clock.advance(60_000);
    await notifier.send(sampleNotification(), signal);
    const [first, second] = receiver.requests;
    expect(second?.body).toBe(first?.body);
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id']);
    expect(Number(second?.headers['webhook-timestamp'])).toBe(
      Number(first?.headers['webhook-timestamp']) + 60,
    );
  });

  it('stays below 20 kB for the largest of incidents', () => {
    const nodes = Array.from({ length: 50 }, (_, index) => `${'n'.repeat(250)}${index}`);
    const incident = sampleIncident({ nodes, message: 'm'.repeat(1024), title: 't'.repeat(800) });
    expect(
      Buffer.byteLength(formatNotification('plasmawatch', sampleNotification({ incident }))),
    ).toBeLessThan(20_000);
  });
});

describe('a signing secret', () => {
  it('that is no base64 is refused without being shown', () => {
    expect(() =>
      createWebhookNotifier({
        url: 'http://127.0.0.1',
        signingSecret: 'not*base64',
        fetch,
        clock: systemClock,
      }),
    ).toThrow('webhook signing secret: expected base64, with or without whsec_');
  });
});
