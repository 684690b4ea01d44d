import { describe, expect, it } from 'vitest';
import { findWide } from '../../rules/wide.ts';

/** Every `step`-th of 256 ranges `N.0.0.0/bits`. */
function eights(count: number, bits: number, step = 1): string[] {
  return Array.from({ length: count }, (_, index) => `${index * step}.0.0.0/${bits}`);
}

describe('ranges that hold almost everybody', () => {
  it.each<[string, string[], string | undefined]>([
    ['none', [], undefined],
    ['one of each family', ['10.0.0.0/8', 'fd77::/16'], undefined],
    ['the private ones', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'], undefined],
    ['a range and its parts', ['10.0.0.0/8', '10.0.0.0/9', '10.128.0.0/9', '10.1.0.0/16'], undefined],
    ['the same one twice', ['10.0.0.0/8', '10.0.0.0/8'], undefined],
    ['single addresses', ['10.0.0.1', 'fd77::1', 'jump.example.com'], undefined],
    ['all of IPv4', ['0.0.0.0/0'], 'IPv4 /0'],
    ['half of it', ['128.0.0.0/1'], 'IPv4 /1'],
    ['the halves', ['0.0.0.0/1', '128.0.0.0/1'], 'IPv4 /0'],
    ['a /7', ['10.0.0.0/7'], 'IPv4 /7'],
    ['two neighbours', ['10.0.0.0/8', '11.0.0.0/8'], 'IPv4 /7'],
    ['two far from each other', ['10.0.0.0/8', '200.0.0.0/8'], 'IPv4 /7'],
    ['256 of /8', eights(256, 8), 'IPv4 /0'],
    ['a hole in each /8', eights(256, 9), 'IPv4 /1'],
    ['every other /8', eights(128, 8, 2), 'IPv4 /1'],
    ['all of IPv6', ['::/0'], 'IPv6 /0'],
    ['all addresses of this internet', ['2000::/3'], 'IPv6 /3'],
    ['a /15', ['fd76::/15'], 'IPv6 /15'],
    ['two /16', ['fd76::/16', 'fd79::/16'], 'IPv6 /15'],
    ['all but the mapped addresses', ['8000::/1', '::/1'], 'IPv6 /0'],
  ])('%s: %j', (_name, ranges, expected) => {
    const found = findWide(ranges);
    expect(found && `${found.family} /${found.bits}`).toBe(expected);
    // The order of the ranges says nothing.
    expect(findWide(ranges.toReversed())).toEqual(found);
  });
});
