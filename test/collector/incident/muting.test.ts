/** What mutes incidents, and what becomes of those that are muted: the store, the recorder and the announcer together. */
import { afterEach, describe, expect, it } from 'vitest';
import { collectorConfigSchema } from '../../../collector/config.ts';
import { muteTimes } from '../../../collector/incident/mute-times.ts';
import { firstReason } from '../../../collector/incident/muting.ts';
import { parseYaml } from '../../../common/config-file.ts';
import { anomalyWithoutFlow, type Anomaly } from '../../../common/event.ts';
import { formatMilliseconds } from '../../../common/time.ts';
import {
  openParts,
  sampleIncident,
  TEST_EPOCH,
  TEST_TIMING,
  type PartsOptions,
} from '../../support/collector-parts.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

const HOUR_MS = 3_600_000;
const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** The clock begins on Monday, 2026-11-23, at 09:00 UTC. */
async function open(options: PartsOptions = {}) {
  const parts = await openParts({ quietMs: 24 * HOUR_MS, ...options });
  const { store, clock, recorder, announcer } = parts;
  announcer.start();
  recorder.start();
  closers.push(() => {
    announcer.stop();
    recorder.stop();
    store.close();
  });
  let sequence = 0;
  const report = (...anomalies: Anomaly[]): void => {
    for (const anomaly of anomalies) {
      recorder.record(anomaly.node, TEST_EPOCH, [{ sequence: ++sequence, report: anomaly }]);
    }
  };
  /** Every message, as time, incident and what happened. */
  const told = (): string[] =>
    store
      .pending('ops', 100)
      .map(
        ({ createdMs, incident, type }) =>
          `${formatMilliseconds(createdMs).slice(11, 19)} ${incident.id} ${type}`,
      );
  const advanceTo = (time: string): void => clock.advance(Date.parse(`2026-11-${time}Z`) - clock.now());
  return { ...parts, report, told, advanceTo };
}

function blindOf(node: string, changes: Partial<Anomaly> = {}): Anomaly {
  return anomalyWithoutFlow({
    id: `blind-${node}`,
    kind: 'blind',
    severity: 'warning',
    node,
    first: '2026-11-23T09:00:00.000000000Z',
    last: '2026-11-23T09:00:00.000000000Z',
    message: `${node} lost packets`,
    ...changes,
  });
}

describe('an incident that a silence is about', () => {
  it('is stored and shown, sent to nobody, and told when the silence ends and it is not resolved', async () => {
    const { silences, store, report, told, clock, advanceTo } = await open();
    silences.add(
      { matchers: { peer: ['10.77.0.0/16'] }, reason: 'a drill', endMs: clock.now() + HOUR_MS / 4 },
      'on-call',
    );
    report(sampleAnomaly(1));
    advanceTo('23T09:14:59');
    const incident = store.incident('INC-1');
    expect(incident).toMatchObject({ state: 'open', severity: 'critical', count: 1 });
    expect(silences.mutedBy(incident ?? sampleIncident(), clock.now())).toBe('silence SIL-1');
    expect(told()).toEqual([]);
    advanceTo('23T09:16:00');
    expect(told()).toEqual([expect.stringMatching(/^09:15:\d\d INC-1 opened$/)]);
  });

  it('is told soon after somebody has ended the silence', async () => {
    const { silences, report, told, clock, advanceTo } = await open();
    const endMs = clock.now() + HOUR_MS;
    silences.add({ matchers: { kind: ['unexpected-peer'] }, reason: 'a drill', endMs }, 'on-call');
    report(sampleAnomaly(1));
    advanceTo('23T09:20:00');
    silences.end('SIL-1', 'admin');
    advanceTo('23T09:25:00');
    expect(told()).toEqual([expect.stringMatching(/^09:20:(0\d|1[0-5]) INC-1 opened$/)]);
  });

  it('is never told when it was silenced all its life, not even its end', async () => {
    const { silences, recorder, report, told, clock, advanceTo } = await open();
    const endMs = clock.now() + HOUR_MS;
    silences.add({ matchers: { kind: ['unexpected-peer'] }, reason: 'a drill', endMs }, 'on-call');
    report(sampleAnomaly(1));
    advanceTo('23T09:10:00');
    recorder.resolve('INC-1', 'on-call');
    advanceTo('23T10:10:00');
    expect(told()).toEqual([]);
  });

  it('that was told before is told of its end all the same, and of nothing in between', async () => {
    const timing = { ...TEST_TIMING, repeatIntervalMs: 600_000 };
    const { silences, recorder, report, told, clock, advanceTo } = await open({ timing });
    report(sampleAnomaly(1));
    const endMs = clock.now() + HOUR_MS;
    silences.add({ matchers: { kind: ['unexpected-peer'] }, reason: 'known', endMs }, 'on-call');
    advanceTo('23T09:30:00');
    recorder.resolve('INC-1', 'on-call');
    expect(told()).toEqual(['09:00:00 INC-1 opened', '09:30:00 INC-1 resolved']);
  });

  it('is told once more is in it than the silence is about', async () => {
    const { silences, report, told, clock, advanceTo } = await open();
    const endMs = clock.now() + HOUR_MS;
    silences.add({ matchers: { node: ['w1'] }, reason: 'w1 is being rebuilt', endMs }, 'on-call');
    report(sampleAnomaly(1));
    advanceTo('23T09:10:00');
    expect(told()).toEqual([]);
    report({ ...sampleAnomaly(2), id: 'w2-1', node: 'w2' });
    expect(told()).toEqual(['09:10:00 INC-1 opened']);
  });
});

