import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET } from '../../../agent/decode/link-type.ts';
import {
  checksummed,
  decodeHex,
  ETHERNET_ADDRESSES,
  ETHERNET_FRAME,
  IPV4_PACKET,
  IPV6_PACKET,
  TCP_HEADER,
} from '../../support/packet-bytes.ts';

const decodeMpls = (hex: string) =>
  decodeHex(`${ETHERNET_ADDRESSES} 88 47 ${hex}`, { linkType: LINKTYPE_ETHERNET });

describe('MPLS', () => {
  it.each([
    ['IPv4', `00 01 01 40 ${IPV4_PACKET}`],
    ['IPv6', `00 00 21 40 ${IPV6_PACKET}`],
    ['IPv4 behind three labels', `00 01 00 40 00 02 00 40 00 03 01 40 ${IPV4_PACKET}`],
    ['Ethernet', `00 01 01 40 ${ETHERNET_FRAME}`],
    ['Ethernet behind a control word', `00 01 01 40 00 00 00 00 ${ETHERNET_FRAME}`],
  ])('carries %s', (_name, hex) => {
    expect(decodeMpls(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800 });
  });

  const to = (address: string, frame = ETHERNET_FRAME) => frame.replace('02 00 00 00 00 01', address);
  const tagged = ETHERNET_FRAME.replace(' 08 00 45', ' 81 00 00 05 08 00 45');
  const fromAType = ETHERNET_FRAME.replace('02 00 00 00 00 02', '02 00 08 00 00 02');

  // A pseudowire without a control word (RFC 4448, section 4.6): the frame's first bits are those of any address.
  it.each([
    ['4', to('45 00 00 28 00 01')],
    ['4, and a plausible length', to('46 00 00 30 00 00')],
    ['6', to('60 00 00 00 00 10')],
    ['4, with a VLAN tag', to('4a 00 00 28 00 01', tagged)],
    ['0, like a control word', to('00 00 08 00 00 01')],
    ['1, like another channel', to('10 00 00 21 00 01')],
    ['f', to('f2 00 00 28 00 01')],
  ])('carries Ethernet to an address that begins with %s', (_name, frame) => {
    expect(decodeMpls(`00 01 01 40 ${frame}`)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800 });
  });

  // Read without the word, the middle of the address is a type, and what follows begins as that says.
  it.each([
    ['IPv4', '02 00 08 00 45 02', checksummed(IPV4_PACKET), '08 00'],
    ['IPv6', '02 00 86 dd 60 02', checksummed(IPV4_PACKET), '08 00'],
    ['a frame with SNAP', '02 00 00 20 aa aa', IPV6_PACKET, '86 dd'],
    [
      'IPv4, in a tagged frame',
      '02 00 08 00 45 02',
      checksummed(IPV4_PACKET),
      '88 a8 00 05 81 00 00 06 08 00',
    ],
  ])('carries Ethernet behind a control word from an address like %s', (_name, source, packet, type) => {
    const frame = `02 00 00 00 00 01 ${source} ${type} ${packet}`;
    expect(decodeMpls(`00 01 01 40 00 00 00 07 ${frame}`)).toMatchObject({ destinationPort: 43_800 });
  });

  it('carries Ethernet behind a control word from an address with a type in it', () => {
    expect(decodeMpls(`00 01 01 40 00 00 00 07 ${fromAType}`)).toMatchObject({ destinationPort: 43_800 });
  });

  it.each([
    ['whose source looks like a type', checksummed(IPV4_PACKET.replace('c0 a8 00 01', '08 00 45 01'))],
    ['whose checksum is left to the card', IPV4_PACKET],
    [
      'whose header has options',
      `46 00 00 2c 00 00 40 00 40 06 00 00 c0 a8 00 01 0a c8 00 02 01 01 01 00 ${TCP_HEADER}`,
    ],
  ])('carries IPv4 %s', (_name, packet) => {
    expect(decodeMpls(`00 01 01 40 ${packet}`)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800 });
  });

  it.each([
    ['a label without an end', '00 01 00 40', 'truncated'],
    ['a last label without anything', '00 01 01 40', 'truncated'],
    ['a channel of its own', '00 01 01 40 10 00 00 21 45 00', 'not-ip'],
    ['labels without end', '00 01 00 40 '.repeat(100), 'too-many-headers'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeMpls(hex).outcome).toBe(outcome);
  });
});
