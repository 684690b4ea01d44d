import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CollectorClient } from '../../cli/collector-client.ts';
import { hasOpenssl, makeCertificate } from '../support/certificate.ts';
import { freePort } from '../support/free-port.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { API_TOKENS, startCollector } from '../support/running-collector.ts';

const TOKEN = 'token-of-the-viewer';
const anything = z.looseObject({});
const agents = z.looseObject({ agents: z.array(z.unknown()) });

let folder: string;
let receiver: HttpReceiver;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-client-'));
  receiver = await HttpReceiver.open();
});
afterEach(async () => {
  await receiver.close();
  await rm(folder, { recursive: true });
});

interface Flags {
  readonly collector?: string;
  readonly tokenFile?: string;
  readonly caFile?: string;
}

async function createClient(
  flags: Flags,
  env: Record<string, string> = {},
  stopSignal = new AbortController().signal,
): Promise<CollectorClient> {
  const options = { collector: undefined, tokenFile: undefined, caFile: undefined, ...flags, _: [], $0: '' };
  const kebab = { 'token-file': options.tokenFile, 'ca-file': options.caFile };
  return await CollectorClient.create({ ...options, ...kebab }, { env, stopSignal });
}

describe('the time, from which ages are counted,', () => {
  it.each([-6, 6])('is that of the collector, %i h from ours', async (hours) => {
    const date = new Date(Date.now() + hours * 3_600_000).toUTCString();
    receiver.answers = [{ status: 200, headers: { date }, body: '{}' }];
    const client = await createClient({ collector: receiver.url('') });
    await client.get('/api/agents', anything);
    expect(client.nowMs).toBe(Date.parse(date));
  });
});

describe('where the collector is', () => {
  it.each([
    'collector.example.com:9440',
    'ws://127.0.0.1:9440',
    'https://somebody:password@127.0.0.1',
    'https://127.0.0.1/?token=password',
    '',
  ])('is not said by %s, which is not repeated', async (collector) => {
    await expect(createClient({ collector })).rejects.toMatchObject({
      code: 'PW_USAGE',
      message: '--collector: expected the URL of the collector, such as https://collector.example.com:9440',
    });
  });

  it('comes from the flag, else from the environment', async () => {
    receiver.answers = [{ status: 200, body: '{}' }];
    const env = { PLASMAWATCH_COLLECTOR: receiver.url('') };
    await (await createClient({}, env)).get('/api/agents', anything);
    await (await createClient({ collector: receiver.url('/below/') })).get('/api/agents', anything);
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/api/agents', '/below/api/agents']);
    const elsewhere = `http://127.0.0.1:${await freePort()}`;
    await expect(
      (await createClient({ collector: elsewhere }, env)).get('/', anything),
    ).rejects.toMatchObject({ code: 'PW_API' });
  });
});

describe('the token', () => {
  it('comes from the file, else from the environment, and is sent as a bearer', async () => {
    receiver.answers = [{ status: 200, body: '{}' }];
    const collector = receiver.url('');
    const tokenFile = join(folder, 'token');
    await writeFile(tokenFile, 'of-the-file\n');
    const env = { PLASMAWATCH_API_TOKEN: 'of-the-environment' };
    await (await createClient({ collector, tokenFile }, env)).get('/', anything);
    await (await createClient({ collector }, env)).post('/', anything, { a: 1 });
    await (await createClient({ collector })).delete('/', anything);
    expect(receiver.requests.map(({ headers, body }) => [headers.authorization, body])).toEqual([
      ['Bearer of-the-file', ''],
      ['Bearer of-the-environment', '{"a":1}'],
      [undefined, ''],
    ]);
  });

  it('never crosses the network in clear', async () => {
    const env = { PLASMAWATCH_API_TOKEN: TOKEN };
    await expect(createClient({ collector: 'http://collector.example.com:9440' }, env)).rejects.toMatchObject(
      {
        code: 'PW_USAGE',
        message:
          'the token of PLASMAWATCH_API_TOKEN would cross the network in clear to collector.example.com:9440 (--collector): use https://',
      },
    );
    await expect(createClient({ collector: 'http://[::1]:9440' }, env)).resolves.toBeDefined();
    await expect(createClient({ collector: 'http://collector.example.com:9440' })).resolves.toBeDefined();
  });

  it('that cannot be a header is refused without being shown', async () => {
    const env = { PLASMAWATCH_API_TOKEN: 'secret\r\nhost: evil' };
    const refusal = createClient({}, env).catch(String);
    expect(await refusal).toContain(
      'API token: expected printable ASCII without spaces in PLASMAWATCH_API_TOKEN',
    );
    expect(await refusal).not.toContain('secret');
  });
});

