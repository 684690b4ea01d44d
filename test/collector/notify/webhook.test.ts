import { createHmac, generateKeyPairSync, verify } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../../common/clock.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { formatNotification } from '../../../collector/notify/format/format.ts';
import { retryDelayMs } from '../../../collector/notify/retry.ts';
import { createSigner } from '../../../collector/notify/signature.ts';
import { createWebhookNotifier } from '../../../collector/notify/webhook.ts';
import { sampleIncident, sampleNotification } from '../../support/collector-parts.ts';
import { CLOCK_STEPS } from '../../support/clock-disturbances.ts';
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

describe('a receiver that verifies signatures', () => {
  /** Its clock is right; it refuses as `status` what it does not accept. */
  function open(clock: FakeClock, status: number) {
    const taken: string[] = [];
    const judge: typeof fetch = (_url, request) => {
      const headers = new Headers(request?.headers);
      const apartMs = clock.monotonic() - Number(headers.get('webhook-timestamp')) * 1000;
      const isTaken = Math.abs(apartMs) < 300_000;
      if (isTaken) taken.push(headers.get('webhook-id') ?? '');
      const date = new Date(clock.monotonic()).toUTCString();
      return Promise.resolve(new Response('', { status: isTaken ? 200 : status, headers: { date } }));
    };
    const options = { url: 'http://hook.example', signingSecret: SIGNING_SECRET, fetch: judge, clock };
    return { notifier: createWebhookNotifier(options), taken };
  }

  it.each(CLOCK_STEPS.flatMap((step) => [400, 401, 422].map((status) => [step.name, status, step] as const)))(
    'takes a message while our clock is %s, though it refuses a wrong time with %i',
    async (_name, status, step) => {
      const clock = new FakeClock();
      const { notifier, taken } = open(clock, status);
      step.apply(clock);
      expect(await notifier.send(sampleNotification(), signal)).toEqual({ outcome: 'delivered' });
      expect(taken).toEqual([sampleNotification().id]);
    },
  );

  it('is asked once where the clocks agree, whatever it answers', async () => {
    let requests = 0;
    const refuse: typeof fetch = () => {
      requests++;
      return Promise.resolve(new Response('', { status: 400, headers: { date: new Date().toUTCString() } }));
    };
    const options = { url: 'http://hook.example', signingSecret: SIGNING_SECRET, fetch: refuse };
    const notifier = createWebhookNotifier({ ...options, clock: systemClock });
    expect(await notifier.send(sampleNotification(), signal)).toMatchObject({ outcome: 'rejected' });
    expect(requests).toBe(1);
  });
});

describe('while keys change', () => {
  const next = `whsec_${Buffer.from('the key that is to come, 32 byte').toString('base64')}`;
  const nowMs = Date.now();
  const timestamp = Math.floor(nowMs / 1000);
  const sign = (secrets: string, at = timestamp, body = '{"type":"incident.opened"}') => ({
    body,
    headers: {
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(at),
      'webhook-signature': createSigner(secrets)('msg_1', at, body),
    },
  });

  it('each key signs, and a receiver that knows either one accepts', () => {
    const { body, headers } = sign(`${next}\n${SIGNING_SECRET}\n`);
    expect(headers['webhook-signature'].split(' ')).toHaveLength(2);
    for (const secret of [next, SIGNING_SECRET]) {
      expect(new Webhook(secret).verify(body, headers)).toEqual({ type: 'incident.opened' });
    }
    const stranger = `whsec_${Buffer.from('a key that nobody has agreed on.').toString('base64')}`;
    expect(() => new Webhook(stranger).verify(body, headers)).toThrow('No matching signature found');
  });

  it.each([
    ['old', -600, 'Message timestamp too old'],
    ['of the future', 600, 'Message timestamp too new'],
  ])(
    'a message that is %s is refused by the package, though its signature is right',
    (_what, by, problem) => {
      const { body, headers } = sign(SIGNING_SECRET, timestamp + by);
      expect(() => new Webhook(SIGNING_SECRET).verify(body, headers)).toThrow(problem);
    },
  );

  it('a message that was caught and is sent again with a new time is refused', () => {
    const { body, headers } = sign(SIGNING_SECRET, timestamp - 600);
    const replayed = { ...headers, 'webhook-timestamp': String(timestamp) };
    expect(() => new Webhook(SIGNING_SECRET).verify(body, replayed)).toThrow('No matching signature found');
    const renamed = { ...sign(SIGNING_SECRET).headers, 'webhook-id': 'msg_2' };
    expect(() => new Webhook(SIGNING_SECRET).verify(body, renamed)).toThrow('No matching signature found');
  });

  it.each([32, 64])('an Ed25519 key of %i bytes signs too, for whoever has the public one', (length) => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const { d = '', x = '' } = privateKey.export({ format: 'jwk' });
    const bytes = Buffer.concat([d, x].map((part) => Buffer.from(part, 'base64url'))).subarray(0, length);
    const { body, headers } = sign(`whsk_${bytes.toString('base64')}\n${SIGNING_SECRET}`);
    const [asymmetric = '', symmetric = ''] = headers['webhook-signature'].split(' ');
    expect([asymmetric.slice(0, 4), symmetric.slice(0, 3)]).toEqual(['v1a,', 'v1,']);
    const signed = Buffer.from(`msg_1.${timestamp}.${body}`);
    expect(verify(null, signed, publicKey, Buffer.from(asymmetric.slice(4), 'base64'))).toBe(true);
    expect(new Webhook(SIGNING_SECRET).verify(body, headers)).toEqual({ type: 'incident.opened' });
  });
});

describe('a signing secret', () => {
  it.each([
    ['not*base64', 'expected base64, with or without whsec_'],
    ['whsk_c2hvcnQ=', 'expected base64 of an Ed25519 key of 32 or 64 bytes after whsk_'],
    ['whsk_not*base64', 'expected base64 of an Ed25519 key of 32 or 64 bytes after whsk_'],
    ['\n \n', 'expected 1 to 4 lines'],
    ['a\nb\nc\nd\ne', 'expected 1 to 4 lines'],
  ])('that is none is refused without being shown: %j', (secret, problem) => {
    expect(() => createSigner(secret)).toThrow(
      new PlasmawatchError('PW_SECRET', `webhook signing secret: ${problem}`),
    );
  });
});

describe('a webhook that fails', () => {
  it('is tried again by the schedule of the standard', () => {
    const options = { url: 'http://127.0.0.1', signingSecret: SIGNING_SECRET, fetch, clock: systemClock };
    const { retryDelaysMs } = createWebhookNotifier(options);
    const delays = Array.from({ length: 11 }, (_, index) =>
      retryDelayMs(index + 1, () => 0.5, 0, retryDelaysMs),
    );
    const hours = (count: number): number => count * 3_600_000;
    expect(delays).toEqual([5000, 300_000, 1_800_000, ...[2, 5, 10, 14, 20, 24, 24, 24].map(hours)]);
    expect(retryDelayMs(2, () => 0, 0, retryDelaysMs)).toBe(240_000);
    expect(retryDelayMs(1, () => 0.5, 60_000, retryDelaysMs)).toBe(60_000);
  });
});
