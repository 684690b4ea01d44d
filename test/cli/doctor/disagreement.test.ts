import { describe, expect, it } from 'vitest';
import type { SourceState } from '../../../agent/membership/membership.ts';
import type { Member } from '../../../agent/membership/provider.ts';
import { findDisagreements } from '../../../cli/doctor/disagreement.ts';
import { membersView } from '../../support/fake-provider.ts';

function source(name: string, members: readonly Member[], hasAnswered = true): SourceState {
  return { group: 'cluster', source: name, members, ranges: 0, hasAnswered, ageMs: 0 };
}

function listed(...addresses: string[]): readonly Member[] {
  return membersView(...addresses).members;
}

function details(...states: SourceState[]): string[] {
  return findDisagreements(states).map(({ detail }) => detail);
}

describe('findDisagreements', () => {
  it('names the addresses that not all sources tell, and who does', () => {
    const ray = source('ray', listed('10.0.0.1', '10.0.0.2'));
    const pods = source('kubernetes raycluster-a', listed('10.0.0.1', '10.0.0.3'));
    expect(details(ray, pods)).toEqual([
      'cluster: the sources disagree: 10.0.0.2 by ray only, 10.0.0.3 by kubernetes raycluster-a only',
    ]);
  });

  it('says nothing of sources that agree, of one alone, and of those that have not answered', () => {
    const ray = source('ray', listed('10.0.0.1'));
    expect(details(ray)).toEqual([]);
    expect(details(ray, source('dns workers', listed('10.0.0.1')))).toEqual([]);
    expect(details(ray, source('dns workers', [], false))).toEqual([]);
  });

  it('compares no ranges, hosts and files, and not what this node knows by itself', () => {
    const own = listed('10.0.0.9').map((member) => Object.assign({}, member, { isLocal: true as const }));
    const ray = source('ray', [...own, ...listed('10.0.0.1')]);
    expect(
      details(ray, source('dns workers', listed('10.0.0.1')), source('hosts', listed('10.0.0.7'))),
    ).toEqual([]);
  });

  it('names twenty at most', () => {
    const many = listed(...Array.from({ length: 25 }, (_, index) => `10.0.1.${index}`));
    expect(details(source('ray', many), source('dns workers', []))[0]).toMatch(/, and 5 more$/);
  });
});
