import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decodeHex, IPV6_PACKET, udpPacket } from '../../support/packet-bytes.ts';

const decodeOn = (port: number, hex: string) => decodeHex(udpPacket(port, hex), { linkType: LINKTYPE_IPV4 });

const AUTHENTICATION = '00 01 02 03 aa aa bb bb bb 00 00 00 00 00 00 00 01 00';
const ORIGIN = '00 00 aa bb 11 22 33 44';
/** From 2001:0:…, an address of Teredo. */
const FROM_TEREDO = IPV6_PACKET.replace('fd 00 00 00', '20 01 00 00');

describe('Teredo', () => {
  it.each([
    ['alone', IPV6_PACKET],
    ['behind an origin', `${ORIGIN} ${IPV6_PACKET}`],
    ['behind an authentication', `${AUTHENTICATION} ${IPV6_PACKET}`],
    ['behind both', `${AUTHENTICATION} ${ORIGIN} ${IPV6_PACKET}`],
  ])("carries IPv6 on the server's port %s", (_name, hex) => {
    expect(decodeOn(3544, hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'teredo' });
  });

  it('is known on any port by its addresses and its length', () => {
    expect(decodeOn(32_900, FROM_TEREDO)).toMatchObject({ outcome: 'tcp', tunnel: 'teredo' });
  });

  it.each([
    ['another address on another port', 32_900, IPV6_PACKET, 'not-tcp'],
    ['another length on another port', 32_900, `${FROM_TEREDO} 00`, 'not-tcp'],
    ['nothing', 3544, '', 'truncated'],
    ['a cut authentication', 3544, AUTHENTICATION.slice(0, 20), 'truncated'],
    ['an authentication beyond the packet', 3544, AUTHENTICATION.replace('02 03', 'ff ff'), 'truncated'],
    ['no IPv6', 3544, '45 00', 'truncated'],
  ])('names what became of %s', (_name, port, hex, outcome) => {
    expect(decodeOn(port, hex).outcome).toBe(outcome);
  });
});
