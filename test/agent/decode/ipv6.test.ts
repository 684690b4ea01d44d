import { describe, expect, it } from 'vitest';
import { LINKTYPE_IPV6 } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import { bytesOf, frameOf, IPV6_HEADER, TCP_HEADER } from '../../support/packet-bytes.ts';
import { CanaryView } from '../../fuzz/canary-view.ts';

/** Next header 6 is replaced by that of the first extension, the length by what follows. */
function withExtensions(first: string, rest: string): string {
  const length = bytesOf(rest).length.toString(16).padStart(4, '0');
  return `${IPV6_HEADER.replace('00 14 06 40', `${length} ${first} 40`)} ${rest}`;
}

function decodeIpv6(hex: string, originalLength?: number) {
  const packet = new Packet();
  const cut = originalLength === undefined ? {} : { originalLength };
  const outcome = decode(frameOf(hex, { linkType: LINKTYPE_IPV6, ...cut }), packet);
  return { outcome, packet };
}

const DESTINATION_OPTIONS = (next: string) => `${next} 00 01 04 00 00 00 00`;
const ROUTING = (next: string) => `${next} 02 00 01 00 00 00 00  ${'20 01 '.repeat(8)}`;
const AUTHENTICATION = (next: string) => `${next} 04 00 00 00 00 01 00  00 00 00 01  ${'ab '.repeat(12)}`;
const FRAGMENT = (next: string, offsetAndFlags: string) => `${next} 00 ${offsetAndFlags} 00 00 00 07`;

