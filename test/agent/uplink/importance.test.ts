import { describe, expect, it } from 'vitest';
import { importanceOf, SHARES } from '../../../agent/uplink/importance.ts';
import {
  anomalyWithoutFlow,
  type Anomaly,
  type FlowState,
  type Report,
  type Severity,
} from '../../../common/event.ts';
import { sampleAnomaly, sampleFlowReport } from '../../support/sample-report.ts';

function anomaly(severity: Severity, state: FlowState): Anomaly {
  const sample = sampleAnomaly(1);
  if (sample.flow === null) throw new Error('a sample without a flow');
  const { flow } = sample;
  return { ...sample, severity, flow: { ...flow, plasmawatch: { ...flow.plasmawatch, state } } };
}

function ofNode(kind: Anomaly['kind']): Anomaly {
  const time = '2026-11-23T09:42:10Z';
  return anomalyWithoutFlow({
    id: '1',
    kind,
    severity: 'warning',
    node: 'w1',
    first: time,
    last: time,
    message: '',
  });
}

const EVIDENCE: Report = { type: 'evidence', node: 'w1', anomaly: '1', packets: 1, pcapng: '' };

describe('the importance of a report', () => {
  it('rises from what anybody can make a flood of to who was answered', () => {
    const order = [
      importanceOf(sampleFlowReport()),
      importanceOf(EVIDENCE),
      importanceOf(anomaly('warning', 'attempt')),
      importanceOf(anomaly('critical', 'midstream'), 'opened'),
      importanceOf(anomaly('critical', 'established'), 'growing'),
      importanceOf(anomaly('critical', 'established'), 'opened'),
      importanceOf(ofNode('blind')),
    ];
    expect(order).toEqual(['flow', 'evidence', 'attempt', 'unproven', 'update', 'first', 'node']);
    expect(Object.keys(SHARES)).toEqual(order);
    const shares = Object.values(SHARES);
    expect(shares).toEqual(shares.toSorted((a, b) => a - b));
    expect(new Set(shares).size).toBe(shares.length);
  });

  it.each([
    [
      'the sum of attempts, also when it is new',
      importanceOf(ofNode('connection-attempts'), 'opened'),
      'attempt',
    ],
    ['a refused attempt', importanceOf(anomaly('warning', 'refused'), 'opened'), 'attempt'],
    ['a former member that was answered', importanceOf(anomaly('warning', 'closed'), 'opened'), 'first'],
    ['an activity that proves more', importanceOf(anomaly('critical', 'midstream'), 'raised'), 'first'],
    ['the last report of an activity', importanceOf(anomaly('critical', 'closed'), 'over'), 'update'],
    ['a new member, of which a source can name many', importanceOf(ofNode('new-member')), 'unproven'],
    ['a membership that is stale', importanceOf(ofNode('stale-membership')), 'node'],
    ['a membership that is not known', importanceOf(ofNode('unknown-membership')), 'node'],
    ['a port that nobody confirms', importanceOf(ofNode('unconfirmed-port')), 'node'],
  ])('puts %s in its place', (_name, importance, expected) => {
    expect(importance).toBe(expected);
  });
});
