import { describe, expect, it } from 'vitest';
import { AddressHistory } from '../../../agent/membership/address-history.ts';
import type { Member } from '../../../agent/membership/provider.ts';
import { parseAddress } from '../../../common/address.ts';

const ADDRESS = parseAddress('10.0.0.1') ?? never();

/** Members at one address; `counted` is called each time that one's id is asked for. */
function members(prefix: string, count: number, counted: () => void = () => {}): Member[] {
  return Array.from({ length: count }, (_, index) => ({
    get id() {
      counted();
      return `${prefix}${index}`;
    },
    addresses: [ADDRESS],
    ports: new Map(),
    source: 'test',
  }));
}

describe('AddressHistory', () => {
  it('takes a view of 20,000 nodes at one address in steps that grow with their number alone', () => {
    const history = new AddressHistory();
    let steps = 0;
    const count = (): void => void steps++;
    for (const view of ['a', 'b', 'c']) history.update(members(view, 20_000, count), 0, 1000);
    // Once for each member of each view.
    expect(steps).toBeLessThan(3 * 20_000 * 3);
    expect(history.of(ADDRESS).length).toBeLessThanOrEqual(64 + 8);
  });

  it('has the address as a member however many are listed there, and until the last is gone', () => {
    const history = new AddressHistory();
    history.update(members('a', 100), -Infinity, 0);
    expect(history.of(ADDRESS)).toHaveLength(64);
    history.update(members('a', 1), 10, 10);
    expect(history.of(ADDRESS).filter(({ untilMs }) => untilMs === Infinity)).toMatchObject([
      { member: { id: 'a0' }, sinceMs: -Infinity },
    ]);
    history.update([], 20, 20);
    expect(history.of(ADDRESS).at(-1)).toMatchObject({ member: { id: 'a0' }, untilMs: 20 });
  });
});

function never(): never {
  throw new Error('no address');
}