describe('IPv6', () => {
  it('gives the addresses as four signed words', () => {
    const { outcome, packet } = decodeIpv6(`${IPV6_HEADER} ${TCP_HEADER}`);
    const {
      ipVersion,
      source0,
      source1,
      source2,
      source3,
      destination0,
      destination1,
      destination2,
      destination3,
    } = packet;
    expect([outcome, ipVersion, source0, source1, source2, source3]).toEqual([
      'tcp',
      6,
      0xfd000000 | 0,
      0,
      0,
      1,
    ]);
    expect([destination0, destination1, destination2, destination3]).toEqual([0xfe800000 | 0, 0, 0, 0xabcd]);
  });

  it.each([
    ['hop-by-hop options', withExtensions('00', `${DESTINATION_OPTIONS('06')} ${TCP_HEADER}`)],
    ['destination options', withExtensions('3c', `${DESTINATION_OPTIONS('06')} ${TCP_HEADER}`)],
    ['a routing header', withExtensions('2b', `${ROUTING('06')} ${TCP_HEADER}`)],
    ['an authentication header', withExtensions('33', `${AUTHENTICATION('06')} ${TCP_HEADER}`)],
    ['an atomic fragment', withExtensions('2c', `${FRAGMENT('06', '00 00')} ${TCP_HEADER}`)],
    [
      'several of them',
      withExtensions(
        '00',
        `${DESTINATION_OPTIONS('2b')} ${ROUTING('33')} ${AUTHENTICATION('06')} ${TCP_HEADER}`,
      ),
    ],
  ])('finds TCP behind %s', (_name, hex) => {
    const { outcome, packet } = decodeIpv6(hex);
    expect([outcome, packet.destinationPort, packet.payloadLength, packet.isFragment]).toEqual([
      'tcp',
      43_800,
      0,
      false,
    ]);
  });

  it.each([
    ['a source route to go', ROUTING('06').replace('02 00 01', '02 00 01'), 0x20012001],
    ['a home address', ROUTING('06').replace('02 00 01', '02 02 01'), 0x20012001],
    ['segments to go', ROUTING('06').replace('02 00 01', '02 04 01'), 0x20012001],
    ['a route at its end', ROUTING('06').replace('02 00 01', '02 00 00'), 0xfe800000 | 0],
    ['a route of a type that is not known', ROUTING('06').replace('02 00 01', '02 fd 01'), 0xfe800000 | 0],
    ['a route without an address', '06 00 00 01 00 00 00 00', 0xfe800000 | 0],
  ])('is for the final destination of %s', (_name, header, destination) => {
    const { outcome, packet } = decodeIpv6(withExtensions('2b', `${header} ${TCP_HEADER}`));
    expect([outcome, packet.destination0]).toEqual(['tcp', destination]);
  });

  it('ends a jumbogram where its option says, and not at the end of the frame', () => {
    const jumbo = (option: string) =>
      `${IPV6_HEADER.replace('00 14 06', '00 00 00')} 06 00 ${option} ${TCP_HEADER} aa bb cc dd`;
    // 8 bytes of this header, 20 of TCP, 2 of payload.
    expect(decodeIpv6(jumbo('c2 04 00 00 00 1e')).packet.payloadLength).toBe(2);
    expect(decodeIpv6(jumbo('01 00 00 00 00 00')).packet.payloadLength).toBe(4);
    expect(decodeIpv6(jumbo('c2 04 00 01 00 1c'), 65_604).packet.payloadLength).toBe(65_536);
  });

  it('costs no more than some thousand reads, however it is nested', () => {
    const header = IPV6_HEADER.replace('00 14 06', '00 00 00');
    // 256 bytes of one-byte options, then the most headers that are stepped over.
    const hopByHop = `3c 1f ${'00 '.repeat(254)}`;
    const extensions = `${hopByHop} ${`${DESTINATION_OPTIONS('3c')} `.repeat(14)} ${DESTINATION_OPTIONS('29')}`;
    const bytes = bytesOf(`${header} ${extensions} `.repeat(40));
    const frame = frameOf('', { linkType: LINKTYPE_IPV6 });
    const view = new CanaryView(bytes.buffer as ArrayBuffer);
    frame.view = view;
    frame.capturedLength = bytes.length;
    frame.originalLength = bytes.length;
    expect(decode(frame, new Packet())).toBe('too-many-headers');
    expect(view.reads).toBeLessThan(32 * 128);
  });

  it('decodes a first fragment and says that it is one', () => {
    const { outcome, packet } = decodeIpv6(withExtensions('2c', `${FRAGMENT('06', '00 01')} ${TCP_HEADER}`));
    expect([outcome, packet.isFragment]).toEqual(['tcp', true]);
  });

  it('takes the length of the frame where the payload length is 0', () => {
    const { outcome, packet } = decodeIpv6(
      `${IPV6_HEADER.replace('00 14 06', '00 00 06')} ${TCP_HEADER}`,
      200_000,
    );
    expect([outcome, packet.payloadLength]).toEqual(['tcp', 199_940]);
  });

  it.each([
    ['a later fragment', withExtensions('2c', `${FRAGMENT('06', '00 09')} ${TCP_HEADER}`), 'later-fragment'],
    ['ICMPv6', withExtensions('3a', '80 00 00 00'), 'not-tcp'],
    ['ESP', withExtensions('32', '00 00 00 01'), 'not-tcp'],
    ['no next header', withExtensions('3b', ''), 'not-tcp'],
    ['a header cut after 39 bytes', IPV6_HEADER.slice(0, -3), 'truncated'],
    ['an extension beyond the packet', withExtensions('3c', '06 ff 01 04 00 00 00 00'), 'malformed'],
    ['an extension of less than 8 bytes', withExtensions('3c', '06 00 01 04'), 'malformed'],
    [
      'seventeen extensions',
      withExtensions('3c', `${DESTINATION_OPTIONS('3c').repeat(17)} ${TCP_HEADER}`),
      'malformed',
    ],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeIpv6(hex).outcome).toBe(outcome);
  });

  it('names an extension that the capture cut off', () => {
    const whole = withExtensions('3c', `${DESTINATION_OPTIONS('06')} ${TCP_HEADER}`);
    expect(decodeIpv6(whole.slice(0, IPV6_HEADER.length + 6), 68).outcome).toBe('truncated');
  });
});
