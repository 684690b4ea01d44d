import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import { decodeHex, ETHERNET_ADDRESSES, IPV4_PACKET, IPV6_PACKET } from '../../support/packet-bytes.ts';

describe('PPP', () => {
  it.each([
    ['IPv4 on a line', 9, `ff 03 00 21 ${IPV4_PACKET}`],
    ['IPv4 without address and control', 9, `00 21 ${IPV4_PACKET}`],
    ['IPv4 with a protocol of one byte', 9, `21 ${IPV4_PACKET}`],
    ['IPv6', 50, `ff 03 00 57 ${IPV6_PACKET}`],
    ['MPLS', 50, `ff 03 02 81 00 01 01 40 ${IPV4_PACKET}`],
    ["Cisco's protocol on the same line", 50, `0f 00 08 00 ${IPV4_PACKET}`],
    ["Cisco's protocol", 104, `8f 00 86 dd ${IPV6_PACKET}`],
    ['IPv4 with a direction', 204, `01 ff 03 00 21 ${IPV4_PACKET}`],
    ['IPv4 in a session of PPPoE', 51, `11 00 00 01 00 2a 00 21 ${IPV4_PACKET}`],
    [
      'IPv6 in PPPoE in Ethernet',
      LINKTYPE_ETHERNET,
      `${ETHERNET_ADDRESSES} 88 64 11 00 00 01 00 3e 00 57 ${IPV6_PACKET}`,
    ],
  ])('carries %s', (_name, linkType, hex) => {
    expect(decodeHex(hex, { linkType })).toMatchObject({
      outcome: 'tcp',
      destinationPort: 43_800,
      tunnel: 'none',
    });
  });

  it('does not take what is behind the length of PPPoE for payload', () => {
    const large = IPV4_PACKET.replace('45 00 00 28', '45 00 00 30');
    const packet = decodeHex(`11 00 00 01 00 2a 00 21 ${large} 00 00 00 00 00 00 00 00`, { linkType: 51 });
    expect(packet).toMatchObject({ outcome: 'tcp', payloadLength: 0 });
  });

  it.each([
    ['link control', 9, 'ff 03 c0 21 01 01 00 04', 'not-ip'],
    ['encrypted data', 9, 'ff 03 00 fd 01 01 00 04', 'not-ip'],
    ['a cut protocol', 9, 'ff 03 00', 'truncated'],
    ['nothing', 9, '', 'truncated'],
    ['a cut session', 51, '11 00 00 01', 'truncated'],
    ['discovery in a session', 51, '11 09 00 00 00 00', 'not-ip'],
    ['discovery', LINKTYPE_ETHERNET, `${ETHERNET_ADDRESSES} 88 63 11 09 00 00 00 00`, 'not-ip'],
    ["a cut header of Cisco's", 104, '0f 00', 'truncated'],
    ["Cisco's own protocols", 104, '8f 00 20 00 02 00', 'not-ip'],
  ])('names what became of %s', (_name, linkType, hex, outcome) => {
    expect(decodeHex(hex, { linkType }).outcome).toBe(outcome);
  });
});
