import { describe, expect, it } from 'vitest';
import { MAX_MEMBERS } from '../../../collector/incident/lifecycle.ts';
import type { Anomaly } from '../../../common/event.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';

type Parts = Awaited<ReturnType<typeof openParts>>;

/** Reports anomalies of an agent, numbered on from what is stored. */
function report({ store, recorder }: Parts, anomalies: Anomaly[], agent = 'w1'): void {
  const next = store.lastSequence(agent, TEST_EPOCH) + 1;
  recorder.record(
    agent,
    TEST_EPOCH,
    anomalies.map((anomaly, index) => ({ sequence: next + index, report: anomaly })),
  );
}

function anomaly(changes: Partial<Anomaly> = {}): Anomaly {
  return { ...sampleAnomaly(1), ...changes };
}

/** Seconds after the sample's time. */
function at(seconds: number): string {
  return new Date(Date.UTC(2026, 10, 23, 10, 0, seconds)).toISOString();
}

function fromPeer(ip: string, changes: Partial<Anomaly> = {}, service = 'object-manager'): Anomaly {
  const { flow, ...rest } = sampleAnomaly(1);
  if (flow === null) throw new Error('the sample has a flow');
  const plasmawatch = { ...flow.plasmawatch, service };
  const id = `${ip} ${service}`;
  return { ...rest, id, flow: { ...flow, source: { ...flow.source, ip }, plasmawatch }, ...changes };
}

describe('what one story is', () => {
  it('opens an incident with the first anomaly, and writes its notification with it', async () => {
    const parts = await openParts();
    report(parts, [anomaly()]);
    const { incidents } = parts.store.incidents({ limit: 10 });
    expect(incidents).toHaveLength(1);
    expect(incidents[0]).toMatchObject({
      id: 'INC-1',
      state: 'open',
      severity: 'critical',
      title: 'Unexpected peer 10.77.9.66 talks to the object manager on w1',
      peer: '10.77.9.66',
      service: 'object-manager',
      count: 1,
      bytes: 4200,
    });
    expect(parts.store.pending('ops', 1)[0]).toMatchObject({ type: 'opened', incident: { id: 'INC-1' } });
    expect(parts.events.map(({ type }) => type)).toEqual(['opened']);
  });

  it('joins what other nodes see of the same stranger, and adds up', async () => {
    const parts = await openParts();
    report(parts, [anomaly({ id: 'a', count: 2, bytes: 100 })], 'w1');
    report(parts, [anomaly({ id: 'a', node: 'w2', count: 3, bytes: 50, kind: 'former-member' })], 'w2');
    const { incidents } = parts.store.incidents({ limit: 10 });
    expect(incidents).toHaveLength(1);
    expect(incidents[0]).toMatchObject({ nodes: ['w1', 'w2'], nodeCount: 2, count: 5, bytes: 150 });
    expect(incidents[0]?.title).toBe(
      'Unexpected peer 10.77.9.66 talks to the object manager on w1 and 1 more node',
    );
    expect(parts.store.pendingCount('ops')).toBe(1);
  });

  it('keeps strangers apart, and one address apart only once however it is written', async () => {
    const parts = await openParts();
    report(parts, [fromPeer('10.0.0.1'), fromPeer('10.0.0.2'), fromPeer('::ffff:10.0.0.1')]);
    expect(parts.store.incidents({ limit: 10 }).incidents.map(({ peer }) => peer)).toEqual([
      '10.0.0.2',
      '10.0.0.1',
    ]);
  });

  it('keeps an address of IPv6 packets apart from the IPv4 address that it claims to be', async () => {
    const parts = await openParts();
    const onWire = fromPeer('::ffff:10.0.0.1');
    const { flow } = onWire;
    if (flow === null) throw new Error('the sample has a flow');
    report(parts, [
      fromPeer('10.0.0.1'),
      { ...onWire, flow: { ...flow, network: { ...flow.network, type: 'ipv6' } } },
    ]);
    expect(parts.store.incidents({ limit: 10 }).incidents.map(({ peer }) => peer)).toEqual([
      '::ffff:10.0.0.1',
      '10.0.0.1',
    ]);
  });

  it('takes a growing anomaly by its latest numbers, not by their sum', async () => {
    const parts = await openParts();
    report(parts, [
      anomaly({ count: 1, bytes: 10, last: at(1) }),
      anomaly({ count: 5, bytes: 70, last: at(2) }),
    ]);
    report(parts, [anomaly({ count: 6, bytes: 90, last: at(3) })]);
    expect(parts.store.incident('INC-1')).toMatchObject({ count: 6, bytes: 90, last: at(3) });
  });

  it('ignores the numbers of a report that was overtaken', async () => {
    const parts = await openParts();
    report(parts, [anomaly({ count: 5, bytes: 70, last: at(5), message: 'later' })]);
    report(parts, [anomaly({ count: 2, bytes: 20, last: at(2), message: 'earlier' })]);
    expect(parts.store.incident('INC-1')).toMatchObject({
      count: 5,
      bytes: 70,
      last: at(5),
      message: 'w1 reports: "later"',
    });
    expect((await parts.metrics.anomaliesStale.get()).values[0]?.value).toBe(1);
  });

  it('stores flow reports without making incidents of them', async () => {
    const parts = await openParts();
    parts.recorder.record('w1', TEST_EPOCH, [{ sequence: 1, report: sampleFlowReport() }]);
    expect(parts.store.incidents({ limit: 10 }).incidents).toEqual([]);
    expect(parts.store.reportsAfter(0, 10)).toHaveLength(1);
  });
});

