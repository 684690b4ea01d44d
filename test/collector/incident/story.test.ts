import { describe, expect, it } from 'vitest';
import { ANOMALY_KINDS, type Anomaly } from '../../../common/event.ts';
import { storyOf } from '../../../collector/incident/story.ts';
import { titleOf, type Titled } from '../../../collector/incident/title.ts';
import { sampleAnomaly } from '../../support/sample-report.ts';

function anomaly(kind: Anomaly['kind'], changes: Partial<Anomaly> = {}): Anomaly {
  return { ...sampleAnomaly(1), kind, ...changes };
}

function titled(kind: Anomaly['kind'], changes: Partial<Titled> = {}): Titled {
  const story = storyOf(anomaly(kind));
  return {
    ...story,
    kind,
    breadth: 'story',
    peerCount: 1,
    nodes: ['w1'],
    nodeCount: 1,
    highlights: [],
    ...changes,
  };
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

  it('is one for all nodes that a head does not answer', () => {
    const stale = (node: string) => storyOf(anomaly('stale-membership', { node, flow: null })).fingerprint;
    expect(stale('w1')).toBe(stale('w2'));
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

describe('titleOf', () => {
  it.each([
    ['unexpected-peer', 'Unexpected peer 10.77.9.66 talks to the object manager on w1'],
    [
      'unexpected-destination',
      'Unexpected destination 10.77.0.11: connections to the object manager there from w1',
    ],
    ['former-member', 'Former member 10.77.9.66 talks to the object manager on w1'],
    ['new-member', 'New member 10.77.9.66 seen by w1'],
    ['foreign-process', 'A foreign process uses the port of the object manager on w1'],
    ['scan', '10.77.9.66 scans w1'],
    ['not-ray', '10.77.9.66 does not speak Ray to the object manager on w1'],
    ['volume', '10.77.9.66 moves more than allowed through the object manager on w1'],
    ['blind', 'Node w1 is partly blind'],
  ] as const)('of %s is a sentence', (kind, title) => {
    expect(titleOf(titled(kind))).toBe(title);
  });

  it.each([
    ['unexpected-peer', '7 unexpected peers talk to the object manager on w1 and 2 more nodes'],
    ['missing', 'Nothing is heard of the agents on 3 nodes: w1 and 2 more nodes'],
    ['blind', '3 nodes are partly blind: w1 and 2 more nodes'],
  ] as const)('of many stories of the kind %s counts them', (kind, title) => {
    expect(titleOf(titled(kind, { breadth: 'kind', peerCount: 7, nodeCount: 3 }))).toBe(title);
  });

  it('of a peer that scans names no service', () => {
    expect(titleOf(titled('unexpected-peer', { breadth: 'peer' }))).toBe('10.77.9.66 scans w1');
  });

  it('has one for every kind, and none with a control character of a peer', () => {
    for (const kind of ANOMALY_KINDS) {
      const title = titleOf({
        fingerprint: '',
        kind,
        breadth: 'story',
        peer: null,
        peerCount: 0,
        service: 'a\nb',
        nodes: ['w\u001b[31m1'],
        nodeCount: 3,
        highlights: [],
      });
      expect(title).not.toMatch(/\p{Cc}/u);
      expect(title).toContain('and 2 more nodes');
    }
  });
});
