import { describe, expect, it } from 'vitest';
import type { SourceState } from '../../../agent/membership/membership.ts';
import type { Member } from '../../../agent/membership/provider.ts';
import { findPortDisagreements } from '../../../cli/doctor/port-sources.ts';
import { membersView } from '../../support/fake-provider.ts';
import type { ServicePorts } from '../../../rules/schema.ts';

const AUTO: ReadonlyMap<string, ServicePorts> = new Map([['object-manager', 'auto']]);

function source(name: string, ...members: readonly Member[]): SourceState {
  return { group: 'cluster', source: name, members, ranges: 0, hasAnswered: true, ageMs: 0 };
}

function member(address: string, port: number, changes: Partial<Member> = {}): Member {
  const [made] = membersView(`${address}:${port}`).members;
  if (made === undefined) throw new Error(address);
  return { ...made, ...changes };
}

const details = (states: readonly SourceState[], services = AUTO): string[] =>
  findPortDisagreements(states, services).map(({ detail }) => detail);

describe('findPortDisagreements', () => {
  it('says who told which port, and that what is known goes before what is claimed', () => {
    const own = member('10.0.0.2', 45_019, { isLocal: true });
    const listed = member('10.0.0.2', 1, {
      ports: new Map(),
      claimedPorts: new Map([['object-manager', [33_059]]]),
    });
    expect(details([source('ray', own, listed)])).toEqual([
      'object-manager of 10.0.0.2: 45019 by the raylet of this node (counts), 33059 by ray (a claim, watched where no other service is)',
    ]);
  });

  it('says that both count where two sources know of a node', () => {
    expect(
      details([source('ray', member('10.0.0.3', 33_059)), source('file m.yaml', member('10.0.0.3', 43_800))]),
    ).toEqual(['object-manager of 10.0.0.3: 33059 by ray (counts), 43800 by file m.yaml (counts)']);
  });

  it('says nothing where all agree, and where the rules name the port', () => {
    const states = [
      source('ray', member('10.0.0.3', 33_059)),
      source('file m.yaml', member('10.0.0.3', 33_059)),
    ];
    expect(details(states)).toEqual([]);
    const different = [source('ray', member('10.0.0.3', 1)), source('file m.yaml', member('10.0.0.3', 2))];
    expect(details(different, new Map([['object-manager', [{ first: 1, last: 1 }]]]))).toEqual([]);
  });

  it('names so many nodes only', () => {
    const many = (port: number): Member[] =>
      Array.from({ length: 100 }, (_, index) => member(`10.0.1.${index}`, port));
    const found = details([source('ray', ...many(1)), source('file m.yaml', ...many(2))]);
    expect(found).toHaveLength(21);
    expect(found.at(-1)).toBe('and 80 more nodes of which sources tell different ports');
  });
});
