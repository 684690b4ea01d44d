import { describe, expect, it } from 'vitest';
import type { Anomaly } from '../../../common/event.ts';
import { storyOf } from '../../../collector/incident/story.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

function anomaly(kind: Anomaly['kind'], changes: Partial<Anomaly> = {}): Anomaly {
  return { ...sampleAnomaly(1), kind, ...changes };
}

function fingerprintOn(kind: Anomaly['kind'], node: string): string {
  return storyOf(anomaly(kind, { node })).fingerprint;
}

describe('storyOf', () => {
  it.each([
    ['unexpected-peer', '10.77.9.66'],
    ['former-member', '10.77.9.66'],
    ['scan', '10.77.9.66'],
    ['unexpected-destination', '10.77.0.11'],
    ['blind', null],
  ] as const)('of %s is about %s', (kind, peer) => {
    expect(storyOf(anomaly(kind)).peer).toBe(peer);
  });

  it('is the same for a stranger on two nodes, and another for two blind nodes', () => {
    expect(fingerprintOn('unexpected-peer', 'w1')).toBe(fingerprintOn('unexpected-peer', 'w2'));
    expect(fingerprintOn('blind', 'w1')).not.toBe(fingerprintOn('blind', 'w2'));
    expect(fingerprintOn('foreign-process', 'w1')).not.toBe(fingerprintOn('foreign-process', 'w2'));
  });

  it.each(['stale-membership', 'unknown-membership'] as const)('of %s is one for all nodes', (kind) => {
    const on = (node: string) => storyOf(anomaly(kind, { node, flow: null })).fingerprint;
    expect(on('w1')).toBe(on('w2'));
  });

  it('of a scan does not depend on the service', () => {
    const { flow } = sampleAnomaly(1);
    if (flow === null) throw new Error('the sample has a flow');
    const elsewhere = { ...flow, plasmawatch: { ...flow.plasmawatch, service: 'gcs' } };
    const fingerprints = (kind: Anomaly['kind']) =>
      new Set([storyOf(anomaly(kind)).fingerprint, storyOf(anomaly(kind, { flow: elsewhere })).fingerprint]);
    expect(fingerprints('scan').size).toBe(1);
    expect(fingerprints('unexpected-peer').size).toBe(2);
  });

  it('of an anomaly without a flow is about its node', () => {
    expect(storyOf(anomaly('new-member', { flow: null }))).toMatchObject({
      fingerprint: '["new-member","node w1",null]',
      family: 'new-member',
      subject: 'node w1',
      peer: null,
      service: null,
    });
  });
});
