import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { pino } from 'pino';
import { DeadMan, PING_TIMEOUT_MS } from '../../../collector/fleet/dead-man.ts';
import { PlasmawatchError } from '../../../common/errors.ts';
import { openParts } from '../../support/collector-parts.ts';
import { HttpReceiver, type Answer } from '../../support/http-receiver.ts';

const MINUTE_MS = 60_000;
const SECRET_PATH = '/ping/5ecre7-0f-the-5witch';

let parts: Awaited<ReturnType<typeof openParts>>;
let service: HttpReceiver;
let deadMan: DeadMan;
let isDispatching: boolean;
let log: string[];

beforeEach(async () => {
  parts = await openParts();
  service = await HttpReceiver.open();
  isDispatching = true;
  log = [];
  deadMan = new DeadMan({
    ...parts,
    url: service.url(SECRET_PATH),
    intervalMs: MINUTE_MS,
    isDispatching: () => isDispatching,
    fetch,
    logger: pino({ base: null, timestamp: false }, { write: (line: string) => void log.push(line) }),
  });
});
afterEach(async () => {
  await deadMan.stop();
  await service.close();
  parts.store.close();
  expect(log.join('')).not.toContain('5ecre7');
});

async function counted(result: 'delivered' | 'failed' | 'withheld'): Promise<number> {
  const { values } = await parts.metrics.deadManPings.get();
  return values.find(({ labels }) => labels['result'] === result)?.value ?? 0;
}

const waitFor = (result: Parameters<typeof counted>[0], count: number): Promise<void> =>
  vi.waitFor(async () => expect(await counted(result)).toBe(count), { timeout: 10_000, interval: 5 });

function messages(): string[] {
  return log.map((line) => (JSON.parse(line) as { msg: string }).msg);
}

it('asks the URL at once and then every interval', async () => {
  deadMan.start();
  await waitFor('delivered', 1);
  parts.clock.advance(MINUTE_MS);
  await waitFor('delivered', 2);
  expect(service.requests.map(({ path }) => path)).toEqual([SECRET_PATH, SECRET_PATH]);
  expect(log).toEqual([]);
});

it('is silent while the store takes no writes, says so once, and asks again afterwards', async () => {
  const { saveCursor } = parts.store;
  parts.store.saveCursor = () => {
    throw new PlasmawatchError('PW_STORE', 'cannot use the store: database or disk is full');
  };
  deadMan.start();
  parts.clock.advance(2 * MINUTE_MS);
  await waitFor('withheld', 3);
  expect(service.requests).toEqual([]);
  expect(messages()).toEqual(['the dead-man URL is not asked: the store takes no writes']);
  parts.store.saveCursor = saveCursor;
  parts.clock.advance(MINUTE_MS);
  await waitFor('delivered', 1);
  expect(messages().at(-1)).toBe('the dead-man URL is asked again');
});

it('is silent while a receiver hangs', async () => {
  isDispatching = false;
  deadMan.start();
  await waitFor('withheld', 1);
  expect(service.requests).toEqual([]);
  expect(messages()).toEqual(['the dead-man URL is not asked: a receiver hangs, and nobody is told']);
});

it.each<[what: string, answer: Answer, reason: string]>([
  ['a status other than success', { status: 404 }, 'HTTP status 404'],
  ['a redirect', { status: 302, headers: { location: 'https://elsewhere.example' } }, 'HTTP status 302'],
  ['a connection that breaks', 'cut', 'connection failed (UND_ERR_SOCKET)'],
])('counts %s as a failure, logs it once, and goes on', async (_what, answer, reason) => {
  service.answers = [answer, answer, { status: 200 }];
  deadMan.start();
  await waitFor('failed', 1);
  parts.clock.advance(MINUTE_MS);
  await waitFor('failed', 2);
  parts.clock.advance(MINUTE_MS);
  await waitFor('delivered', 1);
  expect(messages()).toEqual([
    `the dead-man URL cannot be asked: ${reason}`,
    'the dead-man URL is asked again',
  ]);
});

it('gives up a service that does not answer before the next ping is due', async () => {
  service.answers = ['silence', { status: 200 }];
  deadMan.start();
  await vi.waitFor(() => expect(service.requests).toHaveLength(1));
  parts.clock.advance(PING_TIMEOUT_MS);
  await waitFor('failed', 1);
  expect(messages()).toEqual(['the dead-man URL cannot be asked: no answer in time']);
  parts.clock.advance(MINUTE_MS - PING_TIMEOUT_MS);
  await waitFor('delivered', 1);
});

it('stops at once, whatever is under way', async () => {
  service.answers = ['silence'];
  deadMan.start();
  await vi.waitFor(() => expect(service.requests).toHaveLength(1));
  await deadMan.stop();
  parts.clock.advance(10 * MINUTE_MS);
  expect(service.requests).toHaveLength(1);
  expect(parts.clock.pending).toBe(0);
});
