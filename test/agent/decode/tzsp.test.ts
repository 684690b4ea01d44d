import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decodeHex, ETHERNET_FRAME, IPV4_PACKET, udpPacket } from '../../support/packet-bytes.ts';

const decodeTzsp = (hex: string) => decodeHex(udpPacket(37_008, hex), { linkType: LINKTYPE_IPV4 });
const WIRELESS = `08 02 00 00 ${'02 00 00 00 00 01 '.repeat(3)} 10 00 aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`;

describe('TZSP', () => {
  it.each([
    ['Ethernet', `01 00 00 01 01 ${ETHERNET_FRAME}`],
    ['Ethernet for sending', `01 01 00 01 01 ${ETHERNET_FRAME}`],
    ['Ethernet behind padding and tags', `01 00 00 01 00 00 0a 01 c5 28 04 00 00 00 01 01 ${ETHERNET_FRAME}`],
    ['PPP', `01 00 00 04 01 ff 03 00 21 ${IPV4_PACKET}`],
    ['FDDI', `01 00 00 05 01 50 ${'02 00 00 00 00 01 '.repeat(2)} aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`],
    ['bare IP', `01 00 00 07 01 ${IPV4_PACKET}`],
    ['802.11', `01 00 00 12 01 ${WIRELESS}`],
  ])('carries %s', (_name, hex) => {
    expect(decodeTzsp(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'tzsp' });
  });

  it.each([
    ['another version', `02 00 00 01 01 ${ETHERNET_FRAME}`, 'not-tcp'],
    ['a keep-alive', '01 04 00 00 01', 'not-tcp'],
    ['another kind of frame', `01 00 00 77 01 ${ETHERNET_FRAME}`, 'not-ip'],
    ['a cut header', '01 00 00', 'truncated'],
    ['no end of the tags', '01 00 00 01', 'truncated'],
    ['a cut tag', '01 00 00 01 0a', 'truncated'],
    ['a tag beyond the datagram', `01 00 00 01 0a ff ${ETHERNET_FRAME}`, 'truncated'],
    ['tags without end', `01 00 00 01 ${'0a 00 '.repeat(200)}`, 'malformed'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeTzsp(hex).outcome).toBe(outcome);
  });
});
