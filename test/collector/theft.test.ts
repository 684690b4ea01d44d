/**
 * A theft among decoys, at a whole collector: what a channel in Slack gets, and what the API finds. Time is the test's, so
 * "within two seconds" is a number of steps and not a measurement.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Anomaly } from '../../common/event.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { startCollector, type RunningCollector } from '../support/running-collector.ts';
import { addresses, attemptOf, contactOf } from '../support/unknown-peer.ts';
import { waitFor } from '../support/wait-for.ts';

const THIEF = '203.0.113.66';
const GB = 1_000_000_000;
const STEP_MS = 100;

let slack: HttpReceiver;
let clock: FakeClock;
let collector: RunningCollector;

beforeEach(async () => {
  slack = await HttpReceiver.open();
  clock = new FakeClock();
  collector = await startCollector(
    {
      receivers: [{ name: 'channel', type: 'slack', urlFile: 'not read', minimumSeverity: 'info' }],
      fleet: { missingAfter: '1d' },
    },
    { clock, secrets: { receivers: new Map([['channel', { url: slack.url('/hook') }]]) } },
  );
});
afterEach(async () => {
  await collector.stop();
  await slack.close();
});

async function get<Answer>(path: string): Promise<Answer> {
  const headers = { authorization: 'Bearer token-of-the-viewer' };
  const answer = await fetch(collector.url + path, { headers });
  return (await answer.json()) as Answer;
}

interface Listed {
  readonly id: string;
  readonly severity: string;
  readonly title: string;
}

interface Details {
  readonly incident: Listed;
  readonly anomalies: readonly { readonly severity: string; readonly anomaly: Anomaly }[];
  readonly nextCursor: string | null;
}

async function unresolved(): Promise<readonly Listed[]> {
  const { incidents } = await get<{ incidents: Listed[] }>('/api/incidents?state=unresolved');
  return incidents;
}

/** The members of an incident, read page by page. */
async function membersOf(id: string): Promise<Details['anomalies']> {
  const members: Details['anomalies'][number][] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const more: string = cursor === '' ? '' : `&cursor=${cursor}`;
    const page: Details = await get<Details>(`/api/incidents/${id}?limit=300${more}`);
    members.push(...page.anomalies);
    cursor = page.nextCursor;
  }
  return members;
}

/** Whether the channel was sent a message that names an address. */
function hasNamed(address: string): boolean {
  return slack.requests.some(({ body }) => body.includes(address));
}

/** Moves time on in steps, each of which leaves what is under way the time to arrive. */
async function pass(durationMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < durationMs; passedMs += STEP_MS) {
    clock.advance(STEP_MS);
    const sent = slack.requests.length;
    await new Promise((resolve) => setTimeout(resolve, sent === 0 ? 1 : 2));
  }
}

/** How much time passes until the channel names an address. */
async function passUntilNamed(address: string): Promise<number> {
  const startMs = clock.now();
  await waitFor(() => {
    if (hasNamed(address)) return true;
    clock.advance(STEP_MS);
    return false;
  }, `a message that names ${address}`);
  return clock.now() - startMs;
}

/** Decoys, as they come before and after the theft. */
const BURSTS: readonly [count: number, name: string, decoy: (peer: string) => Anomaly][] = [
  [1000, 'attempts', (peer) => attemptOf({ peer })],
  [100, 'refused attempts', (peer) => attemptOf({ peer, state: 'refused' })],
  [100, 'attempts that an agent calls critical', (peer) => attemptOf({ peer, severity: 'critical' })],
  [1000, 'small answered connections', (peer) => contactOf({ peer })],
  [100, 'large answered connections', (peer) => contactOf({ peer, bytes: 90_000_000 })],
  [
    100,
    'connections of former members',
    (peer) => contactOf({ peer, kind: 'former-member', severity: 'warning' }),
  ],
];

