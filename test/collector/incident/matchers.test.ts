import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compileMatchers,
  compilePattern,
  labelledMatchersSchema,
  matchersSchema,
  type LabelledMatchers,
  type Subject,
} from '../../../collector/incident/matchers.ts';
import { nodeLabelsOf } from '../../../collector/incident/node-labels.ts';
import { sampleIncident } from '../../support/collector-parts.ts';
import { isLike, matchNaively } from '../../support/naive-matchers.ts';

const LABELS = { w1: { team: 'ml', zone: 'a' }, w2: { team: 'ml' }, g1: { team: 'ops' } };
const labelsOf = (node: string) => LABELS[node as keyof typeof LABELS] ?? {};

const someOf = <Value>(...values: Value[]) =>
  fc.option(fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 }), { nil: undefined });

const matchers: fc.Arbitrary<LabelledMatchers> = fc.record({
  kind: someOf('scan' as const, 'unexpected-peer' as const, 'blind' as const),
  severity: someOf('info' as const, 'warning' as const, 'critical' as const),
  peer: someOf('10.20.0.0/16', '10.20.1.0/24', '10.0.0.7', '0.0.0.0/0', '128.0.0.0/1'),
  service: someOf('object-manager', 'gcs'),
  node: someOf('w1', 'w*', '*', 'g1', '*1'),
  labels: fc.option(
    fc.dictionary(fc.constantFrom('team', 'zone'), fc.constantFrom('ml', 'ops', 'a'), { maxKeys: 2 }),
    { nil: undefined },
  ),
});

const subjects: fc.Arbitrary<Subject> = fc
  .record({
    kind: fc.constantFrom('scan' as const, 'unexpected-peer' as const, 'blind' as const),
    breadth: fc.constantFrom('story' as const, 'peer' as const, 'kind' as const),
    severity: fc.constantFrom('info' as const, 'warning' as const, 'critical' as const),
    peer: fc.constantFrom(null, '10.20.0.9', '10.20.1.1', '10.0.0.7', '200.1.1.1', 'no address'),
    service: fc.constantFrom(null, 'object-manager', 'gcs'),
    nodes: fc.uniqueArray(fc.constantFrom('w1', 'w2', 'g1', 'unknown'), { minLength: 1 }),
    peerCount: fc.constantFrom(1, 1, 4),
    serviceCount: fc.constantFrom(1, 1, 2),
    unlisted: fc.constantFrom(0, 0, 3),
  })
  .map(({ unlisted, ...subject }) => Object.assign({ nodeCount: subject.nodes.length + unlisted }, subject));

describe('matchers', () => {
  it.each(['all', 'any'] as const)(
    'of %s that an incident is about decide as a naive reading does',
    (extent) => {
      fc.assert(
        fc.property(matchers, subjects, (given, subject) => {
          const isMatching = compileMatchers(given, { extent, labelsOf });
          expect(isMatching(subject)).toBe(matchNaively(given, subject, { extent, labels: LABELS }));
        }),
        { numRuns: 2000 },
      );
    },
  );

  it('know addresses of both families by their numbers', () => {
    const isMatching = compileMatchers({ peer: ['fd00::/8'] }, { extent: 'all', labelsOf });
    expect(isMatching(sampleIncident({ peer: 'fd77::1' }))).toBe(true);
    expect(isMatching(sampleIncident({ peer: 'fe80::1' }))).toBe(false);
    expect(isMatching(sampleIncident({ peer: '10.0.0.1' }))).toBe(false);
  });

  it('of all are not fooled by an incident that has grown beyond what it names', () => {
    const matches = (given: LabelledMatchers, changes: Parameters<typeof sampleIncident>[0]) =>
      compileMatchers(given, { extent: 'all', labelsOf })(sampleIncident(changes));
    const peer = ['10.77.0.0/16'];
    expect(matches({ peer }, { peer: '10.77.9.66', peerCount: 1 })).toBe(true);
    expect(matches({ peer }, { peer: '10.77.9.66', peerCount: 2, breadth: 'kind' })).toBe(false);
    const service = ['object-manager'];
    expect(matches({ service }, { serviceCount: 1 })).toBe(true);
    expect(matches({ service }, { serviceCount: 5, breadth: 'peer' })).toBe(false);
    expect(matches({ kind: ['unexpected-peer'] }, { breadth: 'peer' })).toBe(false);
    expect(matches({ kind: ['unexpected-peer', 'scan'] }, { breadth: 'peer' })).toBe(true);
  });

  it('of all say nothing of nodes that an incident does not list', () => {
    const subject = sampleIncident({ nodes: ['w1', 'w2'], nodeCount: 3 });
    expect(compileMatchers({ node: ['*'] }, { extent: 'all', labelsOf })(subject)).toBe(false);
    expect(compileMatchers({ node: ['w2'] }, { extent: 'any', labelsOf })(subject)).toBe(true);
  });
});

describe('the pattern of a name', () => {
  it('stands for what a regular expression of it does', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 });
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 6 });
    fc.assert(
      fc.property(text, pattern, (name, given) => {
        expect(compilePattern(given)(name)).toBe(isLike(name, given));
      }),
      { numRuns: 5000 },
    );
  });
});

describe('the form of matchers', () => {
  it('takes a value or a list of them', () => {
    expect(matchersSchema.parse({ kind: 'scan', node: ['w1', 'gpu-*'] })).toEqual({
      kind: ['scan'],
      node: ['w1', 'gpu-*'],
    });
  });

  it.each([
    [{}, 'expected one of `kind`, `severity`, `peer`, `service` or `node` at least'],
    [{ peer: '10.20.0.1/16' }, 'has bits set beyond its length; write `10.20.0.0/16`'],
    [{ peer: 'everybody' }, 'expected an address range'],
    [{ kind: [] }, ''],
    [{ node: 'a b' }, 'expected the name of a node such as `w1` or `gpu-*`'],
    [{ labels: { team: 'ml' } }, ''],
  ])('refuses %j', (value, message) => {
    const result = matchersSchema.safeParse(value);
    expect(result.success).toBe(false);
    expect(JSON.stringify(result.error?.issues)).toContain(message);
  });

  it('takes labels in the settings, also alone', () => {
    expect(labelledMatchersSchema.safeParse({ labels: { team: 'ml' } }).success).toBe(true);
    expect(labelledMatchersSchema.safeParse({}).success).toBe(false);
  });
});

describe('labels of nodes', () => {
  it('come from all entries that are about a node, the later one last', () => {
    const labelsOfNode = nodeLabelsOf([
      { nodes: ['*'], labels: { zone: 'a', team: 'infra' } },
      { nodes: ['gpu-*', 'w1'], labels: { team: 'ml' } },
    ]);
    expect(labelsOfNode('gpu-7')).toEqual({ zone: 'a', team: 'ml' });
    expect(labelsOfNode('w2')).toEqual({ zone: 'a', team: 'infra' });
    expect(nodeLabelsOf([])('w1')).toEqual({});
  });
});
