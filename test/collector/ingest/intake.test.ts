import { afterEach, describe, expect, it } from 'vitest';
import { Intake, type IntakeOptions } from '../../../collector/ingest/intake.ts';
import { createCollectorMetrics } from '../../../collector/metrics.ts';
import { anomalySchema, reportSchema, type Anomaly, type Report } from '../../../common/event.ts';
import { openParts, TEST_EPOCH } from '../../support/collector-parts.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { sampleAnomaly, sampleEvidence, sampleFlowReport } from '../../support/sample-report.ts';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** At a time at which the sample reports have just happened. */
function openIntake(changes: Partial<IntakeOptions> = {}) {
  const clock = new FakeClock(Date.parse(sampleAnomaly(1).last) + 1000);
  const metrics = createCollectorMetrics();
  const intake = new Intake({
    clock,
    metrics,
    inOurTime: (_agent, anomaly) => anomaly,
    maxSkewMs: 1000,
    services: ['redis'],
    distributedServices: () => new Set(['notebook-proxy']),
    ...changes,
  });
  return { clock, metrics, intake };
}

/** Parts whose recorder takes reports in as a collector does. */
async function openWithIntake() {
  const { intake, metrics } = openIntake();
  const parts = await openParts({
    toStore: (agent, report) => intake.toStore(agent, report),
    inOurTime: (agent, anomaly) => intake.toGroup(agent, anomaly),
  });
  closers.push(() => parts.store.close());
  let sequence = 0;
  const report = (...reports: readonly Report[]): void => {
    for (const report of reports) {
      parts.recorder.record(report.node, TEST_EPOCH, [{ sequence: ++sequence, report }]);
    }
  };
  return { ...parts, report, intakeMetrics: metrics };
}

function withService(service: string | null, peer = '10.77.9.66', number = 1): Anomaly {
  const { flow, ...anomaly } = sampleAnomaly(number);
  if (flow === null) throw new Error('expected a flow');
  const { plasmawatch } = flow;
  return {
    ...anomaly,
    flow: { ...flow, source: { ...flow.source, ip: peer }, plasmawatch: { ...plasmawatch, service } },
  };
}

const serviceOf = (report: Report): string | null | undefined =>
  report.type === 'evidence' ? undefined : report.flow?.plasmawatch.service;

describe('the service of a report', () => {
  it.each([
    ['one of Ray', 'object-manager', 'object-manager'],
    ['none', null, null],
    ['one of the settings', 'redis', 'redis'],
    ['one of the rules that are distributed', 'notebook-proxy', 'notebook-proxy'],
    ['one that nobody knows', 'object-manager-2', 'other'],
    ['one with a name of JavaScript', 'constructor', 'other'],
  ])('is %s', async (_name, service, expected) => {
    const { intake, metrics } = openIntake();
    const flowReport = { ...sampleFlowReport(), flow: withService(service).flow ?? sampleFlowReport().flow };
    expect(serviceOf(intake.toStore('w1', flowReport))).toBe(expected);
    expect(serviceOf(intake.toStore('w1', withService(service)))).toBe(expected);
    expect(serviceOf(intake.toGroup('w1', withService(service)))).toBe(expected);
    const counted = (await metrics.servicesUnknown.get()).values[0]?.value;
    expect(counted).toBe(expected === 'other' ? 2 : 0);
  });

  it('makes a handful of incidents, however many names are invented', async () => {
    const { report, store } = await openWithIntake();
    for (let index = 0; index < 220; index++) {
      report(withService(`service-${index}`, `10.66.${Math.floor(index / 100)}.${(index % 100) + 1}`, index));
    }
    expect(store.unresolvedCount()).toBeLessThanOrEqual(5);
  });

  it.each([
    'two words',
    'a\nb',
    '',
    '-',
    'x'.repeat(65),
    'café',
    '<!channel>',
    'http://evil.example',
    '\u202eevil',
  ])('is no text that no rules could have: %j', (service) => {
    expect(anomalySchema.safeParse(withService(service)).success).toBe(false);
  });
});

