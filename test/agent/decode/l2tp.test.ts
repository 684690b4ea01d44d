import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import {
  checksummed,
  decodeHex,
  ETHERNET_FRAME,
  IPV4_PACKET,
  ipv4Packet,
  IPV6_PACKET,
  udpPacket,
} from '../../support/packet-bytes.ts';

const overUdp = (hex: string) => decodeHex(udpPacket(1701, hex), { linkType: LINKTYPE_IPV4 });
const overIp = (hex: string) => decodeHex(ipv4Packet(115, hex), { linkType: LINKTYPE_IPV4 });
const COOKIE = 'c0 0c 1e 00 11 22 33 44';

describe('L2TP', () => {
  it.each([
    ['PPP with IPv4', `00 02 00 07 00 09 ff 03 00 21 ${IPV4_PACKET}`],
    ['PPP without address and control', `00 02 00 07 00 09 00 21 ${IPV4_PACKET}`],
    ['PPP with IPv6', `00 02 00 07 00 09 ff 03 00 57 ${IPV6_PACKET}`],
    ['PPP behind a length', `40 02 00 34 00 07 00 09 ff 03 00 21 ${IPV4_PACKET}`],
    ['PPP behind sequence numbers', `08 02 00 07 00 09 00 01 00 02 ff 03 00 21 ${IPV4_PACKET}`],
    ['PPP behind an offset', `02 02 00 07 00 09 00 03 ee ee ee ff 03 00 21 ${IPV4_PACKET}`],
    ['PPP behind all of them', `4a 02 00 3c 00 07 00 09 00 01 00 02 00 02 ee ee ff 03 00 21 ${IPV4_PACKET}`],
    ['Ethernet in version 3', `00 03 00 00 00 00 00 05 ${ETHERNET_FRAME}`],
    ['Ethernet in version 3 behind a cookie', `00 03 00 00 00 00 00 05 ${COOKIE} ${ETHERNET_FRAME}`],
  ])('over UDP carries %s', (_name, hex) => {
    expect(overUdp(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'l2tp' });
  });

  it('is told by its port at either end', () => {
    const reversed = udpPacket(1701, `00 02 00 07 00 09 00 21 ${IPV4_PACKET}`).replace(
      'c3 50 06 a5',
      '06 a5 c3 50',
    );
    expect(decodeHex(reversed, { linkType: LINKTYPE_IPV4 })).toMatchObject({
      outcome: 'tcp',
      tunnel: 'l2tp',
    });
  });

  it.each([
    ['Ethernet', `00 00 00 05 ${ETHERNET_FRAME}`],
    ['Ethernet behind a sublayer', `00 00 00 05 40 00 00 01 ${ETHERNET_FRAME}`],
    ['Ethernet behind a cookie of 8 bytes', `00 00 00 05 ${COOKIE} ${ETHERNET_FRAME}`],
    ['Ethernet behind both', `00 00 00 05 ${COOKIE} 40 00 00 01 ${ETHERNET_FRAME}`],
    ['PPP', `00 00 00 05 ff 03 00 21 ${IPV4_PACKET}`],
    ['IP behind a cookie', `00 00 00 05 ${COOKIE} ${checksummed(IPV4_PACKET)}`],
  ])('over IP carries %s', (_name, hex) => {
    expect(overIp(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel: 'l2tp' });
  });

  // Read four bytes too early, the middle of the address is a type; eight too early, the end of the other one.
  it.each(['40 00 00 01', COOKIE, `${COOKIE} 40 00 00 01`])(
    'carries Ethernet between addresses that look like a type, behind %s',
    (gap) => {
      const packet = checksummed(IPV4_PACKET);
      const frames = [
        `02 00 00 00 00 01 02 00 08 00 45 02 08 00 ${packet}`,
        `02 00 00 00 08 00 45 00 00 00 00 02 81 00 00 05 08 00 ${packet}`,
        `02 00 00 00 88 47 02 00 86 dd 60 02 86 dd ${IPV6_PACKET}`,
      ];
      for (const frame of frames) {
        expect(overIp(`00 00 00 05 ${gap} ${frame}`)).toMatchObject({
          outcome: 'tcp',
          destinationPort: 43_800,
          tunnel: 'l2tp',
        });
      }
    },
  );

  it.each([
    ['a control message', overUdp('c8 02 00 14 00 07 00 00 00 01 00 02 80 08 00 00 00 00 00 01'), 'not-tcp'],
    ['version 1', overUdp(`00 01 00 07 00 09 ff 03 00 21 ${IPV4_PACKET}`), 'not-tcp'],
    ['a header cut in its flags', overUdp('00'), 'truncated'],
    ['a cut header', overUdp('4a 02 00 20 00 07 00'), 'truncated'],
    ['an offset beyond the datagram', overUdp(`02 02 00 07 00 09 ff ff 00 21 ${IPV4_PACKET}`), 'truncated'],
    ['another protocol in PPP', overUdp('00 02 00 07 00 09 c0 21 01 01 00 04'), 'not-ip'],
    ['a control message over IP', overIp(`00 00 00 00 ${ETHERNET_FRAME}`), 'not-tcp'],
    ['a session cut short', overIp('00 00 00'), 'truncated'],
    ['a session of something else', overIp(`00 00 00 05 ${'de ad be ef '.repeat(12)}`), 'not-ip'],
  ])('names what became of %s', (_name, { outcome }, expected) => {
    expect(outcome).toBe(expected);
  });
});
