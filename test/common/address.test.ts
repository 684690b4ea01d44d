import { isIPv4, isIPv6 } from 'node:net';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatAddress,
  formatPrefix,
  isCanonicalPrefix,
  isIpv4,
  isLoopback,
  isMappedOnWire,
  parseAddress,
  parseFlowAddress,
  parsePrefix,
  prefixContains,
  sameAddress,
  type Address,
  type Prefix,
} from '../../common/address.ts';

const ipv4Words = (w3: number): Address => ({ w0: 0, w1: 0, w2: 0xffff, w3: w3 | 0 });
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const address = fc.oneof(
  word.map(ipv4Words),
  fc.record({ w0: word, w1: word, w2: word, w3: word }),
  // Addresses with long runs of zeros, where the shortening of IPv6 has its corners.
  fc.array(fc.constantFrom(0, 0, 0, 1, 0xffff), { minLength: 8, maxLength: 8 }).map((groups) => {
    const at = (index: number): number => ((groups[index] ?? 0) << 16) | (groups[index + 1] ?? 0);
    return { w0: at(0), w1: at(2), w2: at(4), w3: at(6) };
  }),
);

function parsed(text: string): Address {
  const found = parseAddress(text);
  if (found === undefined) throw new Error(`${text} is no address`);
  return found;
}

function parsedPrefix(text: string): Prefix {
  const found = parsePrefix(text);
  if (found === undefined) throw new Error(`${text} is no prefix`);
  return found;
}

/** The 128 bits as text. */
function bitsOf({ w0, w1, w2, w3 }: Address): string {
  return [w0, w1, w2, w3].map((each) => (each >>> 0).toString(2).padStart(32, '0')).join('');
}

describe('parseAddress', () => {
  it.each([
    ['0.0.0.0', ipv4Words(0)],
    ['10.77.0.11', ipv4Words(0x0a4d_000b)],
    ['255.255.255.255', ipv4Words(0xffff_ffff)],
    ['::', { w0: 0, w1: 0, w2: 0, w3: 0 }],
    ['::1', { w0: 0, w1: 0, w2: 0, w3: 1 }],
    ['fd77::a', { w0: 0xfd77_0000 | 0, w1: 0, w2: 0, w3: 10 }],
    ['2001:db8:1:2:3:4:5:6', { w0: 0x2001_0db8, w1: 0x0001_0002, w2: 0x0003_0004, w3: 0x0005_0006 }],
    ['1::', { w0: 0x0001_0000, w1: 0, w2: 0, w3: 0 }],
    ['64:ff9b::10.0.0.1', { w0: 0x0064_ff9b, w1: 0, w2: 0, w3: 0x0a00_0001 }],
  ])('reads %s', (text, words) => {
    expect(parseAddress(text)).toEqual(words);
  });

  it('reads an IPv4-mapped address as the IPv4 address', () => {
    expect(parseAddress('::ffff:10.77.0.11')).toEqual(parseAddress('10.77.0.11'));
    expect(parseAddress('::ffff:a4d:b')).toEqual(parseAddress('10.77.0.11'));
  });

  it.each([
    '',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '10.0.0.1/8',
    ' 10.0.0.1',
    ':::',
    '1::2::3',
    'fe80::1%eth0',
    'host',
  ])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('takes exactly what the platform takes for an address, zones aside, and never throws', () => {
    const nearAddresses = fc.stringMatching(/^[0-9a-f:.]{0,20}$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), nearAddresses), (text) => {
        const isAddress = isIPv4(text) || (isIPv6(text) && !text.includes('%'));
        expect(parseAddress(text) !== undefined).toBe(isAddress);
      }),
    );
  });
});

