import { describe, expect, it } from 'vitest';
import { anomalyWithoutFlow, type Anomaly } from '../../../common/event.ts';
import { openParts, TEST_EPOCH, type PartsOptions } from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

const MINUTE_MS = 60_000;

/** What a node reports of a peer that talks to a service. */
function contact(peer: string, service = 'object-manager', node = 'w1'): Anomaly {
  const { flow, ...rest } = sampleAnomaly(1);
  if (flow === null) throw new Error('the sample has a flow');
  const plasmawatch = { ...flow.plasmawatch, service };
  const id = `${peer} ${service}`;
  return { ...rest, id, node, flow: { ...flow, source: { ...flow.source, ip: peer }, plasmawatch } };
}

function scan(peer: string): Anomaly {
  return { ...contact(peer), id: `scan by ${peer}`, kind: 'scan' };
}

function missing(node: string, ended?: true): Anomaly {
  const now = '2026-11-23T09:00:00Z';
  return anomalyWithoutFlow({
    id: `missing ${node}`,
    kind: 'missing',
    severity: 'critical',
    node,
    first: now,
    last: now,
    message: `nothing is heard of ${node}`,
    ...(ended === undefined ? {} : { ended }),
  });
}

async function open(options: PartsOptions = {}): Promise<Parts> {
  return await openParts(options);
}

function report(parts: Parts, ...anomalies: Anomaly[]): void {
  for (const anomaly of anomalies) {
    const sequence = parts.store.lastSequence(anomaly.node, TEST_EPOCH) + 1;
    parts.recorder.record(anomaly.node, TEST_EPOCH, [{ sequence, report: anomaly }]);
  }
}

/** Incidents that are not resolved, oldest first. */
function unresolved({ store }: Parts) {
  return store
    .incidents({ limit: 100 })
    .incidents.filter(({ state }) => state !== 'resolved')
    .toReversed();
}

function peers(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, index) => `10.0.0.${from + index}`);
}

describe('a burst of stories of one kind and service', () => {
  it('is one incident from the sixth on: the oldest absorbs the others', async () => {
    const parts = await open();
    report(parts, ...peers(5).map((peer) => contact(peer)));
    expect(unresolved(parts)).toHaveLength(5);
    report(parts, contact('10.0.0.6'), contact('10.0.0.7'), contact('10.0.0.8', 'object-manager', 'w2'));
    expect(unresolved(parts)).toMatchObject([
      {
        id: 'INC-1',
        breadth: 'kind',
        peer: '10.0.0.1',
        peerCount: 7,
        nodeCount: 1,
        nodes: ['w1'],
        anomalyCount: 7,
        count: 7,
        bytes: 7 * 4200,
        title: '7 unexpected peers talk to the object manager on w1',
      },
      { peer: '10.0.0.8', nodes: ['w2'] },
    ]);
    expect(parts.store.incident('INC-5')).toMatchObject({ state: 'resolved', mergedInto: 'INC-1' });
    expect(parts.events.filter(({ type }) => type === 'merged')).toHaveLength(4);
  });

  it('is one of all agents from the sixth agent on that sees the like', async () => {
    const parts = await open();
    const nodes = Array.from({ length: 7 }, (_, index) => `w${index + 1}`);
    report(parts, ...nodes.slice(0, 5).map((node, index) => contact(`10.0.0.${index + 1}`, undefined, node)));
    expect(unresolved(parts)).toHaveLength(5);
    report(parts, ...nodes.slice(5).map((node, index) => contact(`10.0.0.${index + 6}`, undefined, node)));
    expect(unresolved(parts)).toMatchObject([{ breadth: 'kind', peerCount: 7, nodeCount: 7 }]);
    report(parts, { ...contact('10.0.0.3', undefined, 'w3'), count: 5, bytes: 9000 });
    report(parts, contact('10.0.0.7', undefined, 'w2'), contact('10.0.0.7', undefined, 'w9'));
    expect(unresolved(parts)).toMatchObject([{ peerCount: 7, anomalyCount: 9, count: 13, nodeCount: 8 }]);
  });

  it('of one agent takes no part of what another agent sees', async () => {
    const parts = await open();
    report(parts, ...peers(20).map((peer) => contact(peer)), contact('10.0.0.7', undefined, 'w2'));
    expect(unresolved(parts)).toMatchObject([
      { breadth: 'kind', nodes: ['w1'] },
      {
        breadth: 'story',
        nodes: ['w2'],
        title: 'Unexpected peer 10.0.0.7 talks to the object manager on w2',
      },
    ]);
    report(parts, { ...contact('10.0.0.7'), id: 'again' });
    expect(unresolved(parts)[1]).toMatchObject({ nodes: ['w2', 'w1'] });
  });

  it('is over when no more come: the next stranger is an incident of his own', async () => {
    const parts = await open();
    report(parts, ...peers(6).map((peer) => contact(peer)));
    parts.clock.advance(5 * MINUTE_MS);
    report(parts, contact('10.0.1.1'));
    expect(unresolved(parts).map(({ id, breadth }) => [id, breadth])).toEqual([
      ['INC-1', 'kind'],
      ['INC-6', 'story'],
    ]);
  });

  it('is none where they come slowly, or are of different services', async () => {
    const parts = await open();
    for (const peer of peers(10)) {
      report(parts, contact(peer));
      parts.clock.advance(MINUTE_MS + 15_000);
    }
    report(parts, ...peers(5, 50).map((peer, index) => contact(peer, `service-${index}`)));
    expect(unresolved(parts)).toHaveLength(15);
  });

  it('does not take in a story of another kind, which may be worse', async () => {
    const parts = await open();
    for (const peer of peers(7)) report(parts, { ...contact(peer), kind: 'former-member' });
    report(parts, contact('10.0.1.1'));
    expect(unresolved(parts).map(({ kind, peerCount }) => [kind, peerCount])).toEqual([
      ['former-member', 7],
      ['unexpected-peer', 1],
    ]);
  });

  it('of nodes is over when it is over on the last of them, and the same one when it comes back', async () => {
    const parts = await open();
    const nodes = Array.from({ length: 300 }, (_, index) => `n${index}`);
    report(parts, ...nodes.map((node) => missing(node)));
    expect(unresolved(parts)).toMatchObject([
      { nodeCount: 300, title: 'Nothing is heard of the agents on 300 nodes: n0 and 299 more nodes' },
    ]);
    report(parts, ...nodes.slice(1).map((node) => missing(node, true)));
    expect(unresolved(parts)).toHaveLength(1);
    report(parts, missing('n0', true));
    expect(unresolved(parts)).toEqual([]);
    parts.clock.advance(MINUTE_MS);
    report(parts, { ...missing('n250'), id: 'missing again' });
    expect(unresolved(parts)).toMatchObject([{ id: 'INC-1', nodeCount: 300, reopenCount: 1 }]);
  });
});

