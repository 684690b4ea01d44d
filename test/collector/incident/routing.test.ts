import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectorConfigSchema } from '../../../collector/config.ts';
import { audienceOf } from '../../../collector/incident/audiences.ts';
import { compileRoutes, routed } from '../../../collector/incident/routing.ts';
import type { RouteConfig } from '../../../collector/incident/routing-config.ts';
import { parseYaml } from '../../../common/config-file.ts';
import { sampleIncident } from '../../support/collector-parts.ts';
import { routeNaively } from '../../support/naive-matchers.ts';

const RECEIVERS = `receivers:
  - { name: on-call, type: stdout, minimumSeverity: critical }
  - { name: ml-team, type: stdout, minimumSeverity: info }
  - { name: archive, type: stdout, minimumSeverity: info }
`;

function load(routes: string) {
  return parseYaml(collectorConfigSchema, `${RECEIVERS}${routes}`, 'collector.yaml');
}

/** Whom the settings tell of an incident. */
function toldOf(routes: string, changes: Parameters<typeof sampleIncident>[0]): readonly string[] {
  const { value, diagnostics } = load(routes);
  expect(diagnostics).toEqual([]);
  if (value === undefined) throw new Error('no settings');
  const labelsOf = (node: string) => (node.startsWith('gpu-') ? { team: 'ml' } : {});
  return routed(value.routes, labelsOf, audienceOf(value.receivers))(sampleIncident(changes));
}

describe('routes', () => {
  const ROUTES = `routes:
  - { match: { severity: critical }, receivers: [on-call], continue: true }
  - match: { labels: { team: ml } }
    receivers: [ml-team]
    routes:
      - { match: { kind: new-member }, receivers: [] }
  - { match: { service: [gcs, dashboard] }, receivers: [archive] }
`;

  it.each([
    ['the first that matches', { severity: 'warning', nodes: ['gpu-1'] }, ['ml-team']],
    [
      'the next as well, after `continue`',
      { severity: 'critical', nodes: ['gpu-1'] },
      ['on-call', 'ml-team'],
    ],
    ['one of them for one of the nodes', { severity: 'warning', nodes: ['w1', 'gpu-1'] }, ['ml-team']],
    ['nobody, where a route below says so', { severity: 'info', kind: 'new-member', nodes: ['gpu-1'] }, []],
    ['another one', { severity: 'info', service: 'dashboard' }, ['archive']],
    [
      'nobody below the minimum severity',
      { severity: 'warning', service: 'gcs', nodes: ['w1'] },
      ['archive'],
    ],
    ['everybody, where none matches', { severity: 'info', nodes: ['w1'] }, ['ml-team', 'archive']],
  ] as const)('tell %s', (_what, changes, expected) => {
    expect(toldOf(ROUTES, changes)).toEqual(expected);
  });

  it('never tell a receiver below its minimum severity', () => {
    expect(toldOf('routes: [{ receivers: [on-call] }]', { severity: 'warning' })).toEqual([]);
    expect(toldOf('', { severity: 'warning' })).toEqual(['ml-team', 'archive']);
  });

  it('decide as a naive reading of the tree does', () => {
    const LABELS = { w1: { team: 'ml' } };
    const leaf = fc.record({
      match: fc.option(
        fc.record({
          severity: fc.option(fc.subarray(['info', 'warning', 'critical'] as const, { minLength: 1 }), {
            nil: undefined,
          }),
          service: fc.option(fc.constantFrom<string[][]>(['gcs'], ['gcs', 'object-manager']), {
            nil: undefined,
          }),
          node: fc.option(fc.constantFrom<string[][]>(['w1'], ['g*']), { nil: undefined }),
          labels: fc.option(fc.constant({ team: 'ml' }), { nil: undefined }),
        }),
        { nil: undefined },
      ),
      receivers: fc.subarray(['a', 'b', 'c', 'd']),
      continue: fc.boolean(),
    });
    const inner = fc.tuple(leaf, fc.option(fc.array(leaf, { maxLength: 3 }), { nil: undefined }));
    const route = inner.map(([self, routes]): RouteConfig => Object.assign({ routes }, self));
    const subject = fc.record({
      severity: fc.constantFrom('info' as const, 'warning' as const, 'critical' as const),
      service: fc.constantFrom(null, 'gcs', 'object-manager'),
      nodes: fc.subarray(['w1', 'g1', 'x'], { minLength: 1 }),
    });
    const labelsOf = (node: string) => LABELS[node as keyof typeof LABELS] ?? {};
    fc.assert(
      fc.property(fc.array(route, { maxLength: 4 }), subject, (routes, changes) => {
        const incident = sampleIncident({ ...changes, nodeCount: changes.nodes.length });
        const chosen = compileRoutes(routes, labelsOf)(incident);
        expect(chosen && [...chosen].toSorted()).toEqual(routeNaively(routes, incident, LABELS));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the settings of routes', () => {
  it('name receivers that exist, or say where they do not', () => {
    const { value, diagnostics } = load(`routes:
  - receivers: [archive]
    routes:
      - { match: { kind: scan }, receivers: [archive, on-cal] }
`);
    expect(value).toBeUndefined();
    expect(diagnostics).toMatchObject([
      {
        line: 8,
        column: 55,
        message: '`receivers`: there is no receiver `on-cal`; did you mean `on-call`?',
      },
    ]);
  });

  it('may be nested, but not without end', () => {
    const nested = (depth: number): string =>
      depth === 0 ? '' : `, routes: [{ receivers: []${nested(depth - 1)} }]`;
    expect(load(`routes: [{ receivers: []${nested(4)} }]`).diagnostics).toEqual([]);
    expect(load(`routes: [{ receivers: []${nested(5)} }]`).diagnostics).toMatchObject([
      { message: '`routes`: routes may be nested 5 deep at most' },
    ]);
  });

  it.each([
    ['routes: [{ match: { kind: scam }, receivers: [] }]', '`scan`, `not-ray`, `volume`'],
    ['routes: [{ match: {}, receivers: [] }]', 'expected one of `kind`'],
    ['routes: [{ match: { kind: scan } }]', 'missing key `receivers`'],
  ])('are refused with the place: %s', (routes, message) => {
    const { diagnostics } = load(routes);
    expect(diagnostics[0]?.message).toContain(message);
    expect(diagnostics[0]?.line).toBe(5);
  });
});
