import { describe, expect, it } from 'vitest';
import { clientAddress, sourceOf, trustedProxies } from '../../../collector/edge/source.ts';

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

describe('the client of a request', () => {
  const isTrusted = trustedProxies(['10.9.0.0/24', 'fd77::/64']);

  it.each<[string | undefined, string | string[] | undefined, string | undefined]>([
    ['192.0.2.1', undefined, '192.0.2.1'],
    ['192.0.2.1', '198.51.100.7', '192.0.2.1'],
    ['10.9.0.1', undefined, '10.9.0.1'],
    ['10.9.0.1', '', '10.9.0.1'],
    ['10.9.0.1', '192.0.2.1', '192.0.2.1'],
    ['::ffff:10.9.0.1', '192.0.2.1', '192.0.2.1'],
    ['fd77::1', '2001:db8::7', '2001:db8::7'],
    ['10.9.0.1', '192.0.2.1:4711', '192.0.2.1'],
    ['10.9.0.1', '[2001:db8::7]:4711', '2001:db8::7'],
    // What the client wrote stands to the left of what the proxy added.
    ['10.9.0.1', '198.51.100.7, 192.0.2.1', '192.0.2.1'],
    ['10.9.0.1', '10.9.0.7,192.0.2.1', '192.0.2.1'],
    ['10.9.0.1', ['198.51.100.7', '192.0.2.1'], '192.0.2.1'],
    // Two proxies of ours.
    ['10.9.0.1', '192.0.2.1, 10.9.0.2', '192.0.2.1'],
    ['10.9.0.1', '198.51.100.7, 192.0.2.1, 10.9.0.2', '192.0.2.1'],
    // Nothing but proxies, and what is no address.
    ['10.9.0.1', '10.9.0.3, 10.9.0.2', '10.9.0.3'],
    ['10.9.0.1', 'evil', '10.9.0.1'],
    ['10.9.0.1', 'evil, 10.9.0.2', '10.9.0.2'],
    ['10.9.0.1', '192.0.2.1,', '10.9.0.1'],
    ['10.9.0.1', 'unknown, [::1, 192.0.2.1:x', '10.9.0.1'],
    [undefined, '192.0.2.1', undefined],
  ])('from %j with X-Forwarded-For %j is %j', (remote, forwarded, client) => {
    expect(clientAddress(remote, forwarded, isTrusted)).toBe(client);
  });

  it('is the last of a chain that somebody made longer than any', () => {
    const chain = Array.from({ length: 5000 }, () => '10.9.0.2').join(', ');
    expect(clientAddress('10.9.0.1', `192.0.2.1, ${chain}`, isTrusted)).toBe('10.9.0.2');
  });

  it('is nobody that a range of another family covers', () => {
    expect(clientAddress('192.0.2.1', '198.51.100.7', trustedProxies(['::/0', 'no range']))).toBe(
      '192.0.2.1',
    );
  });
});