/** How an agent reports the theft: at once, or as a connection that grows. */
const THEFTS: readonly [name: string, reports: readonly Anomaly[]][] = [
  ['at once', [contactOf({ peer: THIEF, bytes: GB })]],
  ['after it was a small connection', [contactOf({ peer: THIEF }), contactOf({ peer: THIEF, bytes: GB })]],
  ['after it was an attempt', [attemptOf({ peer: THIEF }), contactOf({ peer: THIEF, bytes: GB })]],
  [
    'as connections after one that was refused',
    [
      attemptOf({ peer: THIEF, state: 'refused' }),
      attemptOf({ peer: THIEF, state: 'refused', count: 9, bytes: GB }),
    ],
  ],
  ['as harmless', [contactOf({ peer: THIEF, bytes: GB, severity: 'info' })]],
];

describe.each(BURSTS)('among %i %s', (count, _burst, decoy) => {
  it.each(THEFTS)(
    'a theft of 1 GB reported %s is named within two seconds and first in the API',
    async (_how, reports) => {
      await collector.report(...addresses(count).map(decoy));
      await pass(3000);
      slack.requests.length = 0;
      for (const report of reports) await collector.report(report);
      await collector.report(...addresses(50, 2000).map(decoy));
      expect(await passUntilNamed(THIEF)).toBeLessThanOrEqual(2000);
      const found = (await unresolved()).filter(({ title }) => title.includes(THIEF));
      expect(found).toMatchObject([{ severity: 'critical' }]);
      const details = await get<Details>(`/api/incidents/${found[0]?.id ?? ''}`);
      expect(details.anomalies[0]).toMatchObject({ severity: 'critical', anomaly: { bytes: GB } });
    },
  );
});

describe('a minute of spoofed attempts from everywhere', () => {
  it('and one peer that fetches an object are six messages at most, and the peer is named', async () => {
    const sources = [{ prefix: '10.0.0.0/24', count: 90_000 }];
    const ports = [{ port: 43_800, count: 100_000 }];
    const { flow: _flow, ...rest } = attemptOf({ peer: '10.0.0.1' });
    let namedAfter: number | undefined;
    for (let second = 0; second < 60; second++) {
      const count = (second + 1) * 100_000;
      const aggregate: Anomaly = {
        ...rest,
        id: 'attempts of w1',
        kind: 'connection-attempts',
        flow: null,
        verdict: null,
        count,
        attempts: { sources, ports },
      };
      const attempts = addresses(10, second * 10).map((peer) => attemptOf({ peer }));
      await collector.report(aggregate, ...attempts);
      if (second === 29) {
        await collector.report(contactOf({ peer: THIEF, bytes: 200 }));
        await collector.report(contactOf({ peer: THIEF, bytes: 1_000_000 }));
      }
      await pass(1000);
      if (hasNamed(THIEF)) namedAfter ??= second - 29;
    }
    expect(namedAfter).toBeLessThanOrEqual(2);
    expect(slack.requests.length).toBeLessThanOrEqual(6);
    const incidents = await unresolved();
    expect(incidents.filter(({ severity }) => severity === 'critical')).toMatchObject([
      { title: `Unexpected peer ${THIEF} talks to the object manager on w1` },
    ]);
    expect(incidents.map(({ title }) => title)).toContain('Unanswered connection attempts to w1');
    expect(incidents.map(({ title }) => title)).toContain(
      '600 unknown peers tried to connect to the object manager of w1 (no answer)',
    );
  });
});

describe('an incident of a thousand members', () => {
  it('lists all of them, page by page, by severity and then by bytes', async () => {
    const peers = addresses(1000);
    await collector.report(
      ...peers.map((peer, index) => contactOf({ peer, bytes: 1000 + ((index * 7919) % 1000) })),
    );
    const [burst] = await unresolved();
    const members = await membersOf(burst?.id ?? '');
    expect(new Set(members.map(({ anomaly }) => anomaly.flow?.source.ip))).toEqual(new Set(peers));
    const bytes = members.map(({ anomaly }) => anomaly.bytes);
    expect(bytes).toEqual(bytes.toSorted((a, b) => b - a));
    expect(members).toHaveLength(1000);
  });

  it.each(['cursor=x', 'cursor=3.1.1', 'limit=501', 'limit=0'])('refuses the query %s', async (query) => {
    await collector.report(contactOf({ peer: THIEF }));
    expect(await get(`/api/incidents/INC-1?${query}`)).toMatchObject({ error: { code: 'bad-query' } });
  });
});
