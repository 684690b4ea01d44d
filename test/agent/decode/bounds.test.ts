/** Each header says where it ends, and nothing that stands behind that belongs to what it carries. */
import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET, LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import {
  bytesOf,
  decodeHex,
  ETHERNET_ADDRESSES,
  ETHERNET_FRAME,
  hex16,
  IPV4_PACKET,
  ipv4Packet,
  IPV6_HEADER,
  IPV6_PACKET,
} from '../../support/packet-bytes.ts';

const lengthOf = (hex: string) => bytesOf(hex).length;

/** A datagram in IPv4 that says to be of `length` bytes, or of as many as it has. */
const udp = (port: number, payload: string, length = 8 + lengthOf(payload)) =>
  ipv4Packet(17, `c3 50 ${hex16(port)} ${hex16(length)} 00 00 ${payload}`);
const udpInIpv6 = (port: number, payload: string, length: number) => {
  const datagram = `c3 50 ${hex16(port)} ${hex16(length)} 00 00 ${payload}`;
  return `${ETHERNET_ADDRESSES} 86 dd ${IPV6_HEADER.replace('00 14 06', `${hex16(lengthOf(datagram))} 11`)} ${datagram}`;
};

/** A Teredo address: the relay takes it for what it is whatever the port. */
const TEREDO = IPV6_PACKET.replace('fd 00 00 00', '20 01 00 00');
const L2TP = `00 02 00 07 00 09 ff 03 00 21 ${IPV4_PACKET}`;

/** Name, port, headers of the tunnel, what it carries. */
const TUNNELS: readonly (readonly [string, number, string, string])[] = [
  ['VXLAN', 4789, '08 00 00 00 00 00 01 00', ETHERNET_FRAME],
  ['VXLAN on the port that Linux had first', 8472, '08 00 00 00 00 00 01 00', ETHERNET_FRAME],
  ['VXLAN-GPE', 4790, '0c 00 00 01 00 00 01 00', IPV4_PACKET],
  ['Geneve', 6081, '00 00 65 58 00 00 01 00', ETHERNET_FRAME],
  ['Geneve with options', 6081, '01 00 65 58 00 00 01 00 00 00 00 00', ETHERNET_FRAME],
  ['GTP-U', 2152, '30 ff 00 28 00 00 00 01', IPV4_PACKET],
  ['Teredo', 3544, '', TEREDO],
  ['GRE in UDP', 4754, '00 00 08 00', IPV4_PACKET],
  ['MPLS in UDP', 6635, '00 01 01 40', IPV4_PACKET],
  ['AYIYA', 5072, `04 00 01 29 00 00 00 00 00`, IPV6_PACKET],
  ['L2TP', 1701, '00 02 00 07 00 09 ff 03 00 21', IPV4_PACKET],
  ['L2TPv3', 1701, '00 03 00 00 00 00 00 05', ETHERNET_FRAME],
  ['TZSP', 37_008, '01 00 00 01 01', ETHERNET_FRAME],
];

describe('the length of UDP', () => {
  it.each(TUNNELS)('ends what is in it: %s', (_name, port, header, inside) => {
    const payload = `${header} ${inside}`;
    const whole = 8 + lengthOf(payload);
    expect(decodeHex(udp(port, payload), { linkType: LINKTYPE_IPV4 }).outcome).toBe('tcp');
    // 0 is that of a datagram that the card cuts up later.
    expect(decodeHex(udp(port, payload, 0), { linkType: LINKTYPE_IPV4 }).outcome).toBe('tcp');
    // More than there is: the datagram goes on in other fragments, or its sender lies; it has what is there.
    expect(decodeHex(udp(port, payload, whole + 9), { linkType: LINKTYPE_IPV4 }).outcome).toBe('tcp');
    // Of the TCP header, 20 bytes at the end, nothing is left.
    for (const length of [whole - 20, 8 + lengthOf(header), 8]) {
      expect(decodeHex(udp(port, payload, length), { linkType: LINKTYPE_IPV4 }).outcome).not.toBe('tcp');
      expect(decodeHex(udpInIpv6(port, payload, length), { linkType: LINKTYPE_ETHERNET }).outcome).not.toBe(
        'tcp',
      );
    }
  });

  it('ends the payload of a connection inside', () => {
    const inside = `${ETHERNET_FRAME.replace('45 00 00 28', '45 00 00 40')} ${'77 '.repeat(24)}`;
    const payload = `08 00 00 00 00 00 01 00 ${inside}`;
    const whole = 8 + lengthOf(payload);
    const read = (length: number) => decodeHex(udp(4789, payload, length), { linkType: LINKTYPE_IPV4 });
    expect(read(whole)).toMatchObject({ payloadLength: 24 });
    expect(read(whole - 10)).toMatchObject({ payloadLength: 14 });
  });

  it('ends a tunnel in a tunnel', () => {
    const inner = udp(4789, `08 00 00 00 00 00 01 00 ${ETHERNET_FRAME}`, 16);
    const outer = (length?: number) => udp(6081, `00 00 08 00 00 00 01 00 ${inner}`, length);
    expect(decodeHex(outer(), { linkType: LINKTYPE_IPV4 }).outcome).not.toBe('tcp');
    const honest = udp(4789, `08 00 00 00 00 00 01 00 ${ETHERNET_FRAME}`);
    const around = `00 00 08 00 00 00 01 00 ${honest}`;
    expect(decodeHex(udp(6081, around), { linkType: LINKTYPE_IPV4 }).outcome).toBe('tcp');
    expect(decodeHex(udp(6081, around, lengthOf(around) - 30), { linkType: LINKTYPE_IPV4 }).outcome).not.toBe(
      'tcp',
    );
  });

  it.each([1, 7])('of %i bytes is no datagram', (length) => {
    const hex = udp(4789, `08 00 00 00 00 00 01 00 ${ETHERNET_FRAME}`, length);
    expect(decodeHex(hex, { linkType: LINKTYPE_IPV4 }).outcome).toBe('malformed');
  });
});