describe('what goes wrong', () => {
  const ask = async (flags: Flags = {}, env = { PLASMAWATCH_API_TOKEN: TOKEN }): Promise<unknown> => {
    const client = await createClient({ collector: receiver.url(''), ...flags }, env);
    return await client.get('/api/agents', agents);
  };

  it.each([
    [
      { status: 200, body: '<html>' },
      'did not answer as a collector of this version does: is it one? (--collector, plasmawatch --version)',
    ],
    [{ status: 200, body: '{"agents":{}}' }, 'did not answer as a collector of this version does'],
    [{ status: 401 }, 'does not know the token of PLASMAWATCH_API_TOKEN'],
    [
      { status: 403, body: '{"error":{"code":"role","message":"this needs\\u001b[2J the role admin"}}' },
      'the collector refuses that: this needs [2J the role admin (HTTP 403)',
    ],
    [{ status: 502, body: TOKEN }, 'the collector refuses that: no reason given (HTTP 502)'],
    [{ status: 302, headers: { location: 'https://evil.example' } }, 'no reason given (HTTP 302)'],
    ['cut' as const, 'cannot reach the collector at 127.0.0.1:'],
    [{ status: 200, body: 'x'.repeat(17_000_000) }, 'the answer is longer than 16777216 bytes'],
  ])('is told in one line without the token: %j', async (answer, message) => {
    receiver.answers = [answer];
    const error = (await ask().catch((thrown: unknown) => thrown)) as Error & { code: string };
    expect(error.code).toBe('PW_API');
    expect(error.message).toContain(message);
    expect(error.message).not.toMatch(/\n|token-of-the-viewer/);
  });

  it('names the missing token, and a collector that is not there', async () => {
    receiver.answers = [{ status: 401 }];
    await expect(
      createClient({ collector: receiver.url('') }).then((c) => c.get('/', anything)),
    ).rejects.toThrow('asks for a token: give --token-file or PLASMAWATCH_API_TOKEN');
    await expect(ask({ collector: `http://127.0.0.1:${await freePort()}` })).rejects.toThrow(
      'connection refused; is it running, and is the URL of --collector right?',
    );
    await expect(ask({ collector: receiver.url('').replace('http:', 'https:') })).rejects.toThrow(
      'it does not speak TLS; use http:// on loopback',
    );
  });

  it('ends at once when the process is told to stop', async () => {
    receiver.answers = ['silence'];
    const stop = new AbortController();
    const client = await createClient({ collector: receiver.url('') }, {}, stop.signal);
    const answer = client.get('/', anything);
    stop.abort();
    await expect(answer).rejects.toThrow('interrupted');
  });
});

describe.skipIf(!hasOpenssl)('over TLS (needs /usr/bin/openssl)', () => {
  it('the collector is trusted by its authority alone', async () => {
    const tls = await makeCertificate();
    const caFile = join(folder, 'ca.pem');
    await writeFile(caFile, tls.cert);
    const collector = await startCollector({}, { secrets: { tls } });
    try {
      const env = { PLASMAWATCH_API_TOKEN: API_TOKENS[0].token };
      const trusting = await createClient({ collector: collector.url, caFile }, env);
      expect(await trusting.get('/api/agents', agents)).toMatchObject({ agents: [] });
      const stranger = await createClient({ collector: collector.url }, env);
      await expect(stranger.get('/api/agents', agents)).rejects.toThrow(
        /certificate is not trusted \(\w+\); give its authority with --ca-file/,
      );
    } finally {
      await collector.stop();
    }
  });
});
