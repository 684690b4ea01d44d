import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import {
  frameOf,
  ETHERNET_FRAME,
  ipv4Packet,
  IPV4_PACKET,
  OUTER_DESTINATION,
  OUTER_SOURCE,
  udpPacket,
} from '../../support/packet-bytes.ts';

function decodeOuter(hex: string) {
  const packet = new Packet();
  const outcome = decode(frameOf(hex, { linkType: LINKTYPE_IPV4 }), packet);
  return { outcome, packet };
}

const VXLAN = '08 00 00 00 00 00 01 00';

describe('a tunnel', () => {
  it('keeps the addresses of its ends beside those of the connection inside', () => {
    const { outcome, packet } = decodeOuter(udpPacket(4789, `${VXLAN} ${ETHERNET_FRAME}`));
    expect(outcome).toBe('tcp');
    expect(packet).toMatchObject({
      tunnel: 'vxlan',
      source3: 0xc0a80001 | 0,
      destination3: 0x0ac80002,
      outerSource2: 0xffff,
      outerSource3: OUTER_SOURCE,
      outerDestination3: OUTER_DESTINATION,
    });
  });

  it('within a tunnel gives its kind, and the outermost its ends', () => {
    const inner = udpPacket(4789, `${VXLAN} ${ETHERNET_FRAME}`).replace('c6 33 64 01', '0a 00 00 01');
    const { outcome, packet } = decodeOuter(ipv4Packet(4, inner));
    expect([outcome, packet.tunnel, packet.outerSource3]).toEqual(['tcp', 'vxlan', OUTER_SOURCE]);
  });

  it('is not carried over to the next packet', () => {
    const packet = new Packet();
    decode(frameOf(ipv4Packet(4, IPV4_PACKET), { linkType: LINKTYPE_IPV4 }), packet);
    expect(packet.tunnel).toBe('ipip');
    decode(frameOf(IPV4_PACKET, { linkType: LINKTYPE_IPV4 }), packet);
    expect(packet.tunnel).toBe('none');
  });

  it('is followed some thirty deep, and no further', () => {
    const nested = (depth: number): string => (depth === 0 ? IPV4_PACKET : ipv4Packet(4, nested(depth - 1)));
    expect(decodeOuter(nested(30)).outcome).toBe('tcp');
    expect(decodeOuter(nested(31)).outcome).toBe('too-many-headers');
  });
});
