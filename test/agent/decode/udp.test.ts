import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decodeHex, ETHERNET_FRAME, IPV4_PACKET, udpPacket } from '../../support/packet-bytes.ts';

const decodeUdp = (hex: string) => decodeHex(hex, { linkType: LINKTYPE_IPV4 });

const VXLAN = `08 00 00 00 00 00 01 00 ${ETHERNET_FRAME}`;

describe('UDP', () => {
  it.each([
    ['VXLAN on its port', 4789, VXLAN, 'vxlan'],
    ['VXLAN on the port that Linux had first', 8472, VXLAN, 'vxlan'],
    ['Geneve', 6081, `00 00 65 58 00 00 01 00 ${ETHERNET_FRAME}`, 'geneve'],
    ['GTP-U', 2152, `30 ff 00 28 00 00 00 01 ${IPV4_PACKET}`, 'gtp'],
    ['GRE', 4754, `00 00 08 00 ${IPV4_PACKET}`, 'gre'],
    ['MPLS', 6635, `00 01 01 40 ${IPV4_PACKET}`, 'mpls'],
  ])('carries %s', (_name, port, payload, tunnel) => {
    expect(decodeUdp(udpPacket(port, payload))).toEqual({
      outcome: 'tcp',
      sourcePort: 40_000,
      destinationPort: 43_800,
      payloadLength: 0,
      tunnel,
    });
  });

  it('carries a tunnel by its source port too', () => {
    const reversed = udpPacket(4789, VXLAN).replace('c3 50 12 b5', '12 b5 c3 50');
    expect(decodeUdp(reversed)).toMatchObject({ outcome: 'tcp', tunnel: 'vxlan' });
  });

  it('carries a tunnel where its length is 0: a segment of more than 64 KiB', () => {
    const large = udpPacket(4789, VXLAN).replace(/c3 50 12 b5 .. ../, 'c3 50 12 b5 00 00');
    expect(decodeUdp(large)).toMatchObject({ outcome: 'tcp', tunnel: 'vxlan' });
  });

  it.each([
    ['another port', udpPacket(53, VXLAN), 'not-tcp'],
    ['a header that is cut', udpPacket(4789, '').slice(0, -3), 'truncated'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeUdp(hex).outcome).toBe(outcome);
  });
});
