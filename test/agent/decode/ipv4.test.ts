import { describe, expect, it } from 'vitest';
import { LINKTYPE_ETHERNET, LINKTYPE_IPV4 } from '../../../agent/decode/link-type.ts';
import { decode, Packet } from '../../../agent/decode/packet.ts';
import { bytesOf, frameOf, IPV4_HEADER, IPV4_PACKET, TCP_HEADER } from '../../support/packet-bytes.ts';

function decodeIpv4(hex: string, originalLength?: number) {
  const packet = new Packet();
  const cut = originalLength === undefined ? {} : { originalLength };
  const outcome = decode(frameOf(hex, { linkType: LINKTYPE_IPV4, ...cut }), packet);
  return { outcome, packet };
}

describe('IPv4', () => {
  it('gives the addresses as IPv4-mapped words', () => {
    const { packet } = decodeIpv4(IPV4_PACKET);
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
    expect([ipVersion, source0, source1, source2, source3]).toEqual([4, 0, 0, 0xffff, 0xc0a80001 | 0]);
    expect([destination0, destination1, destination2, destination3]).toEqual([0, 0, 0xffff, 0x0ac80002]);
  });

  it('steps over options', () => {
    const header = '46 00 00 2c  00 00 40 00  40 06 00 00  c0 a8 00 01  0a c8 00 02  01 01 01 00';
    const { outcome, packet } = decodeIpv4(`${header} ${TCP_HEADER}`);
    expect([outcome, packet.destinationPort, packet.payloadLength]).toEqual(['tcp', 43_800, 0]);
  });

  it.each([
    ['a loose source route to go', '83 07 04 cb 00 71 09 00', 0xcb007109 | 0],
    ['a strict one behind another option', '01 89 07 04 cb 00 71 09', 0xcb007109 | 0],
    ['two addresses to go', '83 0b 04 c6 33 64 07 cb 00 71 09 00', 0xcb007109 | 0],
    ['a source route at its end', '83 07 08 cb 00 71 09 00', 0x0ac80002],
    ['a recorded route', '07 07 04 cb 00 71 09 00', 0x0ac80002],
    ['an option without a length', '83 00 00 00', 0x0ac80002],
    ['an option beyond the header', '83 0b 04 cb 00 71 09 00', 0x0ac80002],
    ['the end of options before it', '00 83 07 04 cb 00 71 09', 0x0ac80002],
  ])('is for the last address of %s', (_name, options, destination) => {
    const words = bytesOf(options).length / 4;
    const start = `4${5 + words} 00 00 ${(40 + words * 4).toString(16)}`;
    const { outcome, packet } = decodeIpv4(
      `${IPV4_HEADER.replace('45 00 00 28', start)} ${options} ${TCP_HEADER}`,
    );
    expect([outcome, packet.destination3, packet.destinationPort]).toEqual(['tcp', destination, 43_800]);
  });

  it('does not take Ethernet padding for payload', () => {
    const packet = new Packet();
    const hex = `02 00 00 00 00 01 02 00 00 00 00 02 08 00 ${IPV4_PACKET} 00 00 00 00 00 00`;
    expect(decode(frameOf(hex, { linkType: LINKTYPE_ETHERNET }), packet)).toBe('tcp');
    expect([packet.payloadLength, packet.payloadCaptured]).toEqual([0, 0]);
  });

  it('takes the length of the frame where the total length is 0', () => {
    const header = IPV4_HEADER.replace('45 00 00 28', '45 00 00 00');
    const { outcome, packet } = decodeIpv4(`${header} ${TCP_HEADER} aa bb`, 100_000);
    expect([outcome, packet.payloadLength, packet.payloadCaptured]).toEqual(['tcp', 99_960, 2]);
  });

  it('gives a packet that claims more than its frame held what the frame held', () => {
    const header = IPV4_HEADER.replace('45 00 00 28', '45 00 ff ff');
    const { outcome, packet } = decodeIpv4(`${header} ${TCP_HEADER} aa bb`);
    expect([outcome, packet.payloadLength, packet.payloadCaptured]).toEqual(['tcp', 2, 2]);
  });

  it('decodes a first fragment and says that it is one', () => {
    const header = IPV4_HEADER.replace('00 00 40 00', '12 34 20 00');
    const { outcome, packet } = decodeIpv4(`${header} ${TCP_HEADER}`);
    expect([outcome, packet.isFragment]).toEqual(['tcp', true]);
  });

  it('does not carry the mark of a fragment over to the next packet', () => {
    const packet = new Packet();
    const fragment = `${IPV4_HEADER.replace('00 00 40 00', '12 34 20 00')} ${TCP_HEADER}`;
    decode(frameOf(fragment, { linkType: LINKTYPE_IPV4 }), packet);
    decode(frameOf(IPV4_PACKET, { linkType: LINKTYPE_IPV4 }), packet);
    expect(packet.isFragment).toBe(false);
  });

  it.each([
    ['a later fragment', IPV4_PACKET.replace('00 00 40 00', '12 34 20 01'), 'later-fragment'],
    ['the last fragment', IPV4_PACKET.replace('00 00 40 00', '12 34 00 b9'), 'later-fragment'],
    ['UDP', IPV4_PACKET.replace('40 06', '40 11'), 'not-tcp'],
    ['a later fragment of UDP', IPV4_PACKET.replace('40 00  40 06', '20 01  40 11'), 'later-fragment'],
    ['a header cut after 19 bytes', IPV4_HEADER.slice(0, -3), 'truncated'],
    ['a header length of 16 bytes', IPV4_PACKET.replace('45 00', '44 00'), 'malformed'],
    ['a total length below the header length', IPV4_PACKET.replace('00 28', '00 13'), 'malformed'],
    ['a header length beyond the total length', IPV4_PACKET.replace('45 00', '4f 00'), 'malformed'],
  ])('names what became of %s', (_name, hex, outcome) => {
    expect(decodeIpv4(hex).outcome).toBe(outcome);
  });
});