describe('repeats', () => {
  it('drops a report that is sent again, whatever else is in the batch', async () => {
    const parts = await openParts();
    const first = { sequence: 1, report: anomaly({ count: 1 }) };
    parts.recorder.record('w1', TEST_EPOCH, [first]);
    parts.recorder.record('w1', TEST_EPOCH, [first, { sequence: 2, report: fromPeer('10.0.0.9') }]);
    expect(parts.store.reportsAfter(0, 10).map(({ sequence }) => sequence)).toEqual([1, 2]);
    expect(parts.store.incident('INC-1')?.count).toBe(1);
    expect((await parts.metrics.reportsRepeated.get()).values[0]?.value).toBe(1);
  });

  it('stores nothing of a batch when one part of it fails', async () => {
    const parts = await openParts();
    const broken = { sequence: 2, report: { ...anomaly(), id: null as unknown as string } };
    expect(() =>
      parts.recorder.record('w1', TEST_EPOCH, [{ sequence: 1, report: fromPeer('10.0.0.1') }, broken]),
    ).toThrow('NOT NULL');
    expect(parts.store.reportsAfter(0, 10)).toEqual([]);
    expect(parts.store.incidents({ limit: 10 }).incidents).toEqual([]);
    expect(parts.store.lastSequence('w1', TEST_EPOCH)).toBe(0);
    expect(parts.events).toEqual([]);
  });
});

