import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import {
  decodeHex,
  ETHERNET_FRAME,
  frameOf,
  IPV4_PACKET,
  IPV6_PACKET,
  ipv4Packet,
} from '../../support/packet-bytes.ts';

const decodeGre = (hex: string) => decodeHex(ipv4Packet(47, hex), { linkType: LINKTYPE_IPV4 });

describe('GRE', () => {
  it.each([
    ['IPv4', `00 00 08 00 ${IPV4_PACKET}`, 'gre'],
    ['IPv6', `00 00 86 dd ${IPV6_PACKET}`, 'gre'],
    ['IPv4 behind a checksum', `80 00 08 00 aa aa 00 00 ${IPV4_PACKET}`, 'gre'],
    [
      'IPv4 behind checksum, key and sequence',
      `b0 00 08 00 aa aa 00 00 00 00 00 07 00 00 00 01 ${IPV4_PACKET}`,
      'gre',
    ],
    ['Ethernet of a virtual network', `20 00 65 58 00 00 01 00 ${ETHERNET_FRAME}`, 'gre'],
    ['MPLS', `00 00 88 47 00 01 01 40 ${IPV4_PACKET}`, 'gre'],
    ['what a web cache is sent', `00 00 88 3e ${IPV4_PACKET}`, 'gre'],
    ['what a web cache is sent by version 2', `00 00 88 3e 00 00 00 00 ${IPV4_PACKET}`, 'gre'],
    ['PPP of PPTP', `30 01 88 0b 00 2c 00 01 00 00 00 05 ff 03 00 21 ${IPV4_PACKET}`, 'pptp'],
    [
      'PPP of PPTP with an acknowledgment',
      `30 81 88 0b 00 2a 00 01 00 00 00 05 00 00 00 01 21 ${IPV4_PACKET}`,
      'pptp',
    ],
    ["Ethernet of MikroTik's", `20 01 64 00 00 36 07 00 ${ETHERNET_FRAME}`, 'eoip'],
    ['ERSPAN without a header', `00 00 88 be ${ETHERNET_FRAME}`, 'erspan'],
    ['ERSPAN 2', `10 00 88 be 00 00 00 01 10 05 00 01 00 00 00 00 ${ETHERNET_FRAME}`, 'erspan'],
    ['ERSPAN 3', `10 00 22 eb 00 00 00 01 20 05 00 01 00 00 00 00 00 00 00 00 ${ETHERNET_FRAME}`, 'erspan'],
    [
      'ERSPAN 3 with a subheader',
      `10 00 22 eb 00 00 00 01 20 05 00 01 00 00 00 00 00 00 00 01 ${'00 '.repeat(8)} ${ETHERNET_FRAME}`,
      'erspan',
    ],
    ['ERSPAN 3 of an IP packet', `00 00 22 eb 20 05 00 01 00 00 00 00 00 00 08 00 ${IPV4_PACKET}`, 'erspan'],
  ])('carries %s', (_name, hex, tunnel) => {
    expect(decodeGre(hex)).toMatchObject({ outcome: 'tcp', destinationPort: 43_800, tunnel });
  });

  it("numbers MikroTik's tunnels, the only little-endian number in it", () => {
    const packet = new Packet();
    decode(
      frameOf(ipv4Packet(47, `20 01 64 00 00 36 07 01 ${ETHERNET_FRAME}`), { linkType: LINKTYPE_IPV4 }),
      packet,
    );
    expect(packet.outerTunnelId).toBe(0x0107);
  });

  it.each([
    ['a cut header', '00 00 08', 'truncated'],
    ['a source route', `40 00 08 00 00 00 00 00 ${IPV4_PACKET}`, 'not-tcp'],
    ['a version that nobody has', `00 02 08 00 ${IPV4_PACKET}`, 'not-tcp'],
    ['an acknowledgment of PPTP', '20 81 88 0b 00 00 00 01 00 00 00 05', 'not-ip'],
    ["a keepalive of MikroTik's", '20 01 64 00 00 00 07 00', 'not-ip'],
    ["MikroTik's with other flags", `30 01 64 00 00 36 07 00 00 00 00 01 ${ETHERNET_FRAME}`, 'not-ip'],
    ['a keepalive', '00 00 00 00', 'not-ip'],
    ['ERSPAN 3 that is cut', '00 00 22 eb 20 05', 'truncated'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeGre(hex).outcome).toBe(outcome);
  });
});
