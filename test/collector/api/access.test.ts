import { afterEach, describe, expect, it } from 'vitest';
import { callerOf, type ApiToken } from '../../../collector/api/access.ts';
import { createServer } from '../../../collector/api/server.ts';
import { silentLogger } from '../../../common/log.ts';

const TOKENS: readonly ApiToken[] = [
  { name: 'grafana', role: 'viewer', token: 'token-of-the-viewer' },
  { name: 'on-call', role: 'responder', token: 'token-of-the-responder' },
  { name: 'admin', role: 'admin', token: 'token-of-the-admin' },
];
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

function openApi(tokens: readonly ApiToken[] = TOKENS) {
  const server = createServer({ listenHost: '127.0.0.1', allowedHosts: [], tokens, logger: silentLogger });
  server.get('/plain', (request) => ({ actor: request.actor }));
  server.post('/plain', (request) => ({ actor: request.actor, body: request.body }));
  server.get('/open', { config: { role: 'anyone' } }, (request) => ({ actor: request.actor }));
  server.get('/secret', { config: { role: 'admin' } }, (request) => ({ actor: request.actor }));
  closers.push(() => server.close());
  return async (method: 'GET' | 'POST', url: string, token?: string, payload?: string, type?: string) => {
    const answer = await server.inject({
      method,
      url,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(type === undefined ? {} : { 'content-type': type }),
      },
      ...(payload === undefined ? {} : { payload }),
    });
    return { status: answer.statusCode, body: JSON.parse(answer.body) as unknown };
  };
}

describe('callerOf', () => {
  it.each([
    ['Bearer token-of-the-viewer', 'grafana'],
    ['bearer  token-of-the-admin', 'admin'],
    ['Bearer token-of-the-viewe', undefined],
    ['Bearer token-of-the-viewerr', undefined],
    ['Bearer ', undefined],
    ['Basic token-of-the-viewer', undefined],
    [undefined, undefined],
  ])('of %j is %s', (header, name) => {
    expect(callerOf(header, TOKENS)?.name).toBe(name);
  });
});

describe('a role', () => {
  it.each([
    ['token-of-the-viewer', [200, 403, 403]],
    ['token-of-the-responder', [200, 200, 403]],
    ['token-of-the-admin', [200, 200, 200]],
    ['token-of-nobody-at-all', [401, 401, 401]],
  ])('of %s may look, act and rule: %j', async (token, expected) => {
    const ask = openApi();
    const answers = [
      await ask('GET', '/plain', token),
      await ask('POST', '/plain', token),
      await ask('GET', '/secret', token),
    ];
    expect(answers.map(({ status }) => status)).toEqual(expected);
  });

  it('is told when it does not suffice', async () => {
    const ask = openApi();
    expect((await ask('GET', '/secret', 'token-of-the-viewer')).body).toEqual({
      error: { code: 'role', message: 'this needs the role admin' },
    });
  });

  it('is none where anyone may ask, and nobody has one where there are no tokens', async () => {
    for (const tokens of [TOKENS, []]) {
      expect(await openApi(tokens)('GET', '/open')).toEqual({ status: 200, body: { actor: '' } });
    }
    for (const path of ['/plain', '/secret']) {
      expect((await openApi([])('GET', path)).status).toBe(401);
      for (const token of ['undefined', 'local', '']) {
        expect((await openApi([])('GET', path, token)).status).toBe(401);
      }
    }
  });
});

it('gives routes the name of who asks, and a body of JSON', async () => {
  const ask = openApi();
  const said = await ask('POST', '/plain', 'token-of-the-responder', '{"a":1}', 'application/json');
  expect(said.body).toEqual({ actor: 'on-call', body: { a: 1 } });
  const form = await ask('POST', '/plain', 'token-of-the-responder', 'a=1', 'text/plain');
  expect(form.body).toEqual({ actor: 'on-call' });
  const broken = await ask('POST', '/plain', 'token-of-the-responder', '{"a":', 'application/json');
  expect(broken.status).toBe(400);
  const polluting = await ask(
    'POST',
    '/plain',
    'token-of-the-admin',
    '{"__proto__":{"role":"admin"}}',
    'application/json',
  );
  expect(polluting.status).toBe(400);
});