describe('a peer that scans', () => {
  const services = ['object-manager', 'gcs', 'node-manager', 'dashboard', 'worker'];

  it('is one incident from the fifth service on', async () => {
    const parts = await open();
    report(parts, ...services.slice(0, 4).map((service) => contact('10.0.0.9', service)));
    expect(unresolved(parts)).toHaveLength(4);
    report(parts, contact('10.0.0.9', 'worker', 'w2'), contact('10.0.0.9', 'client-server'));
    expect(unresolved(parts)).toMatchObject([
      {
        id: 'INC-1',
        breadth: 'peer',
        serviceCount: 6,
        peerCount: 1,
        title: '10.0.0.9 scans w1 and 1 more node',
      },
    ]);
  });

  it('is one incident with the scan that an agent reports, whichever comes first', async () => {
    const parts = await open();
    report(parts, contact('10.0.0.9'), contact('10.0.0.9', 'gcs'), scan('10.0.0.9'));
    report(parts, scan('10.0.0.8'), contact('10.0.0.8'), contact('10.0.0.8', 'gcs'));
    expect(unresolved(parts).map(({ title, serviceCount }) => [title, serviceCount])).toEqual([
      ['10.0.0.9 scans w1', 2],
      ['10.0.0.8 scans w1', 2],
    ]);
  });

  it('does not take other peers with it, nor what else is told of it', async () => {
    const parts = await open();
    report(parts, contact('10.0.0.1'), ...services.map((service) => contact('10.0.0.9', service)));
    report(parts, { ...contact('10.0.0.9'), id: 'volume', kind: 'volume' });
    expect(unresolved(parts).map(({ kind, breadth }) => [kind, breadth])).toEqual([
      ['unexpected-peer', 'story'],
      ['unexpected-peer', 'peer'],
      ['volume', 'story'],
    ]);
  });

  it('is found among many that do: a hundred of them are a handful of incidents', async () => {
    const parts = await open();
    for (const peer of peers(100)) report(parts, ...services.map((service) => contact(peer, service)));
    const incidents = unresolved(parts);
    expect(incidents.length).toBeLessThanOrEqual(10);
    const broadest = incidents.find(({ breadth }) => breadth === 'kind');
    expect(broadest?.peerCount).toBeGreaterThan(50);
    expect(broadest?.serviceCount).toBeGreaterThan(1);
  });
});

describe('who was told of an incident that another one absorbed', () => {
  it('hears of the other one, and of the end of both', async () => {
    const parts = await open();
    parts.recorder.start();
    parts.announcer.start();
    for (const peer of peers(5)) {
      report(parts, contact(peer));
      parts.clock.advance(20_000);
    }
    const told = (): string[] =>
      parts.store.pending('ops', 100).map(({ type, incident }) => `${type} ${incident.id}`);
    expect(told()).toEqual(['opened INC-1', 'opened INC-2', 'opened INC-3', 'opened INC-4', 'opened INC-5']);
    report(parts, contact('10.0.0.6'));
    parts.clock.advance(5 * MINUTE_MS);
    expect(told().slice(5)).toEqual(['escalated INC-1']);
    parts.clock.advance(20 * MINUTE_MS);
    expect(told().slice(6).toSorted()).toEqual([
      'resolved INC-1',
      'resolved INC-2',
      'resolved INC-3',
      'resolved INC-4',
      'resolved INC-5',
    ]);
    parts.announcer.stop();
    parts.recorder.stop();
  });
});
