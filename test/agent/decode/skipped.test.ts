import { describe, expect, it } from 'vitest';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import { SkippedPackets } from '../../../agent/decode/skipped.ts';
import { frameOf, IPV4_PACKET } from '../../support/packet-bytes.ts';

function skip(skipped: SkippedPackets, hex: string, linkType: number): void {
  const packet = new Packet();
  skipped.count(decode(frameOf(hex, { linkType }), packet), packet);
}

describe('SkippedPackets', () => {
  it('counts by outcome, and unknown link types by their number', () => {
    const skipped = new SkippedPackets();
    for (const linkType of [147, 147, 230]) skip(skipped, IPV4_PACKET, linkType);
    skip(skipped, '45 00', 101);
    skip(skipped, IPV4_PACKET.replace('40 06', '40 11'), 101);
    expect(skipped.reasons()).toEqual({
      'not-tcp': 1,
      truncated: 1,
      'unsupported link type 147': 2,
      'unsupported link type 230': 1,
    });
    expect(skipped.undecodable).toBe(4);
  });

  it('names sixteen link types, and counts the rest as one', () => {
    const skipped = new SkippedPackets();
    for (let linkType = 1000; linkType < 1020; linkType++) skip(skipped, IPV4_PACKET, linkType);
    skip(skipped, IPV4_PACKET, 1000);
    const reasons = skipped.reasons();
    expect(Object.keys(reasons)).toHaveLength(17);
    expect([
      reasons['unsupported-link-type'],
      reasons['unsupported link type 1000'],
      skipped.undecodable,
    ]).toEqual([4, 2, 21]);
  });
});
