import { describe, expect, it } from 'vitest';
import { parseAddress, parsePrefix, prefixContains, type Address } from '../../common/address.ts';
import { parseYaml } from '../../common/config-file.ts';
import { compileRules } from '../../rules/compile.ts';
import { explain, type Explanation } from '../../rules/explain.ts';
import type { MembershipView } from '../../rules/match.ts';
import { rulesSchema } from '../../rules/schema.ts';

/** Listed by Ray, and by no rule. */
const LISTED = '10.77.9.66';
const TEXT = `
version: 1
groups:
  cluster: { cidr: [10.77.0.0/24] }
  notebooks: { cidr: [10.20.0.0/24] }
allow:
  - { name: nodes, from: cluster, to: object-manager }
  - { name: users, from: notebooks, to: dashboard, hours: "mon-fri 08:00-18:00", until: 2027-03-01 }
`;
const { value, locate } = parseYaml(rulesSchema, TEXT, 'rules.yaml');
if (value === undefined) throw new Error('the rules of this test are wrong');
const ruleset = compileRules([{ file: 'rules.yaml', content: value, locate }]);

const membership: MembershipView = {
  inGroup: (group, { w0, w1, w2, w3 }) =>
    (ruleset.groups.get(group)?.cidr ?? []).some((cidr) => {
      const prefix = parsePrefix(cidr);
      return prefix !== undefined && prefixContains(prefix, w0, w1, w2, w3);
    }),
  isFormerMember: () => false,
  isUnapproved: ({ w3 }) => w3 === addressOf(LISTED).w3,
};

function addressOf(text: string): Address {
  const address = parseAddress(text);
  if (address === undefined) throw new Error(`${text} is no address`);
  return address;
}

function ask(from: string, to: string, target: number | string, time = '2026-11-23T12:00:00Z'): Explanation {
  const question = { source: addressOf(from), destination: addressOf(to), target, timeMs: Date.parse(time) };
  const ports = new Map([
    [8265, ['dashboard']],
    [43_800, ['object-manager']],
  ]);
  return explain(question, { ruleset, membership, servicesAt: (_address, port) => ports.get(port) ?? [] });
}

describe('explain', () => {
  it('names the rule that allows, and needs nothing', () => {
    expect(ask('10.20.0.7', '10.77.0.11', 8265)).toMatchObject({
      verdict: { allowed: true, rule: 'users', reason: 'allowed' },
      rule: { name: 'users', file: 'rules.yaml', line: 8 },
      groups: ['notebooks'],
      isToMember: true,
      services: ['dashboard'],
      needed: [],
    });
  });

  it('takes the name of a service for a port', () => {
    expect(ask('10.20.0.7', '10.77.0.11', 'dashboard').verdict.allowed).toBe(true);
  });

  it.each([
    [
      'a rule has ended',
      '10.20.0.7',
      '10.77.0.11',
      8265,
      '2027-03-02T12:00:00Z',
      'expired',
      ['rule `users` ended 2027-03-02T00:00:00.000Z: move its `until`'],
    ],
    [
      'it is not the hour',
      '10.20.0.7',
      '10.77.0.11',
      8265,
      '2026-11-23T20:00:00Z',
      'outside-hours',
      ['rule `users` holds mon-fri 08:00-18:00 only: wait, or widen its `hours`'],
    ],
    [
      'the destination is a stranger',
      '10.77.0.11',
      '192.0.2.1',
      43_800,
      undefined,
      'no-rule',
      [expect.stringContaining('192.0.2.1 is no member of `cluster` as seen from here')],
    ],
    [
      'nothing is watched at the port',
      '10.77.0.11',
      '10.77.0.12',
      9999,
      undefined,
      'wrong-service',
      ['no watched service is at port 9999: name it under `services`, and a rule `to` it'],
    ],
    [
      'the service is another',
      '10.20.0.7',
      '10.77.0.12',
      43_800,
      undefined,
      'wrong-service',
      ['10.20.0.7 in `cluster`, for rule `nodes`', 'a rule from `notebooks` to `object-manager`'],
    ],
    [
      'the source is listed and not approved',
      LISTED,
      '10.77.0.12',
      43_800,
      undefined,
      'not-approved',
      [
        '10.77.9.66 is listed as a member, and `members: approved` asks for more: write `approved: { hosts: [10.77.9.66] }`',
      ],
    ],
    [
      'the destination is listed and not approved',
      '10.77.0.12',
      LISTED,
      43_800,
      undefined,
      'not-approved',
      [expect.stringContaining('10.77.9.66 is listed as a member')],
    ],
    [
      'the source is a stranger',
      '192.0.2.1',
      '10.77.0.12',
      43_800,
      undefined,
      'no-rule',
      ['192.0.2.1 in `cluster`, for rule `nodes`', 'a rule from a group with 192.0.2.1 to `object-manager`'],
    ],
    [
      'no rule is about the service',
      '10.77.0.11',
      '10.77.0.12',
      'gcs',
      undefined,
      'wrong-service',
      ['a rule from `cluster` to `gcs`'],
    ],
  ])('says what is needed where %s', (_title, from, to, target, time, reason, needed) => {
    const explanation = ask(from, to, target, time);
    expect(explanation.verdict).toMatchObject({ allowed: false, reason });
    expect(explanation.needed).toEqual(needed);
  });
});