describe('parseFlowAddress', () => {
  it.each(['::ffff:10.77.0.11', '::ffff:a4d:b', '0:0:0:0:0:ffff:10.77.0.11'])(
    'reads %s as an address of an IPv6 packet, and writes it so',
    (text) => {
      const address = parseFlowAddress(text);
      if (address === undefined) throw new Error('no address');
      expect([isIpv4(address), isMappedOnWire(address)]).toEqual([false, true]);
      expect(formatAddress(address)).toBe('::ffff:10.77.0.11');
      const { w0, w1, w2, w3 } = address;
      for (const range of ['0.0.0.0/0', '10.0.0.0/8', '10.77.0.11']) {
        expect(prefixContains(parsedPrefix(range), w0, w1, w2, w3)).toBe(false);
      }
      expect(prefixContains(parsedPrefix('::/0'), w0, w1, w2, w3)).toBe(true);
    },
  );

  // IPv4-compatible, translated, NAT64, 6to4, ISATAP, and the neighbours of the mapped ones.
  it.each([
    '10.77.0.11',
    '::10.77.0.11',
    '::ffff:0:10.77.0.11',
    '::fffe:10.77.0.11',
    '64:ff9b::10.77.0.11',
    '2002:a4d:b::1',
    'fe80::5efe:10.77.0.11',
  ])('reads %s as any other text, and what embeds an IPv4 address is none', (text) => {
    const address = parseFlowAddress(text);
    expect(address).toEqual(parsed(text));
    expect(address !== undefined && isIpv4(address)).toBe(text === '10.77.0.11');
  });

  it('says of an IPv6 loopback that is mapped that it is no loopback', () => {
    const address = parseFlowAddress('::ffff:127.0.0.1');
    expect(address !== undefined && isLoopback(address)).toBe(false);
  });
});

describe('formatAddress', () => {
  it.each([
    ['10.77.0.11', '10.77.0.11'],
    ['::FFFF:10.77.0.11', '10.77.0.11'],
    // The examples of RFC 5952, sections 4.2 and 5.
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:DB8::1', '2001:db8::1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:0:0:0:0:0', '1::'],
  ])('writes %s as %s', (text, written) => {
    expect(formatAddress(parsed(text))).toBe(written);
  });

  it('writes what parseAddress reads as the same address', () => {
    fc.assert(
      fc.property(address, (one) => {
        expect(parseAddress(formatAddress(one))).toEqual(one);
      }),
    );
  });

  it('writes what the platform takes for an address of the family', () => {
    fc.assert(
      fc.property(address, (one) => {
        const isMapped = one.w0 === 0 && one.w1 === 0 && one.w2 === 0xffff;
        expect(isMapped ? isIPv4(formatAddress(one)) : isIPv6(formatAddress(one))).toBe(true);
      }),
    );
  });
});

describe('parsePrefix', () => {
  it('counts the bits of IPv4 in the mapped form', () => {
    expect(parsePrefix('10.20.0.0/24')).toEqual({ ...ipv4Words(0x0a14_0000), bits: 120 });
    expect(parsePrefix('0.0.0.0/0')).toEqual({ ...ipv4Words(0), bits: 96 });
    expect(parsePrefix('fd77::/64')).toEqual({ w0: 0xfd77_0000 | 0, w1: 0, w2: 0, w3: 0, bits: 64 });
  });

  it('reads an address without a length as itself alone', () => {
    expect(parsePrefix('10.0.0.1')?.bits).toBe(128);
    expect(parsePrefix('::1')?.bits).toBe(128);
  });

  it.each([
    '10.0.0.0/33',
    'fd77::/129',
    '10.0.0.0/',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '10.0.0.0/1e1',
    '/8',
    'host/8',
    '::ffff:0:0/96',
    '::ffff:10.0.0.0/104',
    '::ffff:a00:0/104',
    '0:0:0:0:0:ffff:10.0.0.1/128',
    '::ffff:10.0.0.1',
  ])('refuses %s', (text) => {
    expect(parsePrefix(text)).toBeUndefined();
  });

  it('reads what formatPrefix writes as the same prefix', () => {
    fc.assert(
      fc.property(address, fc.nat(128), (one, bits) => {
        const isMapped = one.w0 === 0 && one.w1 === 0 && one.w2 === 0xffff;
        const prefix = { ...one, bits: isMapped ? Math.max(96, bits) : bits };
        expect(parsePrefix(formatPrefix(prefix))).toEqual(prefix);
      }),
    );
  });
});

