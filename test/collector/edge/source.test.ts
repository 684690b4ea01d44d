import { expect, it } from 'vitest';
import { sourceOf } from '../../../collector/edge/source.ts';

it.each([
  ['10.0.0.5', '10.0.0.5'],
  ['::ffff:10.0.0.5', '10.0.0.5'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['fe80::1%eth0', 'fe80::/64'],
  ['::1', '::/64'],
  [undefined, 'unknown'],
])('a connection from %s counts for %s', (address, source) => {
  expect(sourceOf(address)).toBe(source);
});