describe('the texts of a report', () => {
  it('are on one line, and turn nothing around', () => {
    const evil = 'a\u0000b\nc\r\u001b[31md\u202ee\u2066f\u2028g\ud800h\u200bi\u0085j';
    const plain = 'a b c [31md e f g h i j';
    const report = reportSchema.parse({
      ...sampleAnomaly(1),
      id: evil,
      message: evil,
      node: evil,
      verdict: { allowed: false, rule: evil, reason: 'no-rule' },
      flow: {
        ...sampleFlowReport().flow,
        network: { transport: 'tcp', type: 'ipv4', community_id: evil },
        plasmawatch: { ...sampleFlowReport().flow.plasmawatch, interface: evil },
      },
      process: { pid: 1, name: evil, executable: evil, command_line: evil },
      user: { id: evil, name: evil },
      container: { id: evil },
      orchestrator: { type: 'kubernetes', resource: { type: 'pod', id: evil } },
      attempts: { sources: [{ prefix: evil, count: 1 }], ports: [] },
    });
    const text = JSON.stringify(report);
    expect(text).not.toMatch(/\\[nru]|[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u);
    expect(text.split(plain)).toHaveLength(15);
    // Evidence must still find its anomaly.
    const evidence = reportSchema.parse({ ...sampleEvidence(evil), node: evil });
    expect(evidence).toMatchObject({ anomaly: plain, node: plain });
  });
});

describe('evidence', () => {
  it('is taken once, and only for an anomaly of the same agent that is in an incident', async () => {
    const { report, store, metrics } = await openWithIntake();
    const first = { ...sampleEvidence('w1-1'), packets: 1 };
    report(first);
    expect(store.evidence('w1', 'w1-1')).toBeUndefined();
    report(
      sampleAnomaly(1),
      first,
      { ...first, packets: 2 },
      { ...first, node: 'w2' },
      sampleEvidence('w1-2'),
    );
    expect(store.evidence('w1', 'w1-1')).toEqual(first);
    expect(store.evidence('w2', 'w1-1')).toBeUndefined();
    expect(store.reportsAfter(0, 10).map(({ report }) => report.type)).toEqual(['anomaly', 'evidence']);
    const { values } = await metrics.evidenceRefused.get();
    const counted = Object.fromEntries(values.map(({ labels, value }) => [labels['reason'], value]));
    expect(counted).toEqual({ unknown: 3, repeated: 1 });
    // The agent need not send again what is refused.
    expect(store.lastSequence('w2', TEST_EPOCH)).toBe(5);
    expect(store.lastSequence('w1', TEST_EPOCH)).toBe(6);
  });

  it('is taken when it comes in the message of its anomaly, and after the incident was resolved', async () => {
    const { recorder, store } = await openWithIntake();
    recorder.record('w1', TEST_EPOCH, [
      { sequence: 1, report: sampleAnomaly(1) },
      { sequence: 2, report: sampleEvidence('w1-1') },
      { sequence: 3, report: { ...sampleAnomaly(2) } },
    ]);
    recorder.resolve('INC-1', 'ann');
    recorder.record('w1', TEST_EPOCH, [{ sequence: 4, report: sampleEvidence('w1-2') }]);
    expect(store.hasEvidence('w1', 'w1-1')).toBe(true);
    expect(store.hasEvidence('w1', 'w1-2')).toBe(true);
  });
});

describe('an incident that several agents report', () => {
  it('has possible times, whatever one of them says', async () => {
    const { report, store, intakeMetrics } = await openWithIntake();
    const { first, last } = sampleAnomaly(1);
    report({
      ...sampleAnomaly(9),
      id: 'x',
      node: 'w2',
      first: '2200-01-01T00:00:00Z',
      last: '2200-01-01T00:00:00Z',
    });
    report(sampleAnomaly(1));
    const incident = store.incident('INC-1');
    expect(incident?.first).toBe(first);
    expect(Date.parse(incident?.last ?? '') - Date.parse(last)).toBeLessThanOrEqual(1000);
    expect((await intakeMetrics.timesCorrected.get()).values[0]?.value).toBe(1);
  });

  it('has the times of an agent whose clock is wrong by the collector’s clock, once and not twice', () => {
    const { intake, clock } = openIntake({
      inOurTime: (_agent, anomaly) => ({
        ...anomaly,
        first: sampleAnomaly(1).first,
        last: sampleAnomaly(1).last,
      }),
    });
    const ahead = { ...sampleAnomaly(1), first: '2027-11-23T09:42:10Z', last: '2027-11-23T09:42:11Z' };
    const { first, last } = sampleAnomaly(1);
    expect(intake.toStore('w1', ahead)).toMatchObject({ first, last });
    expect(intake.toGroup('w1', ahead)).toMatchObject({ first, last });
    expect(clock.now()).toBeGreaterThan(Date.parse(last));
  });
});
