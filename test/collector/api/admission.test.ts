import { afterEach, describe, expect, it } from 'vitest';
import type { ApiToken } from '../../../collector/api/access.ts';
import { createServer } from '../../../collector/api/server.ts';
import { Refusals } from '../../../collector/edge/refusals.ts';
import { RequestLimits } from '../../../collector/edge/request-limits.ts';
import { trustedProxies } from '../../../collector/edge/source.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { silentLogger } from '../../../common/log.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const TOKENS: ApiToken[] = [
  { name: 'grafana', role: 'viewer', token: 'token-of-the-viewer' },
  { name: 'admin', role: 'admin', token: 'token-of-the-admin' },
];
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** An API that answers ten requests a second, forty at once. */
function openApi(proxies: readonly string[] = []) {
  const clock = new FakeClock();
  const metrics = createCollectorMetrics();
  const server = createServer({
    listenHost: '127.0.0.1',
    isTrustedProxy: trustedProxies(proxies),
    allowedHosts: [],
    tokens: TOKENS,
    logger: silentLogger,
    refusals: new Refusals({ clock, metrics, logger: silentLogger }),
    requestLimits: new RequestLimits({ clock, requestsPerSecond: 10 }),
  });
  server.get('/plain', () => 'plain');
  server.get('/open', { config: { role: 'anyone' } }, () => 'open');
  closers.push(() => server.close());
  const ask = async (remoteAddress: string, token?: string, headers: Record<string, string> = {}) => {
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const url = token === undefined ? '/open' : '/plain';
    const answer = await server.inject({ url, remoteAddress, headers: { ...authorization, ...headers } });
    return { status: answer.statusCode, retryAfter: answer.headers['retry-after'] };
  };
  const askOften = async (count: number, ...words: Parameters<typeof ask>) => {
    const statuses: number[] = [];
    for (let index = 0; index < count; index++) statuses.push((await ask(...words)).status);
    return [...new Set(statuses)];
  };
  const refused = async (reason: string) =>
    (await metrics.peersRefused.get()).values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
  return { clock, ask, askOften, refused };
}

describe('requests of one address', () => {
  it('beyond the limit are answered 429 with the time to wait, and answered after it; others are not held up', async () => {
    const { clock, ask, askOften, refused } = openApi();
    expect(await askOften(40, '10.0.0.1')).toEqual([200]);
    expect(await ask('10.0.0.1')).toEqual({ status: 429, retryAfter: '1' });
    expect((await ask('10.0.0.2')).status).toBe(200);
    expect(await refused('too-many-requests')).toBe(1);
    clock.advance(1000);
    expect(await askOften(10, '10.0.0.1')).toEqual([200]);
    expect((await ask('10.0.0.1')).status).toBe(429);
  });

  it('with a wrong token cost twenty times as much', async () => {
    const { clock, ask, askOften, refused } = openApi();
    expect(await askOften(2, '10.0.0.1', 'a-wrong-token')).toEqual([401]);
    expect((await ask('10.0.0.1', 'a-wrong-token')).status).toBe(429);
    expect((await ask('10.0.0.2', 'a-wrong-token')).status).toBe(401);
    expect(await refused('wrong-api-token')).toBe(3);
    clock.advance(100);
    expect((await ask('10.0.0.1', 'a-wrong-token')).status).toBe(401);
    expect(await ask('10.0.0.1', 'a-wrong-token')).toEqual({ status: 429, retryAfter: '2' });
  });

  it('never lock out a right token of the same address, however many they are', async () => {
    const { ask, askOften } = openApi();
    for (let round = 0; round < 30; round++) {
      await askOften(20, '10.0.0.1', 'a-wrong-token');
      await askOften(20, '10.0.0.1');
      expect((await ask('10.0.0.1', 'token-of-the-admin')).status).toBe(200);
    }
  });

  it('with a token whose role does not suffice count for its caller, who locks out nobody else', async () => {
    const { ask, askOften } = openApi();
    expect(await askOften(60, '10.0.0.1', 'token-of-the-viewer')).toEqual([200, 429]);
    expect((await ask('10.0.0.1', 'token-of-the-admin')).status).toBe(200);
    expect((await ask('10.0.0.1')).status).toBe(200);
  });
});

describe('requests that a trusted proxy hands on', () => {
  const via = (forwarded: string) => ({ 'x-forwarded-for': forwarded });

  it('count for the client that the proxy names, and not for the proxy', async () => {
    const { ask, askOften } = openApi(['10.9.0.0/24']);
    expect(await askOften(60, '10.9.0.1', undefined, via('192.0.2.1'))).toEqual([200, 429]);
    expect((await ask('10.9.0.1', undefined, via('192.0.2.2'))).status).toBe(200);
    expect((await ask('10.9.0.1')).status).toBe(200);
  });

  it('count for the same client whatever it writes into the header itself', async () => {
    const { askOften, ask } = openApi(['10.9.0.0/24']);
    await askOften(40, '10.9.0.1', undefined, via('192.0.2.1'));
    for (const forged of ['192.0.2.77', '10.9.0.9', 'evil', '', '192.0.2.77, 10.9.0.3']) {
      expect((await ask('10.9.0.1', undefined, via(`${forged}, 192.0.2.1`))).status).toBe(429);
    }
  });

  it('count for the address that they come from where nobody trusts it', async () => {
    const { askOften, ask } = openApi(['10.9.0.0/24']);
    for (let client = 1; client <= 40; client++) await ask('10.8.0.1', undefined, via(`192.0.2.${client}`));
    expect(await askOften(1, '10.8.0.1', undefined, via('192.0.2.99'))).toEqual([429]);
  });
});

it('requests with one token are limited wherever they come from', async () => {
  const { ask, askOften } = openApi();
  for (let host = 1; host <= 4; host++) {
    expect(await askOften(10, `10.0.0.${host}`, 'token-of-the-viewer')).toEqual([200]);
  }
  expect((await ask('10.0.0.9', 'token-of-the-viewer')).status).toBe(429);
  expect((await ask('10.0.0.9', 'token-of-the-admin')).status).toBe(200);
});

it.each([
  ['wrong-host', { host: 'evil.example.com' }],
  ['from-a-browser', { origin: 'https://evil.example.com' }],
])('requests are counted that are refused as %s', async (reason, headers) => {
  const { ask, refused } = openApi();
  expect((await ask('10.0.0.1', 'token-of-the-admin', headers)).status).toBe(403);
  expect(await refused(reason)).toBe(1);
});