describe('isCanonicalPrefix', () => {
  it.each([
    ['10.20.0.0/24', true],
    ['10.20.0.1/24', false],
    ['10.20.0.1', true],
    ['0.0.0.0/0', true],
    ['128.0.0.0/0', false],
    ['fd77::/64', true],
    ['fd77:0:0:1::/64', true],
    ['fd77::1/64', false],
  ])('of %s is %s', (text, isCanonical) => {
    expect(isCanonicalPrefix(parsedPrefix(text))).toBe(isCanonical);
  });
});

describe('prefixContains', () => {
  it.each([
    ['10.20.0.0/24', '10.20.0.255', true],
    ['10.20.0.0/24', '10.20.1.0', false],
    ['10.20.0.0/31', '10.20.0.1', true],
    ['10.20.0.7', '10.20.0.7', true],
    ['10.20.0.7', '10.20.0.6', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '::fffe:10.0.0.1', true],
    ['::/0', '::ffff:0:10.0.0.1', true],
    ['::ffff:0:0:0/80', '::ffff:0:10.0.0.1', true],
    ['fd77::/33', 'fd77:0:7fff::1', true],
    ['fd77::/33', 'fd77:0:8000::1', false],
  ])('says whether %s holds %s', (prefixText, addressText, isInside) => {
    const { w0, w1, w2, w3 } = parsed(addressText);
    expect(prefixContains(parsedPrefix(prefixText), w0, w1, w2, w3)).toBe(isInside);
  });

  it('never holds an address of IPv4 where the prefix is one of IPv6, whatever its length', () => {
    const addresses = ['0.0.0.0', '8.8.8.8', '10.0.0.1', '127.0.0.1', '255.255.255.255'].map(parsed);
    const wrong: string[] = [];
    for (const text of ['::ffff:0:0', '::', '::ffff:10.0.0.0', '::ffff:8.8.8.8']) {
      for (let bits = 0; bits <= 128; bits++) {
        const prefix = parsePrefix(`${text}/${bits}`);
        if (prefix === undefined) continue;
        for (const { w0, w1, w2, w3 } of addresses) {
          if (prefixContains(prefix, w0, w1, w2, w3)) wrong.push(`${text}/${bits}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('agrees with a comparison of the leading bits as text', () => {
    const pair = fc.tuple(address, fc.nat(128), fc.nat(127)).map(([one, bits, flipped]) => {
      // The other address differs in one bit, so that both answers come often.
      const text = bitsOf(one);
      const other = `${text.slice(0, flipped)}${text[flipped] === '0' ? '1' : '0'}${text.slice(flipped + 1)}`;
      return { prefix: { ...one, bits }, one: text, other };
    });
    fc.assert(
      fc.property(pair, ({ prefix, one, other }) => {
        const words = [0, 32, 64, 96].map((start) => parseInt(other.slice(start, start + 32), 2));
        const [w0 = 0, w1 = 0, w2 = 0, w3 = 0] = words;
        const isOtherFamily = prefix.bits < 96 && w0 === 0 && w1 === 0 && w2 === 0xffff;
        const expected = !isOtherFamily && one.slice(0, prefix.bits) === other.slice(0, prefix.bits);
        expect(prefixContains(prefix, w0, w1, w2, w3)).toBe(expected);
      }),
    );
  });
});

describe('sameAddress', () => {
  it('compares every word', () => {
    const one = { w0: 1, w1: 2, w2: 3, w3: 4 };
    expect(sameAddress(one, { ...one })).toBe(true);
    for (const name of ['w0', 'w1', 'w2', 'w3'] as const)
      expect(sameAddress(one, { ...one, [name]: 9 })).toBe(false);
  });
});

describe('isLoopback', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.255.0.9', true],
    ['128.0.0.1', false],
    ['::1', true],
    ['::2', false],
    ['::', false],
    ['fd00::1', false],
  ])('of %s is %s', (text, is) => {
    expect(isLoopback(parsed(text))).toBe(is);
  });
});
