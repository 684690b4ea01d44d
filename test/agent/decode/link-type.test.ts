import { describe, expect, it } from 'vitest';
import { decodeHex, ETHERNET_FRAME, IPV4_PACKET, IPV6_PACKET } from '../../support/packet-bytes.ts';

const SNAP = 'aa aa 03 00 00 00 08 00';
/** A data frame of an access point: control, duration, addresses, sequence. */
const WIRELESS = `08 02 00 00 ${'02 00 00 00 00 01 '.repeat(3)} 10 00`;
const WIRELESS_QOS = `${WIRELESS.replace('08 02', '88 02')} 00 00`;
/** pktap: length, next, link type, names and the rest. */
const pktap = (linkType: string) => `6c 00 00 00 01 00 00 00 ${linkType} ${'00 '.repeat(96)}`;
/** A segment that the network card cuts up later: 4,000 bytes of payload. */
const LONG_IPV4_PACKET = `${IPV4_PACKET.replace('45 00 00 28', '45 00 0f d0')} ${'00 '.repeat(4008)}`;

describe('link types beside the usual', () => {
  it.each([
    ['802.11', 105, `${WIRELESS} ${SNAP} ${IPV4_PACKET}`],
    ['802.11 with quality of service', 105, `${WIRELESS_QOS} ${SNAP} ${IPV4_PACKET}`],
    [
      '802.11 between access points',
      105,
      `${WIRELESS.replace('08 02', '08 03')} 02 00 00 00 00 04 ${SNAP} ${IPV4_PACKET}`,
    ],
    [
      '802.11 in aggregates',
      105,
      `${WIRELESS_QOS.slice(0, -5)} 80 00 ${'02 00 00 00 00 01 '.repeat(2)} 00 30 ${SNAP} ${IPV4_PACKET}`,
    ],
    ['radiotap', 127, `00 00 08 00 00 00 00 00 ${WIRELESS} ${SNAP} ${IPV4_PACKET}`],
    ['radiotap with padding', 127, `00 00 09 00 02 00 00 00 20 ${WIRELESS_QOS} 00 00 ${SNAP} ${IPV4_PACKET}`],
    [
      'radiotap with padding behind a timestamp',
      127,
      `00 00 19 00 03 00 00 80 00 00 00 00 00 00 00 00 ${'00 '.repeat(8)} 20 ${WIRELESS_QOS} 00 00 ${SNAP} ${IPV4_PACKET}`,
    ],
    ['nflog', 239, `02 00 00 00 05 00 0a 00 01 00 00 00 2c 00 09 00 ${IPV4_PACKET}`],
    ['nflog of a big-endian machine', 239, `02 00 00 00 00 05 00 0a 01 00 00 00 00 2c 00 09 ${IPV4_PACKET}`],
    [
      'nflog of a big-endian machine, of a packet longer than its first attribute in the wrong order',
      239,
      `02 00 00 00 00 08 00 01 08 00 01 00 0f d4 00 09 ${LONG_IPV4_PACKET}`,
    ],
    [
      'nflog of a big-endian machine, the attribute marked as nested',
      239,
      `02 00 00 00 00 05 80 0a 01 00 00 00 0f d4 00 09 ${LONG_IPV4_PACKET}`,
    ],
    [
      'nflog of a bridge with a whole frame',
      239,
      `07 00 00 00 08 00 01 00 00 03 00 00 3a 00 09 00 ${ETHERNET_FRAME}`,
    ],
    [
      'nflog of a bridge with a VLAN tag',
      239,
      `07 00 00 00 08 00 01 00 81 00 00 00 30 00 09 00 00 05 08 00 ${IPV4_PACKET}`,
    ],
    ['nflog of IPv6 that says so', 239, `0a 00 00 00 08 00 01 00 86 dd 00 00 40 00 09 00 ${IPV6_PACKET}`],
    ['pktap of Ethernet', 258, `${pktap('01 00 00 00')} ${ETHERNET_FRAME}`],
    ['pktap of raw IP', 258, `${pktap('0c 00 00 00')} ${IPV6_PACKET}`],
    ['FDDI', 10, `50 ${'02 00 00 00 00 01 '.repeat(2)} ${SNAP} ${IPV4_PACKET}`],
    ['InfiniBand', 242, `${'00 '.repeat(40)} 08 00 00 00 ${IPV4_PACKET}`],
    ['ATM', 100, `${SNAP} ${IPV4_PACKET}`],
    ['MPLS', 219, `00 01 01 40 ${IPV4_PACKET}`],
  ])('have TCP: %s', (_name, linkType, hex) => {
    expect(decodeHex(hex, { linkType })).toMatchObject({
      outcome: 'tcp',
      destinationPort: 43_800,
      tunnel: 'none',
    });
  });

  it.each([
    ['a beacon', 105, WIRELESS.replace('08 02', '80 00'), 'not-ip'],
    ['an encrypted frame', 105, WIRELESS.replace('08 02', '08 42'), 'not-ip'],
    ['a frame without data', 105, WIRELESS.replace('08 02', '48 02'), 'not-ip'],
    ['a cut frame', 105, '08 02', 'truncated'],
    ['a cut quality of service', 105, WIRELESS.replace('08 02', '88 02'), 'truncated'],
    ['a cut radiotap', 127, '00 00 40 00 00 00 00 00', 'truncated'],
    ['a radiotap shorter than itself', 127, '00 00 07 00 00 00 00 00', 'malformed'],
    ['an nflog of a version that nobody has', 239, '02 01 00 00', 'not-ip'],
    ['an nflog without a packet', 239, '02 00 00 00 05 00 0a 00 01 00 00 00', 'not-ip'],
    ['an nflog attribute shorter than itself', 239, '02 00 00 00 03 00 0a 00 01 00 00 00', 'malformed'],
    ['a cut nflog', 239, '02 00', 'truncated'],
    ['a cut pktap', 258, '6c 00 00 00', 'truncated'],
    ['a pktap beyond its frame', 258, pktap('01 00 00 00').replace('6c 00', 'ff ff'), 'malformed'],
    ['a pktap of a link type that nobody has', 258, pktap('0f 27 00 00'), 'unsupported-link-type'],
    ["FDDI's own frames", 10, `41 ${'02 00 00 00 00 01 '.repeat(2)}`, 'not-ip'],
    ['a cut FDDI', 10, '50', 'truncated'],
    ['a cut InfiniBand', 242, '00', 'truncated'],
  ])('name what became of %s', (_name, linkType, hex, outcome) => {
    expect(decodeHex(hex, { linkType }).outcome).toBe(outcome);
  });
});