describe('a silence of one peer', () => {
  it('does not hide the others of a burst that its incident becomes part of', async () => {
    const { silences, report, told, clock, advanceTo } = await open();
    const endMs = clock.now() + HOUR_MS;
    silences.add({ matchers: { peer: ['10.9.0.1/32'] }, reason: 'a known host', endMs }, 'on-call');
    const { flow } = sampleAnomaly(1);
    if (flow === null) throw new Error('the sample has a flow');
    const contactOf = (number: number): Anomaly => ({
      ...sampleAnomaly(number),
      flow: { ...flow, source: { ...flow.source, ip: `10.9.0.${number}` } },
    });
    report(contactOf(1));
    advanceTo('23T09:01:00');
    expect(told()).toEqual([]);
    report(...[2, 3, 4, 5, 6, 7, 8].map(contactOf));
    advanceTo('23T09:02:00');
    expect(told()).toContainEqual(expect.stringMatching(/^09:01:\d\d INC-1 opened$/));
  });
});

describe('a mute time', () => {
  it('holds back what it is about until it ends, by the wall clock of its zone', async () => {
    const { value, diagnostics } = parseYaml(
      collectorConfigSchema,
      `muteTimes:
  - name: nights
    hours: "mon-fri 10:00-10:20 Europe/Berlin"
    match: { severity: [info, warning], labels: { team: ml } }
nodeLabels: [{ nodes: ["w*"], labels: { team: ml } }]
`,
      'collector.yaml',
    );
    expect(diagnostics).toEqual([]);
    const mutedBy = muteTimes(value?.muteTimes ?? [], (node) => (node === 'x' ? {} : { team: 'ml' }));
    const { report, told, advanceTo } = await open({ mutedBy });
    report({ ...sampleAnomaly(1), severity: 'warning' }, { ...sampleAnomaly(2), kind: 'volume' });
    advanceTo('23T09:40:00');
    expect(told()).toContainEqual('09:00:00 INC-2 opened');
    expect(told().filter((line) => line.includes('INC-1'))).toEqual([
      expect.stringMatching(/^09:20:\d\d INC-1 opened$/),
    ]);
  });

  it('is named as the reason', () => {
    const entry = { name: 'nights', hours: '00:00-24:00', match: { severity: ['info' as const] } };
    const mutedBy = muteTimes([entry], () => ({}));
    expect(mutedBy(sampleIncident({ severity: 'info' }), 0)).toBe('mute time nights');
    expect(mutedBy(sampleIncident({ severity: 'warning' }), 0)).toBeUndefined();
  });

  it.each([
    ['hours: "mon-fri 20:00-07:00 Mars/Olympus", match: { kind: scan }', 'unknown time zone'],
    ['hours: "nights", match: { kind: scan }', 'expected days and times'],
    ['hours: "20:00-07:00"', 'missing key `match`'],
    ['hours: "20:00-07:00", match: {}', 'expected one of'],
  ])('is refused with the place where it stands: %s', (text, message) => {
    const yaml = `muteTimes:\n  - { name: nights, ${text} }\n`;
    const { diagnostics } = parseYaml(collectorConfigSchema, yaml, 'collector.yaml');
    expect(diagnostics[0]?.message).toContain(message);
    expect(diagnostics[0]?.line).toBe(2);
  });
});

describe('a node that is missing or blind', () => {
  it('mutes what that node alone says of itself, until it is heard again', async () => {
    const { stories, report, told, clock, store, mutedBy, advanceTo } = await open();
    const story = { kind: 'missing', severity: 'critical', node: 'w1', sinceMs: clock.now() } as const;
    stories.tell([{ ...story, message: 'nothing is heard of w1' }]);
    report(blindOf('w1'), blindOf('w2'));
    advanceTo('23T09:05:00');
    expect(told()).toEqual(['09:00:00 INC-1 opened', '09:00:10 INC-3 opened']);
    expect(mutedBy(store.incident('INC-2') ?? sampleIncident(), clock.now())).toBe('node w1 is missing');
    stories.end('missing', 'w1', 'w1 is heard again');
    advanceTo('23T09:06:00');
    expect(told().slice(2)).toEqual([
      '09:05:00 INC-1 resolved',
      expect.stringMatching(/^09:05:\d\d INC-2 opened$/),
    ]);
  });

  it.each([
    ['what is critical', { severity: 'critical' as const }],
    ['a story about a peer', { peer: '10.9.9.9' }],
    ['what several nodes say', { nodes: ['w1', 'w2'], nodeCount: 2 }],
    ['that another node is blind', { nodes: ['w2'] }],
    ['that it is missing', { kind: 'missing' as const }],
    ['that it is blind', { kind: 'blind' as const }],
  ])('does not mute %s', async (_what, changes) => {
    const { report, mutedBy, clock } = await open();
    report(blindOf('w1'));
    const quiet = {
      kind: 'stale-membership',
      severity: 'warning',
      peer: null,
      nodes: ['w1'],
      nodeCount: 1,
    } as const;
    expect(mutedBy(sampleIncident(quiet), clock.now())).toBe('node w1 is blind');
    expect(mutedBy(sampleIncident({ ...quiet, ...changes }), clock.now())).toBeUndefined();
  });

  it('mutes nothing any more when its story has ended', async () => {
    const { report, mutedBy, clock } = await open();
    report(blindOf('w1'), blindOf('w1', { ended: true }));
    const quiet = { kind: 'stale-membership', severity: 'warning', peer: null } as const;
    expect(mutedBy(sampleIncident(quiet), clock.now())).toBeUndefined();
  });
});

describe('the first reason', () => {
  it('is the one that is told', () => {
    const mutedBy = firstReason([() => undefined, () => 'silence SIL-1', () => 'mute time nights']);
    expect(mutedBy(sampleIncident(), 0)).toBe('silence SIL-1');
    expect(firstReason([])(sampleIncident(), 0)).toBeUndefined();
  });
});
