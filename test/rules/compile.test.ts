import { describe, expect, it } from 'vitest';
import { parseYaml } from '../../common/config-file.ts';
import { compileRules } from '../../rules/compile.ts';
import type { Ruleset } from '../../rules/match.ts';
import { rulesSchema } from '../../rules/schema.ts';

function compile(text: string, file = '/etc/plasmawatch/rules.yaml'): Ruleset {
  const { value, diagnostics, locate } = parseYaml(rulesSchema, `version: 1\n${text}`, file);
  if (value === undefined) throw new Error(JSON.stringify(diagnostics));
  return compileRules([{ file, content: value, locate }]);
}

describe('compileRules', () => {
  it('watches the object manager when nothing is said', () => {
    const { services, groups, rules } = compile('');
    expect(services).toEqual(new Map([['object-manager', 'auto']]));
    expect(groups).toEqual(new Map([['cluster', { ray: 'auto' }]]));
    expect(rules).toEqual([]);
  });

  it('keeps the headers of 16 packets as evidence when nothing is said', () => {
    expect(compile('').evidence).toEqual({ packets: 16, payloadBytes: 0 });
    expect(compile('evidence: { payload: 64 }').evidence).toEqual({ packets: 16, payloadBytes: 64 });
    expect(compile('evidence: { packets: 0 }').evidence).toEqual({ packets: 0, payloadBytes: 0 });
  });

  it("watches the services that are named, and those that a rule refers to: Ray's by themselves", () => {
    const { services } = compile(
      'services: { object-manager: [8076, 9000-9002], metrics: 9100-9110, gcs: auto }\n' +
        'allow: [{ name: users, from: cluster, to: [dashboard, worker, metrics, node-manager] }]',
    );
    expect(services).toEqual(
      new Map<string, unknown>([
        [
          'object-manager',
          [
            { first: 8076, last: 8076 },
            { first: 9000, last: 9002 },
          ],
        ],
        ['metrics', [{ first: 9100, last: 9110 }]],
        ['gcs', 'auto'],
        ['dashboard', 'auto'],
        ['worker', 'auto'],
        ['node-manager', 'auto'],
      ]),
    );
  });

  it('reads a members file relative to the rule file', () => {
    const { groups } = compile(
      'groups: { cluster: { file: nodes.yaml }, others: { file: /srv/others.yaml } }',
    );
    expect([...groups.values()].map(({ file }) => file)).toEqual([
      '/etc/plasmawatch/nodes.yaml',
      '/srv/others.yaml',
    ]);
  });

  it.each([
    ['2027-03-01', '2027-03-02T00:00:00.000Z'],
    ['2028-02-29', '2028-03-01T00:00:00.000Z'],
    ['2027-03-01T12:00:00Z', '2027-03-01T12:00:00.000Z'],
    ['2027-03-01T12:00:00+02:00', '2027-03-01T10:00:00.000Z'],
  ])('ends a rule `until: %s` at %s', (until, end) => {
    const [rule] = compile(`allow: [{ name: a, from: cluster, to: gcs, until: "${until}" }]`).rules;
    expect(new Date(rule?.untilMs ?? 0).toISOString()).toBe(end);
  });

  it('keeps who answers for a rule, and why it is there', () => {
    const [rule] = compile(
      'allow: [{ name: a, from: [cluster], to: gcs, owner: ops, reason: because, mode: audit }]',
    ).rules;
    expect(rule).toMatchObject({
      from: ['cluster'],
      to: ['gcs'],
      owner: 'ops',
      reason: 'because',
      mode: 'audit',
      untilMs: Infinity,
    });
  });

  it('compiles hours once, for any time', () => {
    const [rule] = compile('allow: [{ name: a, from: cluster, to: gcs, hours: "mon 08:00-09:00" }]').rules;
    expect(rule?.hours?.(Date.parse('2026-11-23T08:30:00Z'))).toBe(true);
    expect(rule?.hours?.(Date.parse('2026-11-24T08:30:00Z'))).toBe(false);
  });
});
