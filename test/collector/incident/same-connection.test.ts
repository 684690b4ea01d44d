import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Anomaly } from '../../../common/event.ts';
import { openParts } from '../../support/collector-parts.ts';
import { contactOf, reportTo } from '../../support/unknown-peer.ts';

const SOURCE = '10.0.0.11';

type View = 'foreign-process' | 'unexpected-destination' | 'unexpected-peer';

/** The connection that `contactOf` makes, from w1 to the node b1 of another cluster, as one agent sees it. */
function view(kind: View, changes: Partial<Anomaly> & { visit?: number } = {}): Anomaly {
  const { visit = 1, ...rest } = changes;
  const node = kind === 'unexpected-peer' ? 'b1' : 'w1';
  const localEnd = kind === 'unexpected-peer' ? 'destination' : 'source';
  return { ...contactOf({ peer: SOURCE, node, kind, visit, localEnd }), ...rest };
}

function withFlow(anomaly: Anomaly, change: (flow: NonNullable<Anomaly['flow']>) => object): Anomaly {
  if (anomaly.flow === null) throw new Error('no flow');
  return { ...anomaly, flow: { ...anomaly.flow, ...change(anomaly.flow) } };
}

describe('one connection of a program to another cluster', () => {
  let parts: Awaited<ReturnType<typeof openParts>>;

  beforeEach(async () => {
    parts = await openParts();
  });
  afterEach(() => parts.store.close());

  function incidents(): [kind: string, anomalies: number][] {
    const { incidents: unresolved } = parts.store.incidents({ state: 'unresolved', limit: 100 });
    return unresolved.map(({ kind, anomalyCount }): [string, number] => [kind, anomalyCount]).toReversed();
  }

  const VIEWS: readonly View[] = ['foreign-process', 'unexpected-destination', 'unexpected-peer'];

  it.each([
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ])('is one incident, in whichever order it is reported: %d %d %d', (...order) => {
    for (const index of order) {
      reportTo(parts, view(VIEWS[index] ?? 'unexpected-peer'));
      parts.clock.advance(100);
    }
    expect(incidents()).toEqual([[VIEWS[order[0] ?? 0], 3]]);
    const critical = parts.store.pending('ops', 100);
    expect(critical.map(({ type }) => type)).toEqual(['opened']);
  });

  it('is told of the nodes to which something happened, not of the one that is the peer', () => {
    reportTo(parts, view('unexpected-destination'), view('unexpected-peer'));
    const {
      incidents: [incident],
    } = parts.store.incidents({ state: 'unresolved', limit: 1 });
    expect(incident?.title).toMatch(
      /^Unexpected destination 10\.77\.0\.11: connections to .* there from w1$/,
    );
    expect(incident?.nodes).toEqual(['w1', 'b1']);
  });

  it.each([
    [
      'another port of the same host',
      (other: Anomaly) => withFlow(other, ({ source }) => ({ source: { ...source, port: 1 } })),
    ],
    [
      'another host, with the community id of the first',
      (other: Anomaly) => withFlow(other, ({ source }) => ({ source: { ...source, ip: '10.0.0.99' } })),
    ],
    [
      'another destination',
      (other: Anomaly) =>
        withFlow(other, ({ destination }) => ({ destination: { ...destination, ip: '10.0.0.98' } })),
    ],
    [
      'another community id',
      (other: Anomaly) =>
        withFlow(other, ({ network }) => ({ network: { ...network, community_id: '1:x' } })),
    ],
    [
      'the same ends, three seconds later',
      (other: Anomaly) => ({
        ...other,
        first: '2026-11-23T09:42:13.300000000Z',
        last: '2026-11-23T09:42:14.000000000Z',
      }),
    ],
    ['one of several connections', (other: Anomaly) => ({ ...other, count: 2 })],
    ['the same, seen by one agent at both ends', (other: Anomaly) => ({ ...other, node: 'w1' })],
  ])('is apart from %s', (_what, change) => {
    reportTo(parts, view('unexpected-destination'), change(view('unexpected-peer')));
    expect(incidents()).toHaveLength(2);
  });

  it('is apart from what is reported after the time in which messages are grouped', () => {
    reportTo(parts, view('unexpected-destination'));
    parts.clock.advance(10_001);
    reportTo(parts, view('unexpected-peer'));
    expect(incidents()).toHaveLength(2);
  });

  it('is apart from another program, whatever ends it claims', () => {
    const of = (id: string, visit: number) => view('foreign-process', { user: { id }, visit });
    reportTo(parts, of('0', 1), of('1000', 2));
    expect(incidents()).toHaveLength(2);
  });

  it('does not take in what is more severe, or what a silence would hide', () => {
    const mild = view('unexpected-destination', { severity: 'warning' });
    reportTo(parts, mild, view('unexpected-peer'));
    expect(incidents()).toHaveLength(2);
  });

  it('does not take in what reaches others, or what the incident would hide because it is muted', async () => {
    for (const options of [
      { mutedBy: ({ kind }: { kind: string }) => (kind === 'foreign-process' ? 'a silence' : undefined) },
      {
        receiversOf: ({ kind }: { kind: string }) => (kind === 'foreign-process' ? ['archive'] : ['ops']),
        receivers: ['archive', 'ops'],
      },
    ]) {
      const other = await openParts(options);
      reportTo(other, view('foreign-process'), view('unexpected-peer'));
      expect(other.store.incidents({ state: 'unresolved', limit: 10 }).incidents).toHaveLength(2);
      expect(other.store.pending('ops', 10).map(({ incident }) => incident.kind)).toEqual([
        'unexpected-peer',
      ]);
      other.store.close();
    }
  });

  it('lets an anomaly go that goes on to further connections: it is an incident of its own, and notified', () => {
    reportTo(parts, view('foreign-process'), view('unexpected-peer'));
    expect(incidents()).toEqual([['foreign-process', 2]]);
    reportTo(parts, view('unexpected-peer', { count: 2, bytes: 8400 }));
    expect(incidents()).toEqual([
      ['foreign-process', 1],
      ['unexpected-peer', 1],
    ]);
    parts.clock.advance(20_000);
    parts.announcer.tellDue();
    expect(parts.store.pending('ops', 10).map(({ incident }) => incident.kind)).toEqual([
      'foreign-process',
      'unexpected-peer',
    ]);
  });
});
