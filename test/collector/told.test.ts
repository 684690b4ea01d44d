/** Whom a whole collector tells, by its settings and by what people silence: read from the files of its receivers. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Incident } from '../../collector/store/store.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';
import { sampleAnomaly } from '../support/sample-report.ts';
import { waitFor } from '../support/wait-for.ts';

let folder: string;
let collector: RunningCollector;
let clock: FakeClock;

const RECEIVERS = ['on-call', 'ml-team', 'archive'];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plasmawatch-told-'));
  clock = new FakeClock();
  collector = await startCollector(
    {
      receivers: RECEIVERS.map((name) => ({
        name,
        type: 'file',
        path: join(folder, name),
        minimumSeverity: 'info',
      })),
      routes: [
        { match: { severity: 'critical' }, receivers: ['on-call'], continue: true },
        { match: { labels: { team: 'ml' } }, receivers: ['ml-team'] },
      ],
      muteTimes: [{ name: 'always', hours: '00:00-24:00', match: { kind: 'new-member' } }],
      fleet: { missingAfter: '1d' },
      nodeLabels: [{ nodes: ['w*'], labels: { team: 'ml' } }],
    },
    { clock },
  );
});
afterEach(async () => {
  await collector.stop();
  await rm(folder, { recursive: true });
});

/** What stands in the file of a receiver, as `INC-1 incident.opened`. */
async function toldTo(receiver: string): Promise<string[]> {
  const text = await readFile(join(folder, receiver), 'utf8').catch(() => '');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as { type: string; data: Pick<Incident, 'id'> })
    .map(({ type, data }) => `${data.id} ${type}`);
}

/** Lets time go on until a receiver has so many messages: in small steps, so that no delivery is given up as too slow. */
async function untilTold(receiver: string, count: number): Promise<void> {
  const isTold = async (): Promise<boolean> => {
    clock.advance(100);
    return (await toldTo(receiver)).length >= count;
  };
  await waitFor(isTold, `${count} messages to ${receiver}`);
}

/** Waits until the collector knows that what it wrote has arrived: only then may time make a leap. */
async function untilDelivered(id: string): Promise<void> {
  const isDelivered = async (): Promise<boolean> => {
    const { notifications } = (await ask(`/api/incidents/${id}`)) as { notifications: { state: string }[] };
    return notifications.every(({ state }) => state === 'delivered');
  };
  await waitFor(isDelivered, `the messages about ${id} to be delivered`);
}

async function ask(path: string, method = 'GET', body?: unknown): Promise<unknown> {
  const headers = { authorization: 'Bearer token-of-the-responder', 'content-type': 'application/json' };
  const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
  return await (await fetch(collector.url + path, init)).json();
}

it('tells the receivers of the routes that match, and no others', async () => {
  await collector.report(sampleAnomaly(1), { ...sampleAnomaly(2), kind: 'volume', severity: 'warning' });
  await untilTold('on-call', 1);
  await untilTold('ml-team', 2);
  expect(await toldTo('ml-team')).toEqual(['INC-1 incident.opened', 'INC-2 incident.opened']);
  expect(await toldTo('on-call')).toEqual(['INC-1 incident.opened']);
  expect(await toldTo('archive')).toEqual([]);
});

it('stores and shows what is silenced, tells nobody, and tells it when the silence has ended', async () => {
  await ask('/api/silences', 'POST', { matchers: { kind: 'volume' }, reason: 'a drill', duration: '1h' });
  await collector.report({ ...sampleAnomaly(1), kind: 'volume' }, sampleAnomaly(2));
  for (const receiver of ['on-call', 'ml-team']) await untilTold(receiver, 1);
  await untilDelivered('INC-2');
  clock.advance(600_000);
  expect(await toldTo('on-call')).toEqual(['INC-2 incident.opened']);
  expect(await ask('/api/incidents/INC-1')).toMatchObject({
    incident: { state: 'open', kind: 'volume', mutedBy: 'silence SIL-1' },
    notifications: [],
  });
  await ask('/api/silences/SIL-1', 'DELETE');
  await untilTold('on-call', 2);
  expect(await toldTo('on-call')).toEqual(['INC-2 incident.opened', 'INC-1 incident.opened']);
  expect(await ask('/api/incidents/INC-1')).toMatchObject({ incident: { mutedBy: null } });
});

it('tells nobody in a mute time of the settings', async () => {
  await collector.report({ ...sampleAnomaly(1), kind: 'new-member' }, sampleAnomaly(2));
  for (const receiver of ['on-call', 'ml-team']) await untilTold(receiver, 1);
  await untilDelivered('INC-2');
  clock.advance(60_000);
  expect(await toldTo('on-call')).toEqual(['INC-2 incident.opened']);
  expect(await ask('/api/incidents/INC-1')).toMatchObject({ incident: { mutedBy: 'mute time always' } });
});
