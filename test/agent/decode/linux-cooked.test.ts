import { describe, expect, it } from 'vitest';
import { LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2 } from '../../../agent/decode/link-type.ts';
import {
  checksummed,
  decodeHex,
  ETHERNET_ADDRESSES,
  ETHERNET_FRAME,
  hex16,
  IPV4_PACKET,
  IPV6_PACKET,
} from '../../support/packet-bytes.ts';

const ETHERNET = 1;
const ADDRESS = '02 00 00 00 00 01 00 00';

/** Both versions of the header, with the same protocol and type of interface. */
const HEADERS = {
  'version 1': {
    linkType: LINKTYPE_LINUX_SLL,
    header: (protocol: number, hardware: number) =>
      `00 00 ${hex16(hardware)} 00 06 ${ADDRESS} ${hex16(protocol)}`,
  },
  'version 2': {
    linkType: LINKTYPE_LINUX_SLL2,
    header: (protocol: number, hardware: number) =>
      `${hex16(protocol)} 00 00 00 00 00 02 ${hex16(hardware)} 00 06 ${ADDRESS}`,
  },
};

/** A sender whose address has an EtherType where an Ethernet frame has its own. */
const from = (source: string) => checksummed(IPV4_PACKET.replace('c0 a8 00 01', source));
const SNAP_FRAME = `${ETHERNET_ADDRESSES} 00 30 aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`;
const WIRELESS = `08 02 00 00 ${'02 00 00 00 00 01 '.repeat(3)} 10 00 aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`;

describe.each(Object.entries(HEADERS))('Linux cooked capture, %s', (_version, { linkType, header }) => {
  const read = (protocol: number, hex: string, hardware = ETHERNET) =>
    decodeHex(`${header(protocol, hardware)} ${hex}`, { linkType });

  // Numbers of linux/if_ether.h that do not say what follows: 802.3, AX.25, all, SNAP, DSA, Phonet, 802.15.4, …
  it.each([0x0000, 0x0001, 0x0002, 0x0003, 0x0005, 0x001b, 0x00f5, 0x00f6, 0x00f9, 0x05ff])(
    'with protocol %i has an Ethernet frame or bare IP',
    (protocol) => {
      const tagged = ETHERNET_FRAME.replace(' 08 00 45', ' 81 00 00 05 08 00 45');
      const packets = [
        ETHERNET_FRAME,
        `${ETHERNET_ADDRESSES} 86 dd ${IPV6_PACKET}`,
        tagged,
        SNAP_FRAME,
        IPV4_PACKET,
        IPV6_PACKET,
      ];
      for (const hex of packets) {
        expect(read(protocol, hex)).toMatchObject({ outcome: 'tcp', sourcePort: 40_000, tunnel: 'none' });
      }
    },
  );

  it.each([
    ['IPv4 of an address that looks like the type of IPv4', from('08 00 45 01')],
    ['IPv4 of an address that looks like the type of IPv6', from('86 dd 60 01')],
    ['IPv4 of an address that looks like a VLAN tag', from('81 00 00 01')],
    [
      'Ethernet to an address that looks like IPv4',
      `45 00 00 00 00 01 02 00 00 00 00 02 08 00 ${checksummed(IPV4_PACKET)}`,
    ],
    [
      'Ethernet to an address that looks like IPv6',
      `60 00 00 00 00 10 02 00 00 00 00 02 08 00 ${IPV4_PACKET}`,
    ],
    ['IPv6 of an address that looks like a type', IPV6_PACKET.replace('fd 00 00 00 00', 'fd 00 00 00 08')],
    ['IPv4 without a length, that the card cuts up later', IPV4_PACKET.replace('45 00 00 28', '45 00 00 00')],
  ])('with protocol 3 tells %s', (_name, hex) => {
    expect(read(0x0003, hex)).toMatchObject({ outcome: 'tcp', sourcePort: 40_000, destinationPort: 43_800 });
  });

  it.each([
    ['802.2 with SNAP', 0x0004, ETHERNET, `aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`],
    ['802.2 of a token ring', 0x0011, ETHERNET, `aa aa 03 00 00 00 08 00 ${IPV4_PACKET}`],
    ['PPP', 0x0007, 512, `ff 03 00 21 ${IPV4_PACKET}`],
    ['GRE', 0x0800, 778, IPV4_PACKET],
    ['Ethernet in GRE', 0x6558, 778, ETHERNET_FRAME],
    ['802.11', 0x0004, 801, WIRELESS],
    ['radiotap, whatever the protocol', 0x0003, 803, `00 00 08 00 00 00 00 00 ${WIRELESS}`],
  ])('has TCP in %s', (_name, protocol, hardware, hex) => {
    expect(read(protocol, hex, hardware)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800 });
  });

  it.each([
    ['netlink, whose protocols have other numbers', 0x0003, 824, ETHERNET_FRAME, 'not-ip'],
    ['a frame relay access device', 0x0800, 770, IPV4_PACKET, 'not-ip'],
    ['CAN', 0x000c, ETHERNET, IPV4_PACKET, 'not-ip'],
    ['CAN FD', 0x000d, ETHERNET, IPV4_PACKET, 'not-ip'],
    ['noise', 0x0003, ETHERNET, 'de ad be ef '.repeat(12), 'not-ip'],
    ['what begins like IPv4 and is none', 0x0003, ETHERNET, `41 ${'00 '.repeat(60)}`, 'not-ip'],
    [
      'what begins like IPv6 and is longer than the frame',
      0x0003,
      ETHERNET,
      `60 00 00 00 ff ff ${'00 '.repeat(60)}`,
      'not-ip',
    ],
    [
      'an ARP packet in an Ethernet frame',
      0x0003,
      ETHERNET,
      `${ETHERNET_ADDRESSES} 08 06 ${'00 '.repeat(28)}`,
      'not-ip',
    ],
    ['nothing', 0x0003, ETHERNET, '', 'truncated'],
  ])('names what became of %s', (_name, protocol, hardware, hex, outcome) => {
    expect(read(protocol, hex, hardware).outcome).toBe(outcome);
  });
});
