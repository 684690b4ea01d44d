import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import {
  decodeHex,
  ETHERNET_FRAME,
  IPV4_PACKET,
  IPV6_PACKET,
  udpPacket,
} from '../../support/packet-bytes.ts';

const decodeOn = (port: number, hex: string) => decodeHex(udpPacket(port, hex), { linkType: LINKTYPE_IPV4 });

describe('VXLAN', () => {
  it('carries an Ethernet frame, VLAN tags and all', () => {
    const tagged = ETHERNET_FRAME.replace(' 08 00 45', ' 81 00 00 05 08 00 45');
    expect(decodeOn(4789, `08 00 00 00 00 00 01 00 ${tagged}`)).toMatchObject({
      outcome: 'tcp',
      tunnel: 'vxlan',
    });
  });

  it.each([
    ['IPv4', `0c 00 00 01 00 00 01 00 ${IPV4_PACKET}`],
    ['IPv6', `0c 00 00 02 00 00 01 00 ${IPV6_PACKET}`],
    ['Ethernet', `0c 00 00 03 00 00 01 00 ${ETHERNET_FRAME}`],
    ['MPLS', `0c 00 00 05 00 00 01 00 00 01 01 40 ${IPV4_PACKET}`],
    ['Ethernet without saying so', `08 00 00 00 00 00 01 00 ${ETHERNET_FRAME}`],
  ])('carries %s in its generic extension', (_name, hex) => {
    expect(decodeOn(4790, hex)).toMatchObject({ outcome: 'tcp', tunnel: 'vxlan' });
  });

  it.each([
    ['no network identifier', 4789, `00 00 00 00 00 00 01 00 ${ETHERNET_FRAME}`, 'not-tcp'],
    ['a cut header', 4789, '08 00 00 00 00 00 01', 'truncated'],
    ['a cut header of the extension', 4790, '0c 00 00 01', 'truncated'],
    ['a service chain', 4790, `0c 00 00 04 00 00 01 00 ${ETHERNET_FRAME}`, 'not-ip'],
    [
      'ARP inside',
      4789,
      '08 00 00 00 00 00 01 00' + ETHERNET_FRAME.replace('08 00 45', '08 06 45'),
      'not-ip',
    ],
  ])('names what became of %s', (_name, port, hex, outcome) => {
    expect(decodeOn(port, hex).outcome).toBe(outcome);
  });
});
