import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decodeHex, IPV4_PACKET, IPV6_PACKET, udpPacket } from '../../support/packet-bytes.ts';

const decodeGtp = (hex: string) => decodeHex(udpPacket(2152, hex), { linkType: LINKTYPE_IPV4 });

describe('GTP-U', () => {
  it.each([
    ['IPv4', `30 ff 00 28 00 00 00 01 ${IPV4_PACKET}`],
    ['IPv6', `30 ff 00 3c 00 00 00 01 ${IPV6_PACKET}`],
    ['IPv4 behind a sequence number', `32 ff 00 2c 00 00 00 01 00 05 00 00 ${IPV4_PACKET}`],
    ['IPv4 behind an extension', `34 ff 00 30 00 00 00 01 00 00 00 85 01 00 09 00 ${IPV4_PACKET}`],
    [
      'IPv4 behind two extensions',
      `34 ff 00 38 00 00 00 01 00 00 00 c0 01 00 09 85 02 00 00 00 00 00 00 00 ${IPV4_PACKET}`,
    ],
  ])('carries %s', (_name, hex) => {
    expect(decodeGtp(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'gtp' });
  });

  it.each([
    ['an echo request', '32 01 00 04 00 00 00 00 00 00 00 00', 'not-tcp'],
    ['version 0', `10 ff 00 28 00 00 00 01 ${IPV4_PACKET}`, 'not-tcp'],
    ['a cut header', '30 ff 00 28', 'truncated'],
    ['a cut extension', '34 ff 00 30 00 00 00 01 00 00 00 85 02 00', 'truncated'],
    [
      'an extension without a length',
      `34 ff 00 30 00 00 00 01 00 00 00 85 00 00 ${IPV4_PACKET}`,
      'malformed',
    ],
    [
      'extensions without end',
      `34 ff 00 30 00 00 00 01 00 00 00 85 ${'01 00 00 85 '.repeat(20)}`,
      'malformed',
    ],
    ['neither version of IP', '30 ff 00 02 00 00 00 01 70 00', 'not-ip'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeGtp(hex).outcome).toBe(outcome);
  });
});
