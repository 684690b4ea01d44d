import { describe, expect, it } from 'vitest';
import { FragmentCache } from '../../../agent/decode/fragments.ts';
import { LINKTYPE_RAW } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import {
  ETHERNET_FRAME,
  frameOf,
  hex16,
  IPV4_HEADER,
  IPV6_HEADER,
  ipv4Packet,
  OUTER_SOURCE,
  TCP_HEADER,
} from '../../support/packet-bytes.ts';

const FLAGS = '00 00 40 00  40 06';

/** A fragment of a TCP packet: 8 bytes of payload in each but the first, which has the TCP header and 4. */
function fragment(offset: number, { identification = 0x1234, hasMore = true, protocol = '06' } = {}): string {
  const flags = `${hex16(identification)} ${hex16((hasMore ? 0x2000 : 0) | (offset / 8))} 40 ${protocol}`;
  const header = IPV4_HEADER.replace(FLAGS, flags);
  return offset === 0
    ? `${header.replace('45 00 00 28', '45 00 00 2c')} ${TCP_HEADER} aa bb cc dd`
    : `${header.replace('45 00 00 28', '45 00 00 1c')} ${'ee '.repeat(8)}`;
}

function createJoiner() {
  const cache = new FragmentCache();
  const packet = new Packet();
  const join = (hex: string, seconds = 1000) => {
    const frame = frameOf(hex, { linkType: LINKTYPE_RAW });
    frame.seconds = seconds;
    return cache.join(frame, packet, decode(frame, packet));
  };
  return { cache, packet, join };
}

describe('FragmentCache', () => {
  it('gives a later fragment the ports of the first, no flags, and its part of the payload', () => {
    const { packet, join } = createJoiner();
    expect(join(fragment(0))).toBe('tcp');
    expect([packet.payloadLength, packet.tcpFlags]).toEqual([4, 0x18]);
    expect(join(fragment(24, { hasMore: false }))).toBe('tcp');
    expect(packet).toMatchObject({
      source3: 0xc0a80001 | 0,
      sourcePort: 40_000,
      destinationPort: 43_800,
      tcpFlags: 0,
      sequence: 0,
      payloadOffset: 20,
      payloadLength: 8,
      payloadCaptured: 8,
      tunnel: 'none',
    });
  });

  it('tells IPv6 fragments by addresses and identification', () => {
    const ipv6 = (
      offsetAndFlags: string,
      identification: string,
      rest: string,
      length: string,
      next = '06',
    ) =>
      `${IPV6_HEADER.replace('00 14 06', `${length} 2c`)} ${next} 00 ${offsetAndFlags} ${identification} ${rest}`;
    const { packet, join } = createJoiner();
    expect(join(ipv6('00 01', '00 00 00 07', TCP_HEADER, '00 1c'))).toBe('tcp');
    // The next header of a later fragment need not be true.
    expect(join(ipv6('00 18', '00 00 00 07', 'ee '.repeat(8), '00 10', '3c'))).toBe('tcp');
    expect([packet.ipVersion, packet.destinationPort, packet.payloadLength]).toEqual([6, 43_800, 8]);
    expect(join(ipv6('00 18', '00 00 00 08', 'ee '.repeat(8), '00 10'))).toBe('later-fragment');
  });

  it("counts the rest of a tunnel's packet to the connection inside", () => {
    const { packet, join } = createJoiner();
    const vxlan = `c3 50 12 b5 00 00 00 00 08 00 00 00 00 00 01 00 ${ETHERNET_FRAME} aa aa`;
    expect(join(ipv4Packet(17, vxlan, '00 07 20 00'))).toBe('tcp');
    expect(join(ipv4Packet(17, 'ee '.repeat(16), '00 07 00 09'))).toBe('tcp');
    expect(packet).toMatchObject({
      source3: 0xc0a80001 | 0,
      destinationPort: 43_800,
      tunnel: 'vxlan',
      outerSource3: OUTER_SOURCE,
      payloadLength: 16,
    });
  });

  it('keeps what comes in a tunnel apart from the plain fragments of the same addresses and number', () => {
    const { packet, join } = createJoiner();
    const inside = (hex: string, port = '9c 40') => ipv4Packet(4, hex.replace('9c 40', port));
    join(fragment(0));
    expect(join(inside(fragment(8)))).toBe('later-fragment');
    join(inside(fragment(0), '11 11'));
    expect(join(fragment(8))).toBe('tcp');
    expect([packet.sourcePort, packet.tunnelKey]).toEqual([40_000, 0]);
    expect(join(inside(fragment(8)))).toBe('tcp');
    expect([packet.sourcePort, packet.tunnel]).toEqual([0x1111, 'ipip']);
  });

  it.each([
    ['whose first one was not seen', fragment(8, { identification: 1 })],
    ['of another protocol', fragment(8, { protocol: '11' })],
    ['of another direction', fragment(8).replace('c0 a8 00 01  0a c8 00 02', '0a c8 00 02 c0 a8 00 01')],
  ])('leaves a fragment alone %s', (_name, hex) => {
    const { join } = createJoiner();
    join(fragment(0));
    expect(join(hex)).toBe('later-fragment');
  });

  it('leaves fragments alone that come before the first', () => {
    const { join } = createJoiner();
    expect([join(fragment(8)), join(fragment(0)), join(fragment(8))]).toEqual([
      'later-fragment',
      'tcp',
      'tcp',
    ]);
  });

  it('forgets after half a minute, and not for frames that are a little early', () => {
    const { join } = createJoiner();
    join(fragment(0), 1000);
    expect(join(fragment(8), 999)).toBe('tcp');
    expect(join(fragment(8), 1030)).toBe('tcp');
    expect(join(fragment(8), 1031)).toBe('later-fragment');
  });

  it('gives up the oldest of too many, and counts them', () => {
    const { cache, join } = createJoiner();
    for (let identification = 0; identification < 20_000; identification++) {
      join(fragment(0, { identification }), 1000 + Math.floor(identification / 1000));
    }
    // Sets fill unevenly: 4,096 is the most that can be there.
    expect(cache.turnedAway).toBeGreaterThanOrEqual(20_000 - 4096);
    expect(cache.turnedAway).toBeLessThan(20_000 - 4096 + 50);
    expect(join(fragment(8, { identification: 19_999 }), 1020)).toBe('tcp');
    expect(join(fragment(8, { identification: 0 }), 1020)).toBe('later-fragment');
  });

  it('counts nothing as turned away whose time was over', () => {
    const { cache, join } = createJoiner();
    for (let identification = 0; identification < 5000; identification++) {
      join(fragment(0, { identification }), identification * 31);
    }
    expect(cache.turnedAway).toBe(0);
  });
});