describe('the life of an incident', () => {
  it('is told again when it becomes worse, and never when it becomes milder', async () => {
    const parts = await openParts();
    report(parts, [anomaly({ severity: 'warning', last: at(1) })]);
    report(parts, [anomaly({ severity: 'critical', count: 2, last: at(2) })]);
    report(parts, [anomaly({ severity: 'info', count: 3, last: at(3) })]);
    expect(parts.events.map(({ type }) => type)).toEqual(['opened', 'escalated']);
    expect(parts.store.incident('INC-1')?.severity).toBe('critical');
  });

  it('is resolved after the quiet time, and told so', async () => {
    const parts = await openParts();
    parts.recorder.start();
    report(parts, [anomaly({ count: 4, bytes: 400, last: at(1) })]);
    parts.clock.advance(590_000);
    expect(parts.store.incident('INC-1')?.state).toBe('open');
    parts.clock.advance(60_000);
    expect(parts.store.incident('INC-1')).toMatchObject({ state: 'resolved' });
    expect(parts.events.map(({ type }) => type)).toEqual(['opened', 'resolved']);
    parts.recorder.stop();
    expect(parts.clock.pending).toBe(0);
  });

  it('goes on when its story comes back, and is then kept open for twice as long', async () => {
    const parts = await openParts();
    parts.recorder.start();
    report(parts, [anomaly({ count: 4, bytes: 400, last: at(1) })]);
    parts.clock.advance(650_000);
    report(parts, [anomaly({ count: 6, bytes: 700, last: at(2) }), anomaly({ id: 'b', node: 'w2' })]);
    expect(parts.store.incident('INC-1')).toMatchObject({
      state: 'open',
      count: 7,
      bytes: 4900,
      nodes: ['w1', 'w2'],
      resolvedMs: null,
      reopenCount: 1,
      quietMs: 1_200_000,
    });
    parts.clock.advance(1_100_000);
    expect(parts.store.incident('INC-1')?.state).toBe('open');
    parts.clock.advance(150_000);
    expect(parts.store.incident('INC-1')?.state).toBe('resolved');
    expect(parts.events.map(({ type }) => type)).toEqual(['opened', 'resolved', 'reopened', 'resolved']);
    parts.recorder.stop();
  });

  it('is as severe as what comes back, not as what there was before', async () => {
    const parts = await openParts();
    report(parts, [anomaly({ severity: 'critical' })]);
    parts.recorder.resolve('INC-1', 'kim');
    report(parts, [anomaly({ severity: 'info', count: 2, last: at(2) })]);
    expect(parts.store.incident('INC-1')).toMatchObject({ state: 'open', severity: 'info' });
  });

  it('is kept open for eight hours at most, however often it opens again', async () => {
    const parts = await openParts();
    for (let count = 1; count <= 10; count++) {
      report(parts, [anomaly({ count, last: at(count) })]);
      parts.recorder.resolve('INC-1', 'kim');
    }
    expect(parts.store.incident('INC-1')).toMatchObject({ reopenCount: 9, quietMs: 28_800_000 });
  });

  it('is followed by another one with what came since, when its story comes back after six hours', async () => {
    const parts = await openParts();
    report(parts, [anomaly({ count: 4, bytes: 400, last: at(1) })]);
    parts.recorder.resolve('INC-1', 'kim');
    parts.clock.advance(21_600_001);
    report(parts, [anomaly({ count: 6, bytes: 700, last: at(2) })]);
    expect(parts.store.incident('INC-1')?.state).toBe('resolved');
    expect(parts.store.incident('INC-2')).toMatchObject({ state: 'open', count: 2, bytes: 300 });
  });

  it('stays open while reports come, even reports that tell nothing new', async () => {
    const parts = await openParts();
    parts.recorder.start();
    for (let minute = 0; minute < 30; minute += 5) {
      report(parts, [anomaly()]);
      parts.clock.advance(300_000);
    }
    expect(parts.store.incident('INC-1')?.state).toBe('open');
    parts.recorder.stop();
  });

  it('does not open again for a late report of what was resolved', async () => {
    const parts = await openParts();
    parts.recorder.start();
    report(parts, [anomaly({ count: 4, last: at(5) })]);
    parts.clock.advance(700_000);
    report(parts, [anomaly({ count: 3, last: at(4) })]);
    expect(parts.store.unresolvedCount()).toBe(0);
    parts.recorder.stop();
  });

  it('does not count the time that the collector was down as quiet', async () => {
    const parts = await openParts();
    report(parts, [anomaly()]);
    parts.clock.advance(3_600_000);
    parts.recorder.start();
    parts.clock.advance(500_000);
    report(parts, [anomaly({ count: 2, last: at(9) })]);
    parts.clock.advance(500_000);
    expect(parts.store.incident('INC-1')).toMatchObject({ state: 'open', count: 2 });
    parts.recorder.stop();
  });

  it('can be acknowledged once it is open, and is resolved from there', async () => {
    const parts = await openParts();
    report(parts, [anomaly()]);
    expect(parts.recorder.acknowledge('INC-1', 'on-call')?.state).toBe('acknowledged');
    expect(parts.recorder.acknowledge('INC-7', 'on-call')).toBeUndefined();
    parts.recorder.start();
    parts.clock.advance(1_300_000);
    expect(parts.store.incident('INC-1')?.state).toBe('resolved');
    expect(parts.recorder.acknowledge('INC-1', 'on-call')?.state).toBe('resolved');
    parts.recorder.stop();
  });
});

describe('limits', () => {
  it('adds up so many anomalies only, and counts the others', async () => {
    const parts = await openParts();
    const many = Array.from({ length: MAX_MEMBERS + 5 }, (_, index) => anomaly({ id: `a${index}` }));
    report(parts, many);
    report(parts, [anomaly({ id: 'a0', count: 3, last: at(1) })]);
    expect(parts.store.incident('INC-1')).toMatchObject({
      anomalyCount: MAX_MEMBERS,
      count: MAX_MEMBERS + 2,
      last: at(1),
    });
    expect((await parts.metrics.anomaliesUncounted.get()).values[0]?.value).toBe(5);
  });

  it('puts new stories into one incident when too many are open', async () => {
    const parts = await openParts({ limits: { maxUnresolved: 3 } });
    report(
      parts,
      Array.from({ length: 20 }, (_, index) => fromPeer(`10.0.1.${index}`, {}, `service-${index}`)),
    );
    const { incidents } = parts.store.incidents({ limit: 50 });
    expect(incidents).toHaveLength(4);
    expect(incidents[0]).toMatchObject({
      title: 'Many more anomalies of the kind unexpected-peer on w1',
      count: 17,
    });
    expect((await parts.metrics.anomaliesMerged.get()).values[0]?.value).toBe(17);
  });
});
