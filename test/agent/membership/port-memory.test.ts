import { describe, expect, it } from 'vitest';
import { addressKey } from '../../../agent/membership/address-history.ts';
import { PortMemory } from '../../../agent/membership/port-memory.ts';
import type { Member } from '../../../agent/membership/provider.ts';
import { membersView } from '../../support/fake-provider.ts';

const NOBODY: ReadonlySet<string> = new Set();

function members(...texts: string[]): readonly Member[] {
  return membersView(...texts).members;
}

function claimed(of: readonly Member[]): (readonly number[] | undefined)[] {
  return of.map(({ claimedPorts }) => claimedPorts?.get('object-manager'));
}

describe('PortMemory', () => {
  it('makes claims of what others say, beside what this agent has read and what they said before', () => {
    const memory = new PortMemory();
    memory.learn(members('10.0.0.1:33059'));
    const first = memory.claim(members('10.0.0.1:43800', '10.0.0.2:1000'), NOBODY);
    expect(first.map(({ ports }) => ports.size)).toEqual([0, 0]);
    expect(claimed(first).map((ports) => ports?.toSorted())).toEqual([[33_059, 43_800], [1000]]);
    const second = memory.claim(members('10.0.0.1:1', '10.0.0.2:1'), NOBODY);
    expect(claimed(second).map((ports) => ports?.toSorted((a, b) => a - b))).toEqual([
      [1, 33_059, 43_800],
      [1, 1000],
    ]);
  });

  it("takes nothing of what others say of this node's own ports", () => {
    const [own] = members('10.0.0.1:1');
    if (own?.addresses[0] === undefined) throw new Error();
    const [told] = new PortMemory().claim([own], new Set([addressKey(own.addresses[0])]));
    expect(told?.ports.size).toBe(0);
    expect(told?.claimedPorts).toBeUndefined();
  });

  it('keeps what this agent has read however many ports others name, and a bounded number of those', () => {
    const memory = new PortMemory();
    memory.learn(members('10.0.0.1:33059'));
    let told: readonly Member[] = [];
    for (let port = 1; port <= 1000; port++) told = memory.claim(members(`10.0.0.1:${port}`), NOBODY);
    const ports = claimed(told)[0] ?? [];
    expect(ports).toContain(33_059);
    expect(ports).toContain(1000);
    expect(ports.length).toBeLessThanOrEqual(17);
  });
});