describe('a header with a length of its own', () => {
  const inIpv4 = { linkType: LINKTYPE_IPV4 };
  const wireless = `88 02 00 00 ${'02 00 00 00 00 01 '.repeat(3)} 10 00 80 00`;
  const aggregate = (length: number) =>
    `${wireless} ${ETHERNET_ADDRESSES} ${hex16(length)} aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`;

  it.each<[string, string, string, { linkType: number }]>([
    [
      'GTP-U',
      udp(2152, `30 ff 00 28 00 00 00 01 ${IPV4_PACKET}`),
      udp(2152, `30 ff 00 10 00 00 00 01 ${IPV4_PACKET}`),
      inIpv4,
    ],
    [
      'L2TP',
      udp(1701, `40 02 00 34 00 07 00 09 ff 03 00 21 ${IPV4_PACKET}`),
      udp(1701, `40 02 00 10 00 07 00 09 ff 03 00 21 ${IPV4_PACKET}`),
      inIpv4,
    ],
    [
      'PPTP',
      ipv4Packet(47, `30 01 88 0b 00 2c 00 01 00 00 00 01 ff 03 00 21 ${IPV4_PACKET}`),
      ipv4Packet(47, `30 01 88 0b 00 04 00 01 00 00 00 01 ff 03 00 21 ${IPV4_PACKET}`),
      inIpv4,
    ],
    [
      'EoIP',
      ipv4Packet(47, `20 01 64 00 00 36 07 00 ${ETHERNET_FRAME}`),
      ipv4Packet(47, `20 01 64 00 00 10 07 00 ${ETHERNET_FRAME}`),
      inIpv4,
    ],
    [
      'a control word of a pseudowire',
      `${ETHERNET_ADDRESSES} 88 47 00 01 01 40 00 3a 00 00 ${ETHERNET_FRAME}`,
      `${ETHERNET_ADDRESSES} 88 47 00 01 01 40 00 20 00 00 ${ETHERNET_FRAME}`,
      { linkType: LINKTYPE_ETHERNET },
    ],
    ['a frame of an 802.11 aggregate', aggregate(48), aggregate(20), { linkType: 105 }],
    [
      'an outer IPv4 packet',
      ipv4Packet(4, IPV4_PACKET),
      ipv4Packet(4, IPV4_PACKET).replace('45 00 00 3c', '45 00 00 2a'),
      inIpv4,
    ],
    [
      'an outer IPv6 packet',
      `${ETHERNET_ADDRESSES} 86 dd ${IPV6_HEADER.replace('00 14 06', '00 28 04')} ${IPV4_PACKET}`,
      `${ETHERNET_ADDRESSES} 86 dd ${IPV6_HEADER.replace('00 14 06', '00 15 04')} ${IPV4_PACKET}`,
      { linkType: LINKTYPE_ETHERNET },
    ],
  ])('ends what is in it: %s', (_name, whole, short, fields) => {
    expect(decodeHex(whole, fields).outcome).toBe('tcp');
    expect(decodeHex(short, fields).outcome).not.toBe('tcp');
  });

  it('of L2TP that ends within the header is wrong', () => {
    expect(decodeHex(udp(1701, `40 02 00 04 00 07 00 09 ${L2TP}`), inIpv4).outcome).toBe('malformed');
  });
});
