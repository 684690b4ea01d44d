import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Frame } from '../../../agent/capture/source.ts';
import {
  LINKTYPE_ETHERNET,
  LINKTYPE_IPV4,
  LINKTYPE_IPV6,
  LINKTYPE_LINUX_SLL,
  LINKTYPE_LINUX_SLL2,
  LINKTYPE_LOOP,
  LINKTYPE_NULL,
  LINKTYPE_RAW,
} from '../../../agent/decode/link-type.ts';
import { decode, DECODE_OUTCOMES, Packet } from '../../../agent/decode/packet.ts';
import {
  bytesOf,
  frameOf,
  IPV4_PACKET,
  ipv4Packet,
  IPV6_HEADER,
  TCP_HEADER,
  udpPacket,
} from '../../support/packet-bytes.ts';

const IPV6_PACKET = [IPV6_HEADER, TCP_HEADER].join(' ');
const ETHERNET = '02 00 00 00 00 01  02 00 00 00 00 02';

describe('decode', () => {
  it.each([
    ['Ethernet', LINKTYPE_ETHERNET, `${ETHERNET} 08 00 ${IPV4_PACKET}`],
    ['Ethernet with IPv6', LINKTYPE_ETHERNET, `${ETHERNET} 86 dd ${IPV6_PACKET}`],
    ['Ethernet with a VLAN tag', LINKTYPE_ETHERNET, `${ETHERNET} 81 00 00 05 08 00 ${IPV4_PACKET}`],
    ['802.1ad with two tags', LINKTYPE_ETHERNET, `${ETHERNET} 88 a8 00 05 81 00 00 06 86 dd ${IPV6_PACKET}`],
    ['old stacked tags', LINKTYPE_ETHERNET, `${ETHERNET} 91 00 00 05 81 00 00 06 08 00 ${IPV4_PACKET}`],
    ['cooked capture', LINKTYPE_LINUX_SLL, `00 00 00 01 00 06 02 00 00 00 00 01 00 00 08 00 ${IPV4_PACKET}`],
    [
      'cooked capture 2',
      LINKTYPE_LINUX_SLL2,
      `08 00 00 00 00 00 00 02 00 01 00 06 02 00 00 00 00 01 00 00 ${IPV4_PACKET}`,
    ],
    ['BSD loopback, big-endian', LINKTYPE_NULL, `00 00 00 02 ${IPV4_PACKET}`],
    ['BSD loopback, little-endian', LINKTYPE_NULL, `02 00 00 00 ${IPV4_PACKET}`],
    [
      'Linux, NetBSD, FreeBSD and macOS say 10, 24, 28 or 30 for IPv6',
      LINKTYPE_NULL,
      `1e 00 00 00 ${IPV6_PACKET}`,
    ],
    ['OpenBSD loopback', LINKTYPE_LOOP, `00 00 00 18 ${IPV6_PACKET}`],
    ['raw IP, version 4', LINKTYPE_RAW, IPV4_PACKET],
    ['raw IP, version 6', LINKTYPE_RAW, IPV6_PACKET],
    ['raw IP as old files name it', 12, IPV4_PACKET],
    ['raw IP as OpenBSD names it', 14, IPV6_PACKET],
    ['LINKTYPE_IPV4', LINKTYPE_IPV4, IPV4_PACKET],
    ['LINKTYPE_IPV6', LINKTYPE_IPV6, IPV6_PACKET],
  ])('finds the TCP segment behind %s', (_name, linkType, hex) => {
    const packet = new Packet();
    expect(decode(frameOf(hex, { linkType }), packet)).toBe('tcp');
    expect({ from: packet.sourcePort, to: packet.destinationPort }).toEqual({ from: 40_000, to: 43_800 });
  });

  it.each([
    ['an ARP packet', LINKTYPE_ETHERNET, `${ETHERNET} 08 06 00 01 08 00`, 'not-ip'],
    ['an IEEE 802.3 frame with a length', LINKTYPE_ETHERNET, `${ETHERNET} 00 26 42 42 03`, 'not-ip'],
    ['a frame cut in its Ethernet header', LINKTYPE_ETHERNET, ETHERNET, 'truncated'],
    ['a frame cut in a VLAN tag', LINKTYPE_ETHERNET, `${ETHERNET} 81 00 00`, 'truncated'],
    ['a cooked capture cut in its header', LINKTYPE_LINUX_SLL, '00 00 00 01', 'truncated'],
    ['a cooked capture 2 cut in its header', LINKTYPE_LINUX_SLL2, '08 00 00 00', 'truncated'],
    ['a BSD loopback cut in its header', LINKTYPE_NULL, '00 00 00', 'truncated'],
    ['an OpenBSD loopback cut in its header', LINKTYPE_LOOP, '00 00', 'truncated'],
    ['another family on a loopback', LINKTYPE_NULL, `00 00 00 07 ${IPV4_PACKET}`, 'not-ip'],
    ['raw IP of version 5', LINKTYPE_RAW, '50 00', 'not-ip'],
    ['raw IP without a byte', LINKTYPE_RAW, '', 'truncated'],
    ['IPv6 where the link type says IPv4', LINKTYPE_IPV4, IPV6_PACKET, 'malformed'],
    ['IPv4 where the link type says IPv6', LINKTYPE_IPV6, `${IPV4_PACKET} ${'00 '.repeat(20)}`, 'malformed'],
    ['a link type that nobody has', 9999, IPV4_PACKET, 'unsupported-link-type'],
  ])('names what became of %s', (_name, linkType, hex, outcome) => {
    expect(decode(frameOf(hex, { linkType }), new Packet())).toBe(outcome);
  });

  it('never throws, reads past the capture, or answers something unnamed', () => {
    const linkTypes = [
      0, 1, 9, 10, 12, 14, 50, 51, 100, 101, 104, 105, 108, 113, 127, 204, 219, 228, 229, 239, 242, 258, 276,
      9999,
    ];
    const noise = fc.uint8Array({ maxLength: 120 });
    // Noise alone seldom gets past the first check: most cases begin like a packet.
    const start = fc.constantFrom(
      '',
      ETHERNET,
      `${ETHERNET} 08 00 45`,
      `${ETHERNET} 86 dd 60`,
      '45 00',
      IPV4_PACKET,
      IPV6_HEADER,
      udpPacket(4789, '08 00 00 00 00 00 01 00'),
      udpPacket(6081, '00 00 65 58 00 00 01 00'),
      udpPacket(2152, '34 ff 00 00 00 00 00 01'),
      ipv4Packet(47, '30 00 65 58 00 00 00 00 00 00 00 00'),
      ipv4Packet(4, IPV4_PACKET),
    );
    fc.assert(
      fc.property(fc.constantFrom(...linkTypes), start, noise, fc.nat(200), (linkType, head, tail, extra) => {
        const bytes = Uint8Array.from([...bytesOf(head), ...tail]);
        const frame = new Frame();
        // The view ends where the capture ends: a read past it throws.
        frame.view = new DataView(bytes.buffer);
        frame.capturedLength = bytes.length;
        frame.originalLength = bytes.length + extra;
        frame.linkType = linkType;
        const packet = new Packet();
        const outcome = decode(frame, packet);
        expect(DECODE_OUTCOMES).toContain(outcome);
        if (outcome !== 'tcp') return true;
        return (
          packet.payloadCaptured <= packet.payloadLength &&
          packet.payloadLength <= frame.originalLength &&
          (packet.payloadCaptured === 0 || packet.payloadOffset + packet.payloadCaptured <= bytes.length)
        );
      }),
      { numRuns: 5000 },
    );
  });

  it('decodes the same wherever the frame lies in its view', () => {
    const bytes = bytesOf(`${ETHERNET} 08 00 ${IPV4_PACKET}`);
    const shifted = new Uint8Array(1000);
    shifted.set(bytes, 333);
    const frame = frameOf(`${ETHERNET} 08 00 ${IPV4_PACKET}`, { linkType: LINKTYPE_ETHERNET });
    const expected = new Packet();
    decode(frame, expected);
    frame.view = new DataView(shifted.buffer);
    frame.offset = 333;
    const packet = new Packet();
    expect(decode(frame, packet)).toBe('tcp');
    packet.payloadOffset -= 333;
    packet.offset = expected.offset;
    packet.capturedEnd = expected.capturedEnd;
    packet.wireEnd = expected.wireEnd;
    expect(packet).toEqual(expected);
  });
});
