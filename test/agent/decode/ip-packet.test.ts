import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4, LINKTYPE_IPV6 } from '../../../agent/decode/link-type.ts';
import {
  decodeHex,
  ETHERNET_FRAME,
  IPV4_PACKET,
  IPV6_HEADER,
  IPV6_PACKET,
  ipv4Packet,
  TCP_HEADER,
} from '../../support/packet-bytes.ts';

/** An IPv6 packet that carries an IP packet of `length` bytes. */
function ipv6Packet(protocol: string, length: string, payload: string): string {
  return `${IPV6_HEADER.replace('00 14 06', `${length} ${protocol}`)} ${payload}`;
}

describe('an IP packet', () => {
  it.each([
    ['ipip', LINKTYPE_IPV4, ipv4Packet(4, IPV4_PACKET)],
    ['6in4', LINKTYPE_IPV4, ipv4Packet(41, IPV6_PACKET)],
    ['4in6', LINKTYPE_IPV6, ipv6Packet('04', '00 28', IPV4_PACKET)],
    ['6in6', LINKTYPE_IPV6, ipv6Packet('29', '00 3c', IPV6_PACKET)],
    ['etherip', LINKTYPE_IPV4, ipv4Packet(97, `30 00 ${ETHERNET_FRAME}`)],
    ['mpls', LINKTYPE_IPV4, ipv4Packet(137, `00 01 01 40 ${IPV4_PACKET}`)],
  ])('carries another one as %s', (tunnel, linkType, hex) => {
    expect(decodeHex(hex, { linkType })).toEqual({
      outcome: 'tcp',
      sourcePort: 40_000,
      destinationPort: 43_800,
      payloadLength: 0,
      tunnel,
    });
  });

  it('of IPv4 has TCP behind an authentication header', () => {
    const header = '06 04 00 00 00 00 01 00 00 00 00 01' + ' ab'.repeat(12);
    const hex = ipv4Packet(51, `${header} ${TCP_HEADER}`);
    expect(decodeHex(hex, { linkType: LINKTYPE_IPV4 })).toMatchObject({ outcome: 'tcp', tunnel: 'none' });
  });

  it('that an ICMP error quotes is no packet of a connection', () => {
    const quoted = ipv4Packet(1, `03 01 00 00 00 00 00 00 ${IPV4_PACKET}`);
    expect(decodeHex(quoted, { linkType: LINKTYPE_IPV4 })).toEqual({ outcome: 'not-tcp' });
  });
});
