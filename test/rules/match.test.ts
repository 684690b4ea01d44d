import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sameAddress, type Address } from '../../common/address.ts';
import { Ruleset, type MembershipView, type Rule } from '../../rules/match.ts';
import { judgeNaively } from '../support/naive-matcher.ts';
import { sampleRule } from '../support/sample-rule.ts';

const NOON = Date.UTC(2026, 10, 23, 12);

function host(number: number): Address {
  return { w0: 0, w1: 0, w2: 0xffff, w3: 0x0a00_0000 + number };
}

function rule(name: string, from: string, to: string, rest: Partial<Rule> = {}): Rule {
  return sampleRule({ name, from: [from], to: [to], ...rest });
}

function createMembership(
  groups: Readonly<Record<string, readonly Address[]>>,
  former: readonly Address[] = [],
  unapproved: readonly Address[] = [],
): MembershipView {
  return {
    inGroup: (group, address) => (groups[group] ?? []).some((one) => sameAddress(one, address)),
    isFormerMember: (address) => former.some((one) => sameAddress(one, address)),
    isUnapproved: (address) => unapproved.some((one) => sameAddress(one, address)),
  };
}

function createRuleset(...rules: Rule[]): Ruleset {
  return new Ruleset({ rules, services: new Map(), groups: new Map() });
}

const node = host(1);
const peer = host(2);
const notebook = host(3);
const stranger = host(4);
const left = host(5);
const listed = host(6);
const membership = createMembership({ cluster: [node, peer], notebooks: [notebook] }, [left], [listed]);
const objectManager = ['object-manager'];

describe('Ruleset.judge', () => {
  const ruleset = createRuleset(
    rule('nodes', 'cluster', 'object-manager'),
    rule('users', 'notebooks', 'dashboard'),
    rule('former users', 'notebooks', 'gcs', { untilMs: NOON }),
    rule('late users', 'notebooks', 'serve', { hours: (timeMs) => timeMs > NOON }),
  );

  it.each([
    ['a node to a node', node, peer, objectManager, { allowed: true, rule: 'nodes', reason: 'allowed' }],
    [
      'a user to the service of the rule',
      notebook,
      node,
      ['dashboard'],
      { allowed: true, rule: 'users', reason: 'allowed' },
    ],
    [
      'one of several services at an endpoint',
      notebook,
      node,
      ['worker', 'dashboard'],
      { allowed: true, rule: 'users', reason: 'allowed' },
    ],
    [
      'a user to another service',
      notebook,
      node,
      objectManager,
      { allowed: false, rule: null, reason: 'wrong-service' },
    ],
    [
      'a user to a port without service',
      notebook,
      node,
      [],
      { allowed: false, rule: null, reason: 'wrong-service' },
    ],
    [
      'a user after the end of the rule',
      notebook,
      node,
      ['gcs'],
      { allowed: false, rule: 'former users', reason: 'expired' },
    ],
    [
      'a user outside the hours',
      notebook,
      node,
      ['serve'],
      { allowed: false, rule: 'late users', reason: 'outside-hours' },
    ],
    ['a stranger', stranger, node, objectManager, { allowed: false, rule: null, reason: 'no-rule' }],
    [
      'a node that has left',
      left,
      node,
      objectManager,
      { allowed: false, rule: null, reason: 'former-member' },
    ],
    [
      'a push to a node that has left',
      node,
      left,
      [],
      { allowed: false, rule: null, reason: 'former-member' },
    ],
    [
      'a node that is listed and not approved',
      listed,
      node,
      objectManager,
      { allowed: false, rule: null, reason: 'not-approved' },
    ],
    ['a push to a stranger', node, stranger, [], { allowed: false, rule: null, reason: 'no-rule' }],
    [
      "a push to the same port on a stranger's host",
      node,
      stranger,
      objectManager,
      { allowed: false, rule: null, reason: 'no-rule' },
    ],
  ])('judges %s', (_title, source, destination, services, verdict) => {
    expect(ruleset.judge({ source, destination, services, timeMs: NOON }, membership)).toEqual(verdict);
  });

  it('names the first rule that matches', () => {
    const twice = createRuleset(
      rule('ended', 'cluster', 'object-manager', { untilMs: NOON }),
      rule('first', 'cluster', 'object-manager'),
      rule('second', 'cluster', 'object-manager'),
    );
    const connection = { source: node, destination: peer, services: objectManager };
    expect(twice.judge({ ...connection, timeMs: NOON }, membership).rule).toBe('first');
    expect(twice.judge({ ...connection, timeMs: NOON - 1 }, membership).rule).toBe('ended');
  });

  it('asks the membership about the time of the packet', () => {
    const joining: MembershipView = {
      inGroup: (_group, _address, timeMs) => timeMs >= NOON,
      isFormerMember: () => false,
      isUnapproved: () => false,
    };
    const connection = { source: node, destination: peer, services: objectManager };
    expect(ruleset.judge({ ...connection, timeMs: NOON }, joining).allowed).toBe(true);
    expect(ruleset.judge({ ...connection, timeMs: NOON - 1 }, joining).allowed).toBe(false);
  });

  it('equals the naive matcher', () => {
    const groupNames = ['cluster', 'a', 'b', 'c'];
    const serviceNames = ['object-manager', 'gcs', 'dashboard'];
    const hosts = [0, 1, 2, 3, 4].map(host);
    const aRule = fc.record({
      from: fc.subarray(groupNames, { minLength: 1 }),
      to: fc.subarray(serviceNames, { minLength: 1 }),
      untilMs: fc.constantFrom(Infinity, Infinity, 3, 6),
      openFrom: fc.constantFrom(0, 0, 4),
    });
    const world = fc.record({
      rules: fc.array(aRule, { maxLength: 8 }),
      groups: fc.record(Object.fromEntries(groupNames.map((name) => [name, fc.subarray(hosts)]))),
      former: fc.subarray(hosts),
      unapproved: fc.subarray(hosts),
      source: fc.constantFrom(...hosts),
      destination: fc.constantFrom(...hosts),
      services: fc.subarray(serviceNames),
      timeMs: fc.nat(9),
    });
    fc.assert(
      fc.property(world, ({ rules, groups, former, unapproved, ...connection }) => {
        const compiled = rules.map(({ openFrom, ...rest }, index) =>
          rule(`rule ${index}`, '', '', {
            ...rest,
            hours: openFrom === 0 ? undefined : (timeMs) => timeMs >= openFrom,
          }),
        );
        const view = createMembership(groups, former, unapproved);
        expect(createRuleset(...compiled).judge(connection, view)).toEqual(
          judgeNaively(compiled, connection, view),
        );
      }),
      { numRuns: 2000 },
    );
  });
});
